"""The engine in this process: one batch after the other, in the order of the rows, with no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cas.predictors.batch import Batch, concatenate, count_rows, slice_rows
from cas.predictors.failures import BatchFailedError
from cas.predictors.predictor import Predictor
from cas.predictors.scoring import Question, answer_batch
from cas.predictors.sources import Piece
from cas.progress import Progress

__all__ = ["answer_pieces", "joined"]


def answer_pieces(
    predictor: Predictor,
    preprocessor: Any | None,
    pieces: Iterator[Piece],
    question: Question,
    *,
    total_bytes: int | None,
    max_errored_batches: int,
    errored: list[BatchFailedError],
    progress: Progress,
) -> Iterator[Batch]:
    """The answer to each piece, as they are asked for.

    Args:
        predictor: what answers.
        preprocessor: what each piece goes through first.
        pieces: the input.
        question: what is asked of each.
        total_bytes: of the input, for progress; None if nobody knows.
        max_errored_batches: so many pieces that fail are left out.
        errored: where these are put down.
        progress: told of the input's bytes as they are done.

    Raises:
        BatchFailedError: one more failed; the message names its rows.
    """
    progress.begin("predicting", total_bytes)
    try:
        for piece in pieces:
            try:
                answer = answer_batch(predictor, preprocessor, piece.batch, question)
            except Exception as error:  # the preprocessor's and the model's own code run, and may raise anything
                failed = _failed(piece, error)
                if len(errored) >= max_errored_batches:
                    raise failed from error
                errored.append(failed)
            else:
                yield answer
            progress.advance(piece.size_bytes)
    finally:
        progress.end()


def joined(answers: Iterator[Batch], asked: Batch) -> Batch:
    """All answers as one batch; if there are none, no rows of ``asked``'s form."""
    found = list(answers)
    return concatenate(found) if found else slice_rows(asked, 0, 0)


def _failed(piece: Piece, error: Exception) -> BatchFailedError:
    first, last = piece.first_row, piece.first_row + count_rows(piece.batch) - 1
    return BatchFailedError(f"rows {first} to {last}", f"{type(error).__name__}: {error}", first, last)

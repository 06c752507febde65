"""What one batch goes through, the same on either engine: preprocess, take the features, ask, keep columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cas.checkpoint import Checkpoint
from cas.errors import FormatError
from cas.predictors.batch import PREDICTIONS, Batch, select_columns, with_columns
from cas.predictors.conversion import like
from cas.predictors.predictor import Predictor
from cas.predictors.preprocessing import preprocess

__all__ = ["Model", "Question", "answer_batch"]


@dataclass(frozen=True, slots=True)
class Model:
    """How a predictor is made: all that a worker needs to know, and no weights.

    Attributes:
        checkpoint: where the model is; it pickles as a reference to its store.
        predictor_class: what makes a predictor of it.
        options: keyword arguments of ``from_checkpoint``.
        preprocesses: whether the predictor goes on with its own preprocessor; else batches went through one before.
    """

    checkpoint: Checkpoint
    predictor_class: type[Predictor]
    options: Mapping[str, Any]
    preprocesses: bool

    def load(self) -> Predictor:
        """The predictor, its model in memory."""
        predictor = self.predictor_class.from_checkpoint(self.checkpoint, **self.options)
        if not self.preprocesses:
            predictor.set_preprocessor(None)
        return predictor


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every batch.

    Attributes:
        feature_columns: those of the preprocessed batch that the predictor is given; None for all.
        keep_columns: those of the preprocessed batch that stand beside the predictions, instead of equal names.
        options: keyword arguments of `Predictor.predict`.
    """

    feature_columns: Sequence[str] | None = None
    keep_columns: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def refuse_array(self, batch: Batch) -> None:
        """FormatError, which is a ValueError, if columns are named of a batch that has no names."""
        named = [*(self.feature_columns or ()), *self.keep_columns]
        if named and isinstance(batch, np.ndarray):
            raise FormatError(f"columns {named} are named, and the batch is an array, which has no names")


def answer_batch(predictor: Predictor, preprocessor: Any | None, batch: Batch, question: Question) -> Batch:
    """The answer to a batch, in the batch's form.

    Args:
        predictor: what answers.
        preprocessor: what the batch goes through first; None if it did already.
        batch: some rows.
        question: what is asked.
    """
    question.refuse_array(batch)
    prepared = preprocess(preprocessor, batch)
    features = prepared if question.feature_columns is None else select_columns(prepared, question.feature_columns)
    answer = predictor.predict(features, **question.options)
    if question.keep_columns:
        kept = select_columns(prepared, question.keep_columns)
        named = {PREDICTIONS: answer} if isinstance(answer, np.ndarray) else answer
        answer = with_columns(named, like(kept, named), question.keep_columns)
    return like(answer, batch)

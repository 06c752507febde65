"""The errors of prediction that carry more than a message."""

from __future__ import annotations

from cas.errors import FormatError, RefusedError

__all__ = ["BatchFailedError", "PredictorNotSerializableException"]


class PredictorNotSerializableException(RefusedError):  # Ray's name for it
    """Somebody wants to pickle a predictor, and its model with it. Pickle the checkpoint, and make it again there."""


class BatchFailedError(FormatError):
    """A batch made the preprocessor or the model raise. Look at its rows.

    Attributes:
        rows: which, for people: ``rows 4096 to 8191``.
        reason: the type and the message of what was raised.
        first_row, last_row: their numbers in the input, counted from 0; None on Ray Data, whose workers cannot know.
    """

    def __init__(self, rows: str, reason: str, first_row: int | None = None, last_row: int | None = None) -> None:
        super().__init__(rows, reason, first_row, last_row)
        self.rows, self.reason, self.first_row, self.last_row = rows, reason, first_row, last_row

    def __str__(self) -> str:
        return f"{self.rows} could not be predicted: {self.reason}"

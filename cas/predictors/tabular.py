"""What predictors of rows and columns share: which columns are features, and what the answers are called."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from cas.checkpoint import Checkpoint
from cas.errors import FormatError
from cas.predictors.batch import PREDICTIONS, VALUE_COLUMN, select_columns
from cas.predictors.conversion import stacked, to_pandas
from cas.predictors.predictor import Predictor, as_checkpoint

__all__ = ["BoosterPredictor", "TabularPredictor", "named_answers"]


class TabularPredictor(Predictor):
    """Answers from a table of features, one row each: a DataFrame, or an array of two dimensions.

    Columns are ``predictions``, or ``predictions_0``, ``predictions_1``, … of a model that gives several numbers.
    """

    @abstractmethod
    def _predict_features(self, features: Any, **kwargs: Any) -> Any:
        """The model's answer, an array, to a DataFrame or an array."""

    def _predict_pandas(
        self, data: Any, feature_columns: Sequence[str] | Sequence[int] | None = None, **kwargs: Any
    ) -> Any:
        matrix = _find_matrix(data)
        if matrix is not None:
            return to_pandas(self._predict_numpy(matrix, feature_columns, **kwargs))
        features = data if feature_columns is None else select_columns(data, list(feature_columns))  # type: ignore[arg-type]
        return to_pandas(named_answers(self._predict_features(features, **kwargs)))

    def _predict_numpy(
        self, data: Any, feature_columns: Sequence[str] | Sequence[int] | None = None, **kwargs: Any
    ) -> Any:
        if isinstance(data, dict):
            return self._predict_pandas(to_pandas(data), feature_columns, **kwargs)
        if feature_columns is not None:
            data = _pick(data, feature_columns)
        return named_answers(self._predict_features(data, **kwargs))


class BoosterPredictor(TabularPredictor):
    """What the predictors of boosted trees share: a checkpoint class whose ``get_model`` gives the booster."""

    _checkpoint_class: ClassVar[Any]

    def __init__(self, model: Any, preprocessor: Any | None = None) -> None:
        """A booster, and what batches go through before it."""
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, allow_pickle: bool | None = None, **kwargs: Any) -> Self:
        """Load the booster and the preprocessor.

        Args:
            checkpoint: of any class, with a booster in it.
            allow_pickle: whether a pickled preprocessor or model may be loaded, which runs code; else
                ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it holds no model.
            RefusedError: something in it is pickled, and nobody allowed that.
        """
        model = as_checkpoint(checkpoint, cls._checkpoint_class).get_model(allow_pickle=allow_pickle)
        return cls(model, checkpoint.get_preprocessor(allow_pickle=allow_pickle), **kwargs)


def named_answers(answers: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A model's answers as columns; those that have names already as they are.

    Raises:
        FormatError: they have more than two dimensions.
    """
    if isinstance(answers, dict):
        return answers
    array = np.asarray(answers)
    if array.ndim == 1:
        return {PREDICTIONS: array}
    if array.ndim != 2:
        raise FormatError(f"the model's answer has {array.ndim} dimensions; rows, or rows of numbers, are expected")
    return {f"{PREDICTIONS}_{number}": array[:, number] for number in range(array.shape[1])}


def _find_matrix(frame: Any) -> np.ndarray[Any, Any] | None:
    """The array that is all of a DataFrame: of one column without a name, or whose rows are arrays."""
    if len(frame.columns) != 1:
        return None
    array = stacked(frame.iloc[:, 0].to_numpy())
    return array if array.ndim > 1 or frame.columns[0] == VALUE_COLUMN else None


def _pick(array: np.ndarray[Any, Any], columns: Sequence[Any]) -> np.ndarray[Any, Any]:
    if array.ndim < 2 or not all(isinstance(column, int | np.integer) for column in columns):
        raise FormatError(
            f"feature_columns={list(columns)!r} of an array must be numbers of its columns, and its shape {array.shape}"
            " must have columns"
        )
    if outside := [column for column in columns if not -array.shape[1] <= column < array.shape[1]]:
        raise FormatError(f"feature_columns names column {outside[0]}, and the array has {array.shape[1]}")
    picked: np.ndarray[Any, Any] = array[:, list(columns)]
    return picked

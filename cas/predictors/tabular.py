"""What predictors of rows and columns share: which columns are features, and what the answers are called."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from cas.errors import FormatError
from cas.predictors.batch import PREDICTIONS, VALUE_COLUMN, select_columns
from cas.predictors.conversion import stacked, to_pandas
from cas.predictors.predictor import Predictor

__all__ = ["TabularPredictor", "named_answers"]


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

"""What a batch goes through before the model: Ray Data's preprocessors, and scikit-learn's transformers as they are.

Ray Data's (anything with ``transform_batch``) are given the batch. scikit-learn's (anything with ``transform``,
pipelines included) are given the columns they were fitted on, by name; the others pass through untouched. Without
names, they are given all. What comes out sparse is made dense. No batch of the caller's is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cas.checkpoint.extras import require
from cas.errors import FormatError
from cas.predictors.batch import VALUE_COLUMN, Batch, check_batch, is_frame, is_table, with_columns
from cas.predictors.conversion import stacked, to_pandas

__all__ = ["named_features", "preprocess"]


def preprocess(preprocessor: Any | None, batch: Batch) -> Batch:
    """The batch as the model wants it, in whatever form the preprocessor gave it.

    Raises:
        FormatError: it is no preprocessor, or what it gave is no batch.
    """
    if preprocessor is None:
        return batch
    if callable(getattr(preprocessor, "transform_batch", None)):
        prepared = preprocessor.transform_batch(_own(batch))  # many of Ray's set columns in the frame they are given
    elif callable(getattr(preprocessor, "transform", None)):
        prepared = _transformed(preprocessor, batch)
    else:
        raise FormatError(
            f"a {type(preprocessor).__name__} is no preprocessor: it has neither transform, as scikit-learn's have,"
            " nor transform_batch, as Ray Data's"
        )
    check_batch(prepared)
    return prepared


def named_features(array: np.ndarray[Any, Any], estimator: Any) -> Any:
    """An array's columns under the names that an estimator was fitted with, if it was and there are as many.

    scikit-learn warns of features without names where it has learnt names.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or array.ndim != 2 or array.shape[1] != len(names):
        return array
    pandas = require("pandas", "predict", "an estimator that was fitted on a DataFrame")
    return pandas.DataFrame(array, columns=list(names))


def _own(batch: Batch) -> Batch:
    if is_frame(batch):
        return batch.copy()
    return dict(batch) if isinstance(batch, dict) else batch


def _transformed(preprocessor: Any, batch: Batch) -> Batch:
    if isinstance(batch, np.ndarray):
        found = _dense(preprocessor.transform(named_features(batch, preprocessor)))
        return found.to_numpy() if is_frame(found) else found
    frame = to_pandas(batch)
    known = getattr(preprocessor, "feature_names_in_", None)
    names = list(frame.columns) if known is None else list(known)
    if missing := [name for name in names if name not in frame.columns]:
        raise FormatError(f"the preprocessor was fitted on a column {missing[0]!r}, which the batch does not have")
    features = frame[names] if known is not None else _matrix(frame)
    found = _dense(preprocessor.transform(features))
    if not is_frame(found):
        found = _named(np.asarray(found), _names_out(preprocessor, names), frame)
    rest = [name for name in frame.columns if name not in names and name not in found.columns]
    return with_columns(found, frame, rest) if rest else found


def _matrix(frame: Any) -> np.ndarray[Any, Any]:
    """All columns as an array of numbers by row; the one column of rows that are arrays, as these."""
    if len(frame.columns) == 1:
        array = stacked(frame.iloc[:, 0].to_numpy())
        return array if array.ndim > 1 else array.reshape(-1, 1)
    values: np.ndarray[Any, Any] = frame.to_numpy()
    return values


def _dense(found: Any) -> Any:
    """What a transformer gave, without the compression that one-hot encoders and text vectorizers use."""
    if is_table(found):  # of a transformer that was told so by set_output
        return to_pandas(found)
    return found.toarray() if hasattr(found, "toarray") else found


def _names_out(preprocessor: Any, names: Sequence[Any]) -> list[Any] | None:
    try:
        return list(preprocessor.get_feature_names_out(names))
    except (AttributeError, ValueError, TypeError):  # a step cannot tell, or was fitted on something else
        return None


def _named(array: np.ndarray[Any, Any], names: list[Any] | None, frame: Any) -> Any:
    pandas = require("pandas", "predict", "a preprocessor of scikit-learn's")
    matrix = array.reshape(len(array), -1)
    if names is None or len(names) != matrix.shape[1]:
        same = matrix.shape[1] == len(frame.columns)
        names = list(frame.columns) if same else [f"x{number}" for number in range(matrix.shape[1])]
    if names == [VALUE_COLUMN] and matrix.shape[1] > 1:
        names = [f"x{number}" for number in range(matrix.shape[1])]
    index = frame.index if len(frame) == len(matrix) else None
    return pandas.DataFrame(matrix, columns=names, index=index)

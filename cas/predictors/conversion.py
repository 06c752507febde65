"""A batch of one form made one of another, and the rule that an answer comes in the form that the question had.

Columns whose rows are arrays (images, embeddings) survive each way: in a DataFrame as an object column of arrays, in
Arrow as lists of a fixed size (rows of one dimension) or as its tensor type (rows of more).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cas.checkpoint.extras import require
from cas.errors import FormatError
from cas.predictors.batch import PREDICTIONS, VALUE_COLUMN, Batch, check_batch, is_frame, is_table

__all__ = ["like", "stacked", "to_arrow", "to_numpy", "to_pandas"]


def to_pandas(batch: Batch) -> Any:
    """A DataFrame; of an array without names, with the one column `VALUE_COLUMN`.

    Raises:
        FormatError: it is no batch.
        RefusedError: pandas is not installed.
    """
    check_batch(batch)
    if is_frame(batch):
        return batch
    if is_table(batch):
        return _frame_of_table(batch)
    pandas = require("pandas", "predict", "a predictor that works on DataFrames")
    columns = batch if isinstance(batch, dict) else {VALUE_COLUMN: batch}
    return pandas.DataFrame({name: _one_dimensional(column) for name, column in columns.items()})


def to_numpy(batch: Batch) -> np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]]:
    """A dict of arrays; or the array, if it is one without names or was made from one.

    Raises:
        FormatError: it is no batch.
    """
    check_batch(batch)
    if isinstance(batch, np.ndarray):
        return batch
    if is_frame(batch):
        columns = {name: stacked(batch[name].to_numpy()) for name in batch.columns}
    elif is_table(batch):
        columns = {name: _array_of_column(batch[name]) for name in batch.column_names}
    else:
        columns = batch
    return columns[VALUE_COLUMN] if list(columns) == [VALUE_COLUMN] else columns


def to_arrow(batch: Batch) -> Any:
    """An Arrow Table; of an array without names, with the one column `VALUE_COLUMN`.

    Raises:
        FormatError: it is no batch, or has values that Arrow has no type for.
        RefusedError: Arrow is not installed.
    """
    check_batch(batch)
    if is_table(batch):
        return batch
    pyarrow = require("pyarrow", "predict", "an Arrow Table")
    named = batch if is_frame(batch) or isinstance(batch, dict) else {VALUE_COLUMN: batch}
    columns = {}
    for name in named:
        values = named[name]
        array = values if isinstance(values, np.ndarray) else _array_of_objects(values)
        try:
            columns[str(name)] = pyarrow.array(values, from_pandas=True) if array is None else _arrow(array, pyarrow)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, pyarrow.ArrowTypeError) as error:
            raise FormatError(f"column {name!r} has values that Arrow has no type for: {error}") from error
    return pyarrow.table(columns)


def like(answer: Batch, asked: Batch) -> Batch:
    """``answer`` in the form of ``asked``.

    An array is answered by an array, if the answer has no names; else by a dict of arrays, so that no name is lost.
    A DataFrame's index goes with its rows, unless the answer has one of its own.

    Raises:
        FormatError: the answer is no batch.
    """
    check_batch(answer)
    if isinstance(asked, np.ndarray):
        return to_numpy(answer)
    if isinstance(answer, np.ndarray):
        answer = {PREDICTIONS: answer}
    if is_table(asked):
        return to_arrow(answer)
    if not is_frame(asked):
        converted = to_numpy(answer)
        return {VALUE_COLUMN: converted} if isinstance(converted, np.ndarray) else converted
    frame = to_pandas(answer)
    pandas = require("pandas", "predict", "a DataFrame")
    anonymous = isinstance(frame.index, pandas.RangeIndex) and len(frame) == len(asked)
    return frame.set_axis(asked.index, axis="index") if anonymous else frame


def stacked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An object array of equally shaped arrays as one array of a dimension more; any other as it is."""
    if array.dtype != object or array.ndim != 1 or not len(array):
        return array
    shape = getattr(array[0], "shape", None)
    if not shape or any(getattr(row, "shape", None) != shape for row in array):
        return array
    return np.stack(list(array))


def _one_dimensional(column: np.ndarray[Any, Any]) -> Any:
    """A column of rows that are arrays, as an object array of them: pandas takes no other."""
    if column.ndim == 1:
        return column
    rows = np.empty(len(column), object)
    rows[:] = list(column)
    return rows


def _array_of_objects(values: Any) -> np.ndarray[Any, Any] | None:
    """A DataFrame's column as one array, if its rows are arrays."""
    if values.dtype != object:
        return None
    array = stacked(values.to_numpy())
    return array if array.ndim > 1 else None


def _frame_of_table(table: Any) -> Any:
    frame = table.to_pandas()
    for name in table.column_names:
        if (array := _find_tensors(table[name])) is not None:
            frame[name] = _one_dimensional(array)
    return frame


def _array_of_column(column: Any) -> np.ndarray[Any, Any]:
    array = _find_tensors(column)
    if array is not None:
        return array
    # Arrow's own NumPy form of a chunk keeps integers integers where nothing is missing; lists are arrays.
    return stacked(column.to_numpy())


def _find_tensors(column: Any) -> np.ndarray[Any, Any] | None:
    """A column of one of Arrow's tensor types as one array, or None."""
    convert = getattr(column.combine_chunks(), "to_numpy_ndarray", None) if _is_extension(column.type) else None
    return None if convert is None else convert()


def _is_extension(kind: Any) -> bool:
    pyarrow = require("pyarrow", "predict", "an Arrow Table")
    return isinstance(kind, pyarrow.BaseExtensionType)


def _arrow(array: np.ndarray[Any, Any], pyarrow: Any) -> Any:
    if array.ndim == 1:
        return pyarrow.array(array, from_pandas=True) if array.dtype == object else pyarrow.array(array)
    contiguous = np.ascontiguousarray(array)
    if array.ndim == 2 and array.shape[1]:
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(contiguous.ravel()), array.shape[1])
    return pyarrow.FixedShapeTensorArray.from_numpy_ndarray(contiguous)

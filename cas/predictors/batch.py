"""Batches of rows in the four forms that callers have, and their rows and columns.

A batch is a pandas DataFrame, an Arrow Table, a dict of NumPy arrays by column, or one NumPy array without names.
Nothing here copies values where a view does, and nothing imports pandas or Arrow: whoever has a batch of
theirs has imported them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from cas.errors import FormatError

__all__ = [
    "PREDICTIONS",
    "VALUE_COLUMN",
    "Batch",
    "BatchFormat",
    "check_batch",
    "column_names",
    "concatenate",
    "count_rows",
    "is_frame",
    "is_table",
    "select_columns",
    "size_bytes",
    "slice_rows",
    "with_columns",
]

Batch: TypeAlias = Any
"""A ``pandas.DataFrame``, ``pyarrow.Table``, ``dict[str, np.ndarray]`` or ``np.ndarray``."""

PREDICTIONS = "predictions"
"""The column of answers that have no name of their own."""

VALUE_COLUMN = "__value__"
"""The one column of a table that was made from an array without names: Ray's own name for it."""


class BatchFormat(StrEnum):
    """What a predictor wants its batches to be. Ray's enumeration of that name is understood as well."""

    PANDAS = "pandas"
    NUMPY = "numpy"


def is_frame(value: object) -> bool:
    """Whether it is a pandas DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_table(value: object) -> bool:
    """Whether it is an Arrow Table."""
    pyarrow = sys.modules.get("pyarrow")
    return pyarrow is not None and isinstance(value, pyarrow.Table)


def check_batch(data: object) -> None:
    """Refuse what is no batch.

    Raises:
        FormatError: it is none of the four forms, or its columns are not equally long.
    """
    if is_frame(data) or is_table(data):
        return
    if isinstance(data, np.ndarray):
        if data.ndim == 0:
            raise FormatError("a batch is an array of rows, and this one has no dimension; give np.array([...])")
        return
    if not isinstance(data, dict):
        raise FormatError(
            f"a {type(data).__name__} is no batch: give a NumPy array, a dict of them, a pandas DataFrame or an"
            " Arrow Table"
        )
    for name, column in data.items():
        if not isinstance(column, np.ndarray) or column.ndim == 0:
            raise FormatError(f"column {name!r} of the batch is no NumPy array of rows, but a {type(column).__name__}")
    if len(lengths := {name: len(column) for name, column in data.items()}) and len(set(lengths.values())) > 1:
        raise FormatError(f"the columns of the batch are not equally long: {lengths}")


def count_rows(batch: Batch) -> int:
    """How many rows it has."""
    if is_table(batch):
        return int(batch.num_rows)
    return len(next(iter(batch.values()), ())) if isinstance(batch, dict) else len(batch)


def size_bytes(batch: Batch) -> int:
    """About what it takes in memory; what Python objects within it take is not counted."""
    if is_frame(batch):
        return int(batch.memory_usage(index=False, deep=False).sum())
    return sum(int(column.nbytes) for column in batch.values()) if isinstance(batch, dict) else int(batch.nbytes)


def column_names(batch: Batch) -> list[Any] | None:
    """The columns in order, or None of an array, which has no names."""
    if is_frame(batch):
        return list(batch.columns)
    if is_table(batch):
        return list(batch.column_names)
    return list(batch) if isinstance(batch, dict) else None


def slice_rows(batch: Batch, start: int, stop: int) -> Batch:
    """Rows from ``start`` to before ``stop``."""
    if is_frame(batch):
        return batch.iloc[start:stop]
    if is_table(batch):
        return batch.slice(start, max(stop - start, 0))
    if isinstance(batch, dict):
        return {name: column[start:stop] for name, column in batch.items()}
    return batch[start:stop]


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches of one form, one after the other.

    Raises:
        FormatError: they are of different forms or have different columns.
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    if len({type(batch) for batch in batches}) > 1:
        raise FormatError(f"batches of different forms: {sorted({type(batch).__name__ for batch in batches})}")
    if any(column_names(batch) != column_names(first) for batch in batches):
        raise FormatError(f"batches of different columns, such as {column_names(first)} and others")
    if is_frame(first):
        return sys.modules["pandas"].concat(batches)
    if is_table(first):
        return sys.modules["pyarrow"].concat_tables(batches, promote_options="permissive")
    if isinstance(first, dict):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in first}
    return np.concatenate(batches)


def select_columns(batch: Batch, columns: Sequence[str]) -> Batch:
    """Only these columns, in this order.

    Raises:
        FormatError: it has no such column, or, being an array, none with names.
    """
    _check_columns(batch, columns)
    if is_frame(batch):
        return batch[list(columns)]
    return batch.select(list(columns)) if is_table(batch) else {name: batch[name] for name in columns}


def with_columns(answer: Batch, source: Batch, columns: Sequence[str]) -> Batch:
    """``answer`` and these columns of ``source``, which is of the same form; they replace equal names.

    Raises:
        FormatError: ``source`` has no such column, or another number of rows.
    """
    _check_columns(source, columns)
    if count_rows(answer) != count_rows(source):
        raise FormatError(
            f"columns of {count_rows(source)} rows cannot be kept beside {count_rows(answer)} predictions"
        )
    if is_frame(answer):
        answer = answer.copy(deep=False)
        for name in columns:
            answer[name] = source[name].array  # by position: either's index may be anything
        return answer
    if is_table(answer):
        for name in columns:
            place = answer.column_names.index(name) if name in answer.column_names else None
            column = (source.schema.field(name), source[name])
            answer = answer.append_column(*column) if place is None else answer.set_column(place, *column)
        return answer
    return {**answer, **{name: source[name] for name in columns}}


def _check_columns(batch: Batch, columns: Sequence[str]) -> None:
    names = column_names(batch)
    if names is None:
        raise FormatError(f"columns {list(columns)} are named, and the batch is an array, which has no names")
    if missing := [name for name in columns if name not in names]:
        raise FormatError(f"the batch has no column {missing[0]!r}; it has {', '.join(map(str, names[:10]))}")

"""Where batches come from in this process: data in memory, Parquet files, or an iterator that makes them.

A file is read a batch at a time, so that memory is bounded by a row group and a batch, whatever the size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from cas.checkpoint.extras import require
from cas.errors import FormatError, NotFoundError, StorageError
from cas.predictors.batch import Batch, check_batch, count_rows, size_bytes, slice_rows

__all__ = ["Piece", "is_path", "iter_given", "iter_memory", "iter_parquet", "parquet_bytes"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of the input.

    Attributes:
        batch: the rows.
        first_row: the number of the first one in the whole input.
        size_bytes: their share of the input, for progress.
    """

    batch: Batch
    first_row: int
    size_bytes: int


ParquetPath: TypeAlias = str | os.PathLike[str]


def is_path(data: object) -> bool:
    """Whether it names a file rather than being data."""
    return isinstance(data, str | os.PathLike)


def iter_memory(batch: Batch, batch_size: int, first_row: int = 0) -> Iterator[Piece]:
    """Slices of ``batch_size`` rows, the last one perhaps of fewer."""
    rows = count_rows(batch)
    for start in range(0, rows, batch_size):
        part = slice_rows(batch, start, min(start + batch_size, rows))
        yield Piece(part, first_row + start, size_bytes(part))


def iter_given(batches: Iterable[Batch], batch_size: int) -> Iterator[Piece]:
    """The batches that somebody makes, cut where they are larger than ``batch_size``.

    Raises:
        FormatError: one of them is no batch.
    """
    first_row = 0
    for batch in batches:
        check_batch(batch)
        yield from iter_memory(batch, batch_size, first_row)
        first_row += count_rows(batch)


def parquet_bytes(path: ParquetPath) -> int:
    """The size of a Parquet file, or of all in a directory.

    Raises:
        NotFoundError: there is none.
    """
    total = 0
    for place in _parquet_files(path):
        with closing(_open(place)) as file:
            total += file.seek(0, os.SEEK_END)
    return total


def iter_parquet(path: ParquetPath, batch_size: int, columns: Sequence[str] | None = None) -> Iterator[Piece]:
    """Arrow Tables of ``batch_size`` rows at most, in the order of the file; of a directory, file by file.

    Args:
        path: of a file or a directory of them, or the URL of a file.
        batch_size: rows.
        columns: only these are read; all by default.

    Raises:
        NotFoundError: there is none.
        FormatError: it is no Parquet file, or lacks a column.
    """
    pyarrow = require("pyarrow", "predict", "reading Parquet files")
    parquet = require("pyarrow.parquet", "predict", "reading Parquet files")
    first_row = 0
    for place in _parquet_files(path):
        with closing(_open(place)) as file:
            try:
                # Arrow's read-ahead would keep all that it has read until the last batch.
                opened = parquet.ParquetFile(file, pre_buffer=False)
            except pyarrow.ArrowInvalid as error:
                raise FormatError(f"{place} is no Parquet file: {error}") from error
            if missing := [name for name in columns or () if name not in opened.schema_arrow.names]:
                raise FormatError(f"{place} has no column {missing[0]!r}; it has {opened.schema_arrow.names}")
            file_bytes, rows = file.seek(0, os.SEEK_END), opened.metadata.num_rows
            for records in opened.iter_batches(batch_size, columns=None if columns is None else list(columns)):
                share = file_bytes * records.num_rows // rows
                yield Piece(pyarrow.Table.from_batches([records]), first_row, share)
                first_row += records.num_rows


def _parquet_files(path: ParquetPath) -> list[str]:
    name = os.fspath(path)
    if "://" in name or not os.path.isdir(name):
        return [name]
    found = sorted(str(file) for file in Path(name).rglob("*.parquet"))
    if not found:
        raise NotFoundError(f"no *.parquet file in {name}")
    return found


def _open(place: str) -> IO[Any]:
    try:
        if "://" not in place:
            return open(place, "rb")
        import fsspec

        opened: IO[Any] = fsspec.open(place, "rb").open()
        return opened
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {place}") from error
    except OSError as error:
        raise StorageError(f"{place} cannot be read: {error}") from error

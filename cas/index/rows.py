"""Many rows in few statements: the two shapes that all bulk work here has.

Plain tuples pass between caller and driver as they are, sorted by key so that
neighbouring pages of the tree are visited together: two to three times quicker
than SQLAlchemy's own rows (docs/design/005-index.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table

from cas.format import Digest

__all__ = ["MAX_INTEGER", "bounded", "by_raw", "insert_new", "select_in"]

_BATCH_ROWS = 500  # keys in one IN (…): fewer cost more calls, more are slower in SQLite
MAX_INTEGER = (1 << 63) - 1


def by_raw(digests: Iterable[Digest | bytes]) -> dict[bytes, Digest]:
    """Each distinct digest under its raw bytes."""
    return {digest.raw: digest for digest in (one if isinstance(one, Digest) else Digest(one) for one in digests)}


def bounded(number: int) -> int:
    """``number``, or the nearest that a database's 64-bit integer holds."""
    return max(-MAX_INTEGER - 1, min(number, MAX_INTEGER))


def select_in(connection: Connection, query: str, keys: Iterable[bytes], *parameters: Any) -> Iterator[Sequence[Any]]:
    """The rows of a query that ends in ``IN``, for any number of keys, in no order.

    Args:
        connection: to read by.
        query: with a ``?`` for each of ``parameters``, in their order, all before the ``IN``.
        keys: distinct.
        parameters: other values.
    """
    mark = _mark(connection)
    query = query.replace("?", mark)
    wanted = sorted(keys)
    for start in range(0, len(wanted), _BATCH_ROWS):
        batch = wanted[start : start + _BATCH_ROWS]
        marks = ", ".join([mark] * len(batch))
        yield from connection.exec_driver_sql(f"{query} ({marks})", (*parameters, *batch)).all()


def insert_new(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert the rows whose primary key is new; those that are there stay as they are.

    Args:
        connection: inside a transaction.
        table: which.
        rows: a value for every column, in the table's order, as the driver takes them. Of two with
            one key the first is kept.
    """
    if rows:
        by_key = itemgetter(*range(len(table.primary_key)))
        connection.exec_driver_sql(_insert_statement(table, _mark(connection)), sorted(rows, key=by_key))


def _mark(connection: Connection) -> str:
    """How the driver writes a parameter."""
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


@cache
def _insert_statement(table: Table, mark: str) -> str:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = ", ".join([mark] * len(table.columns))
    return f"INSERT INTO {table.name} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"

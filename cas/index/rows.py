"""Many rows in few statements: the two shapes that all bulk work here has.

Plain tuples pass between caller and driver as they are, sorted by key so that
neighbouring pages of the tree are visited together: two to three times quicker
than SQLAlchemy's own rows. To PostgreSQL many rows go as one array a column
(docs/design/005-index.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table

from cas.format import Digest

__all__ = ["MAX_INTEGER", "bounded", "by_raw", "insert_new", "parameter_mark", "select_in"]

_BATCH_ROWS = 500  # keys in one IN (…): fewer cost more calls, more are slower in SQLite
_ARRAY_ROWS = 8  # from so many rows on, arrays are quicker for PostgreSQL than a statement for each row
MAX_INTEGER = (1 << 63) - 1


def by_raw(digests: Iterable[Digest | bytes]) -> dict[bytes, Digest]:
    """Each distinct digest under its raw bytes."""
    return {digest.raw: digest for digest in (one if isinstance(one, Digest) else Digest(one) for one in digests)}


def bounded(number: int) -> int:
    """``number``, or the nearest that a database's 64-bit integer holds."""
    return max(-MAX_INTEGER - 1, min(number, MAX_INTEGER))


def select_in(
    connection: Connection, query: str, keys: Iterable[bytes] | Iterable[str], *parameters: Any
) -> Iterator[Sequence[Any]]:
    """The rows of a query that ends in ``IN``, for any number of keys, in no order.

    Args:
        connection: to read by.
        query: with a ``?`` for each of ``parameters``, in their order, all before the ``IN``.
        keys: distinct.
        parameters: other values.
    """
    mark = parameter_mark(connection)
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
    if not rows:
        return
    ordered = sorted(rows, key=itemgetter(*range(len(table.primary_key))))
    if len(rows) < _ARRAY_ROWS or connection.dialect.name != "postgresql":
        connection.exec_driver_sql(_insert_rows(table, parameter_mark(connection)), ordered)
    else:
        arrays = tuple(list(column) for column in zip(*ordered, strict=True))
        connection.exec_driver_sql(_insert_arrays(table), arrays)


def parameter_mark(connection: Connection) -> str:
    """How the driver writes a parameter."""
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


@cache
def _insert_rows(table: Table, mark: str) -> str:
    marks = ", ".join([mark] * len(table.columns))
    return f"INSERT INTO {table.name} ({_names(table)}) VALUES ({marks}) ON CONFLICT DO NOTHING"


@cache
def _insert_arrays(table: Table) -> str:
    """PostgreSQL's way: one statement for any number of rows; ``%b`` sends bytes as they are, ``%s`` as digits."""
    from sqlalchemy.dialects import postgresql  # 45 ms that SQLite needs not

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    arrays = ", ".join(f"%b::{column.type.compile(dialect=dialect)}[]" for column in table.columns)
    return f"INSERT INTO {table.name} ({_names(table)}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)

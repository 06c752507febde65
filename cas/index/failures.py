"""What a database says when it fails, as errors of cas that name the index and the way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cas.errors import CasError, CorruptError, StorageError
from cas.index.address import Address

__all__ = ["busy_error", "damaged_error", "translated"]

# SQLITE_PROTOCOL: too many connections opened and closed the log in the same instant.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_LOCK_NOT_AVAILABLE = "55P03"
# SQLSTATE classes after which the same statement may succeed: connection, rollback, resources, operator.
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "57"})


def busy_error(name: str) -> StorageError:
    """Another process or thread kept the index to itself for longer than the time-out."""
    return StorageError(
        f"index {name} is busy: another writer has it locked; try again when that is done", transient=True
    )


def damaged_error(name: str, reason: str) -> CorruptError:
    """An SQLite file is not what was written."""
    what = f"damage ({reason}; the store is unharmed, rebuild the index by `cas reindex`)"
    return CorruptError("a sound SQLite database", what, f"index {name}")


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Raise what SQLAlchemy raises inside the block as a CasError about the index at ``address``."""
    try:
        yield
    except SQLAlchemyError as error:
        text = str(error)
        failure = _translate(error, address)
        if address.scrub(text) == text:
            raise failure from error
        raise failure from None  # a traceback would print the cause, secrets and all


def _translate(error: SQLAlchemyError, address: Address) -> CasError:
    name = address.name
    original = error.orig if isinstance(error, DBAPIError) else None
    # The driver's own first line; SQLAlchemy's adds the statement and a link to its manual.
    reason = address.scrub(str(original or error).strip().partition("\n")[0])
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            return busy_error(name)
        if code in _DAMAGED:
            return damaged_error(name, reason)
        return StorageError(f"index {name}: {reason}")
    state = getattr(original, "sqlstate", None)
    if state == _LOCK_NOT_AVAILABLE:
        return busy_error(name)
    # Without an SQLSTATE no server answered, or the pool had no connection to give.
    transient = state is None or state[:2] in _TRANSIENT_CLASSES
    return StorageError(f"index {name}: {reason}", transient)

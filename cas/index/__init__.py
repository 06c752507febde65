"""The index: a rebuildable SQL database over a store, never the only copy of anything.

`open_index` gives an `Index`, which knows where each chunk lies, which commits
there are and what they measured. Everything in it was read from the store and
can be read again (`cas reindex`); losing it loses nothing. Design and figures
are in docs/design/005-index.md.

SQLAlchemy takes 0.4 s to import, so this module does not: the functions import
it when they are called, and the name `Index` when it is first looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from cas.index.index import Index

__all__ = ["Index", "discard_index", "open_index", "upgrade"]


def __getattr__(name: str) -> Any:
    if name == "Index":
        from cas.index.index import Index

        return Index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_index(url_or_path: str | PathLike[str]) -> Index:
    """`Index.open`, which see."""
    from cas.index.index import Index

    return Index.open(url_or_path)


def upgrade(url_or_path: str | PathLike[str]) -> tuple[str | None, str]:
    """Bring an index to this code's schema, or create it: what ``cas db upgrade`` does.

    Returns:
        The schema's version before (None: there was no index) and after.

    Raises:
        FormatError: the schema is newer than this code, or the database is another program's.
        StorageError: locked, read-only, or the server does not answer.
    """
    from cas.index.database import Database
    from cas.index.migration import upgrade_schema

    with Database.open(url_or_path) as database:
        return upgrade_schema(database)


def discard_index(url_or_path: str | PathLike[str]) -> None:
    """Remove an index altogether, even a damaged one, so that `open_index` starts an empty one.

    An SQLite file is deleted; of a PostgreSQL database only cas's own tables are dropped.

    Raises:
        StorageError: it cannot be deleted, or the server does not answer.
    """
    from cas.index.migration import drop_schema

    drop_schema(url_or_path)

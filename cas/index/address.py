"""Which database an index lives in: a path or URL, checked once and printable without secrets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from cas.errors import FormatError

__all__ = ["Address"]

_SQLITE = "sqlite+pysqlite"
_POSTGRES = "postgresql+psycopg"
_DRIVERS = {
    "sqlite": _SQLITE,
    _SQLITE: _SQLITE,
    "postgres": _POSTGRES,
    "postgresql": _POSTGRES,
    _POSTGRES: _POSTGRES,
}
_WHERE_IT_IS = frozenset({"host", "hostaddr", "port", "dbname"})
_LEAST_CHARACTERS = 3


@dataclass(frozen=True, slots=True)
class Address:
    """Where an index lies.

    Attributes:
        url: what SQLAlchemy connects to, secrets included; never printed.
        path: the SQLite file, or None for a server or for memory.
    """

    url: URL
    path: Path | None

    @classmethod
    def parse(cls, url_or_path: str | os.PathLike[str]) -> Address:
        """Read ``sqlite:///…``, ``sqlite://`` (memory), ``postgresql+psycopg://…`` or a plain path.

        Raises:
            FormatError: not a URL, or of another kind of database.
        """
        text = os.fspath(url_or_path)
        if "://" not in text:
            return cls(URL.create(_SQLITE, database=text), Path(text))
        scheme = text.partition("://")[0]
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            # Not chained: the cause may quote the URL, and with it a password.
            raise FormatError(
                f"the index's URL ({scheme}://…) cannot be read; write sqlite:///PATH or {_POSTGRES}://…"
            ) from None
        if url.drivername not in _DRIVERS:
            raise FormatError(
                f"an index lives in SQLite or PostgreSQL, not in {scheme}; write a path or {_POSTGRES}://…"
            )
        url = url.set(drivername=_DRIVERS[url.drivername])
        if url.drivername == _SQLITE and url.database not in (None, "", ":memory:"):
            return cls(url, Path(str(url.database)))
        return cls(url, None)

    @property
    def is_sqlite(self) -> bool:
        """SQLite, in a file or in memory; otherwise PostgreSQL."""
        return self.url.drivername == _SQLITE

    @property
    def name(self) -> str:
        """What messages call it: the path, or the server and database; never user, password or query."""
        if self.path is not None:
            return str(self.path)
        if self.is_sqlite:
            return "in memory"
        shown = URL.create(self.url.drivername, host=self.url.host, port=self.url.port, database=self.url.database)
        return shown.render_as_string()

    def scrub(self, text: str) -> str:
        """``text`` (a driver's error) without user, password and query, but for where the server is."""
        secrets = {self.url.username or "", str(self.url.password or "")}
        for key, values in self.url.normalized_query.items():
            if key not in _WHERE_IT_IS:
                secrets.update(values)
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _LEAST_CHARACTERS:
                text = text.replace(secret, "***")
            elif secret:  # else a user "a" would be cut out of every word
                text = text.replace(f'"{secret}"', '"***"')
        return text

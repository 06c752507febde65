"""A store that somebody serves over plain HTTP, to read by hash.

Any server of static files that honours ranges will do (nginx does; Python's own
``http.server`` does not). There is no listing and no writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Never
from urllib.parse import quote, urlsplit, urlunsplit

from cas.errors import RefusedError
from cas.format import Buffer
from cas.storage.base import ObjectInfo
from cas.storage.fsspec import FsspecStorage
from cas.storage.keys import check_key

__all__ = ["HttpStorage"]


class HttpStorage(FsspecStorage):
    """Objects below an ``http://`` or ``https://`` URL, read-only.

    A user and password in the URL are sent as basic authentication; a query (a signature, a token) is
    sent with every request.
    """

    def create(self, key: str, data: Sequence[Buffer]) -> Never:
        """Refused."""
        raise self._read_only()

    def replace(self, key: str, data: Sequence[Buffer]) -> Never:
        """Refused."""
        raise self._read_only()

    def delete(self, key: str) -> Never:
        """Refused."""
        raise self._read_only()

    def now_us(self) -> Never:
        """Refused."""
        raise self._read_only()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Refused."""
        raise RefusedError(f"{self.url}: HTTP has no listing; name the checkpoint by its full hash")

    def _read_only(self) -> RefusedError:
        return RefusedError(f"{self.url} is read-only, being HTTP; write to the store by its own URL")

    def _path(self, key: str) -> str:
        parts = urlsplit(self._secret_url)
        path = f"{parts.path.rstrip('/')}/{quote(check_key(key))}"
        return urlunsplit(parts._replace(path=path, fragment=""))

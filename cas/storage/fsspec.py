"""Any other place that fsspec reaches: Google and Azure storage, SFTP, HDFS and the rest.

What fsspec promises in general is less than a store needs: its exclusive create
is check-then-write unless a backend makes it real. So `create` here is honest
about not being exclusive, and refs are refused; `cas.storage.s3` does better.
Nothing is cached, neither listings nor instances.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import fsspec.core

from cas.errors import CasError, ConflictError, CorruptError, NotFoundError, StorageError
from cas.format import Buffer
from cas.storage.base import ObjectInfo
from cas.storage.failures import http_status, remote_failure
from cas.storage.keys import check_key, check_prefix, check_range, check_within, is_name, join
from cas.storage.redaction import redact, scrub
from cas.storage.upload import BufferedUpload, Upload

__all__ = ["FsspecStorage"]

_Result = TypeVar("_Result")
# What backends call the time of writing, best first.
_TIME_FIELDS = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


class FsspecStorage:
    """Objects below ``url`` through fsspec's file system for its protocol, which connects now or on first use.

    Args:
        url: as fsspec takes it, credentials and all; errors and `url` never show them.
        options: for the file system's constructor.

    Raises:
        ImportError, ValueError: no package for the protocol, no such URL; `open_storage` says it better.
        StorageError: it connects now (FTP, SFTP), and cannot.
    """

    exclusive_create = False

    def __init__(self, url: str, **options: Any) -> None:
        self._secret_url = url
        self._fs: Any
        with self._explained("open", "", ImportError, ValueError):
            self._fs, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
        self._root = str(root).rstrip("/")
        self._fs.dircache.use_listings_cache = False  # as an option it would reach, and break, some SFTP clients

    @property
    def url(self) -> str:
        """The URL without user, password, query and fragment."""
        return redact(self._secret_url)

    @property
    def local_path(self) -> None:
        """None: objects are not files here, or not ours to treat as such."""
        return None

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        path = self._path(key)
        return self._call("read", key, lambda: bytes(self._fs.cat_file(path)))

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """See `Storage.read_range`."""
        check_range(offset, size_bytes)
        path = self._path(key)
        if size_bytes == 0:  # no server can be asked for nothing
            check_within(offset, 0, self._size_bytes(key), self._where(key))
            return b""

        def fetch() -> bytes:
            try:
                return bytes(self._fs.cat_file(path, start=offset, end=offset + size_bytes))
            except Exception as error:
                if http_status(error) == 416:  # the object ends before the range begins
                    return b""
                raise

        data = self._call("read", key, fetch)
        if len(data) > size_bytes:
            raise StorageError(f"cannot read a part of {self._where(key)}: the server ignores ranges; use another")
        if len(data) < size_bytes:
            raise CorruptError(f"{size_bytes} bytes from {offset}", f"{len(data)} bytes", self._where(key))
        return data

    def read_tail(self, key: str, size_bytes: int) -> tuple[bytes, int]:
        """See `Storage.read_tail`. Two requests: not every backend tells the whole size with a part."""
        check_range(0, size_bytes)
        object_bytes = self._size_bytes(key)
        offset = max(object_bytes - size_bytes, 0)
        return self.read_range(key, offset, object_bytes - offset), object_bytes

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.create`; not exclusive: of two writers at the same moment both may win."""
        path = self._path(key)
        if self._call("look for", key, lambda: self._exists(path)):
            raise ConflictError(f"{self._where(key)} exists already")
        self.replace(key, data)

    def upload(self, near: str) -> Upload:
        """See `Storage.upload`."""
        return BufferedUpload(self)

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.replace`; as atomic as the backend's own upload."""
        path, content = self._path(key), join(data)

        def put() -> None:
            try:
                self._fs.pipe_file(path, content)
            except FileNotFoundError:  # a backend with real folders, and this one is missing
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._fs.pipe_file(path, content)

        self._call("write", key, put)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. The whole listing is held in memory."""
        check_prefix(prefix)
        below = "/".join(part for part in (self._root, prefix.rstrip("/")) if part)

        def find() -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache()
            try:
                found: dict[str, dict[str, Any]] = self._fs.find(below, detail=True)
            except FileNotFoundError:
                return {}
            return found

        found = self._call("list", prefix, find)
        infos = [
            self._info(key, details)
            for path, details in found.items()
            if (key := self._key(path)) is not None and key.startswith(prefix)
        ]
        return iter(sorted(infos, key=lambda info: info.key))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        path = self._path(key)

        def remove() -> None:
            try:
                self._fs.rm_file(path)
            except FileNotFoundError:
                return

        self._call("delete", key, remove)

    def sweep(self, before_us: int) -> int:
        """See `Storage.sweep`: every write is one upload, which leaves nothing behind."""
        return 0

    def now_us(self) -> int:
        """See `Storage.now_us`: what the server says of an object written for the purpose."""
        path = f"{self._root}/.clock-{secrets.token_hex(8)}"

        def stamp() -> int:
            try:
                self._fs.pipe_file(path, b"")
            except FileNotFoundError:
                self._fs.makedirs(self._root, exist_ok=True)
                self._fs.pipe_file(path, b"")
            try:
                return self._modified_us(self._fs.info(path))
            finally:
                self._fs.rm_file(path)

        return self._call("write", "", stamp)

    def close(self) -> None:
        """See `Storage.close`: fsspec's file systems give connections back when nothing refers to them."""
        self._fs = None

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self._root}/{key}" if self._root else key

    def _where(self, key: str) -> str:
        """What errors call the object."""
        return f"{self.url.rstrip('/')}/{key}"

    def _key(self, path: str) -> str | None:
        """The key of an object that a listing calls ``path``, or None for what is no object of a store."""
        inner = path.lstrip("/").removeprefix(self._root.lstrip("/")).lstrip("/")
        return inner if inner and all(map(is_name, inner.split("/"))) else None

    def _exists(self, path: str) -> bool:
        try:  # fsspec's own `exists` takes every error for a no
            return bool(self._fs.info(path)["type"] != "directory")
        except FileNotFoundError:
            return False

    def _size_bytes(self, key: str) -> int:
        path = self._path(key)
        details = self._call("read", key, lambda: dict(self._fs.info(path)))
        if details.get("type") == "directory":
            raise NotFoundError(f"there is no {self._where(key)}")
        return self._info_size_bytes(key, details)

    def _info_size_bytes(self, key: str, details: dict[str, Any]) -> int:
        if not isinstance(size_bytes := details.get("size"), int):
            raise StorageError(f"{self._where(key)}: the server does not tell its size; use another kind of storage")
        return size_bytes

    def _info(self, key: str, details: dict[str, Any]) -> ObjectInfo:
        return ObjectInfo(key, self._info_size_bytes(key, details), self._modified_us(details))

    def _modified_us(self, details: dict[str, Any]) -> int:
        for name in _TIME_FIELDS:
            value = details.get(name)
            if isinstance(value, str):
                value = datetime.datetime.fromisoformat(value)
            if isinstance(value, datetime.datetime):
                if value.tzinfo is None:
                    value = value.replace(tzinfo=datetime.UTC)
                return round(value.timestamp() * 1_000_000)
            if isinstance(value, int | float):
                return round(value * 1_000_000)
        # A made-up time could have gc delete what was written just now.
        raise StorageError(f"{self.url} does not tell when objects were written; use another kind of storage")

    def _call(self, doing: str, key: str, action: Callable[[], _Result]) -> _Result:
        with self._explained(doing, key):
            return action()

    @contextlib.contextmanager
    def _explained(self, doing: str, key: str, *passed: type[Exception]) -> Iterator[None]:
        """Turn whatever the client library raises into one of cas's errors, but for those that are ``passed`` on."""
        try:
            yield
        except CasError:
            raise
        except Exception as error:
            if isinstance(error, passed) and not isinstance(error, OSError):  # ssl's errors are OSError and ValueError
                raise
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            detail = scrub(text, self._secret_url)
            failure = remote_failure(error, doing, self._where(key), detail)
            if detail == text:
                raise failure from error
            raise failure from None  # a traceback would print the cause, secrets and all

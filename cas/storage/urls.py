"""From a URL to the storage it names."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, unquote, urlsplit

from cas.errors import FormatError, RefusedError
from cas.storage.base import Storage
from cas.storage.local import LocalStorage
from cas.storage.memory import MemoryStorage
from cas.storage.redaction import redact, scrub
from cas.storage.retry import RetryingStorage

__all__ = ["open_storage", "redact", "scrub"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_S3 = frozenset({"s3", "s3a"})
_HTTP = frozenset({"http", "https"})


def open_storage(url: str, *, retries: bool = True) -> Storage:
    """The storage that ``url`` names. Nothing is read or written yet, nor connected to, but by FTP and SFTP.

    Args:
        url: a path (``~`` is the home folder), ``file://``, ``memory://name``, ``s3://bucket/prefix``,
            ``https://`` (read-only) or any other that fsspec knows.
        retries: whether transient failures are tried again (`RetryingStorage`).

    Raises:
        FormatError: no storage has such a URL.
        RefusedError: the package for it is not installed; the message says which.
        StorageError: by FTP and SFTP, whose clients connect at once: they cannot.
    """
    storage = _open(url)
    return storage if isinstance(storage, MemoryStorage) or not retries else RetryingStorage(storage)


def _open(url: str) -> Storage:
    if not url or "\0" in url:
        raise FormatError(f"{url!r} names no store: give a folder or a URL such as s3://bucket/prefix")
    if url.startswith("file:"):
        return LocalStorage(_file_path(urlsplit(url)))
    if "://" not in url:
        return LocalStorage(os.path.expanduser(url))
    if "::" in url:
        raise FormatError(f"{redact(url)} is a chain of file systems, which could answer from a cache; name one")
    if (match := _URL.fullmatch(url)) is None:
        raise FormatError(f"{redact(url)} names no store: it has :// but does not begin with a protocol")
    scheme, rest = match[1].lower(), match[2]
    if scheme == "memory":
        return MemoryStorage(rest.rstrip("/"))
    return _open_remote(scheme, url)


def _file_path(parts: SplitResult) -> str:
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise FormatError(f"{redact(parts.geturl())} is no file URL of this machine: it needs the form file:///path")
    return unquote(parts.path)


def _open_remote(scheme: str, url: str) -> Storage:
    # fsspec and its clients take up to a second to import, which a command on a folder must not pay for.
    try:
        if scheme in _S3:
            import s3fs  # noqa: F401

            from cas.storage.s3 import S3Storage

            return S3Storage(url)
        if scheme in _HTTP:
            from cas.storage.http import HttpStorage

            return HttpStorage(url)
        from cas.storage.fsspec import FsspecStorage

        return FsspecStorage(url)
    except ImportError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = "cas[s3]" if scheme in _S3 else cause.name or "the package that fsspec needs for it"
        raise RefusedError(f"{scheme}:// needs a package that is not installed: pip install '{package}'") from error
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{redact(url)} names no store: {scrub(str(error), url)}") from None

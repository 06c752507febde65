"""A plain directory of files somewhere that fsspec reaches: what other tools write and expect.

Nothing is looked at before it is asked for. Files are read by ranges, a few MiB at a
time, and written from a temporary file that was verified, so that a large one is
never whole in memory. Object stores keep no executable bits, and directories only
where something is in them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec.core
from blake3 import blake3

from cas.checkpoint.contents import Content, LooseContent
from cas.errors import CasError, ConflictError, FormatError
from cas.format import Digest
from cas.format.paths import check_path
from cas.repository import ReadAt, Source
from cas.storage import redact
from cas.storage.failures import http_status, remote_failure, service_code
from cas.storage.urls import scrub
from cas.worktree import hash_sources, write_sources

__all__ = ["RemoteDirectory"]

_WINDOW_BYTES = 8 << 20
_JUMP_BYTES = 64 << 10
_SMALL_BYTES = 64 << 20
# What changes when a file does, best first; backends call it by different names.
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "updated", "last_modified", "mtime", "created")


class _FileSystem:
    """fsspec's file system for a URL, with nothing cached and its errors said in cas's words."""

    def __init__(self, url: str) -> None:
        self._url = url
        with self.reported("use", ""):
            self.fs: Any
            self.fs, root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
        self.fs.dircache.use_listings_cache = False
        self.root = str(root).rstrip("/")

    def path(self, relative: str) -> str:
        return f"{self.root}/{relative}"

    def show(self, relative: str) -> str:
        """What errors call a file, or the directory itself."""
        url = redact(self._url).rstrip("/")
        return f"{url}/{relative}" if relative else url

    def info(self, relative: str) -> Mapping[str, Any]:
        with self.reported("read", relative):
            found: Mapping[str, Any] = self.fs.info(self.path(relative))
            return found

    @contextmanager
    def reported(self, doing: str, relative: str) -> Iterator[None]:
        """Turn what any client library raises into one of cas's errors, without the URL's secrets."""
        try:
            yield
        except CasError:
            raise
        except (ValueError, ImportError) as error:  # fsspec knows no such protocol, or misses its package
            raise FormatError(f"{redact(self._url)}: {scrub(str(error), self._url)}") from None
        except Exception as error:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            detail = scrub(text, self._url)
            failure = remote_failure(error, doing, self.show(relative), detail)
            if detail == text:
                raise failure from error
            raise failure from None  # a traceback would print the cause, secrets and all


@dataclass(frozen=True)
class RemoteDirectory(LooseContent):
    """The files below a URL, as they are when they are read."""

    url: str = field(repr=False)  # as it was given, perhaps with a password

    @cached_property
    def _files(self) -> _FileSystem:
        return _FileSystem(self.url)

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """The directory's files, listed now.

        Raises:
            NotFoundError: there is no such directory.
            FormatError: it is a file, or a name in it is no path.
        """
        found = self._list()
        if not found:
            kind = self._files.info("").get("type")  # raises NotFoundError if there is nothing at all
            if kind != "directory":
                raise FormatError(f"{redact(self.url)} is a file; give the directory that holds the checkpoint")
        files = [_RemoteFile(self._files, path, info) for path, info in found.items() if info["type"] != "directory"]
        full = {parent for path in found for parent in _parents(path)}
        empty = (path for path, info in found.items() if info["type"] == "directory" and path not in full)
        return list(files), tuple(sorted(empty))

    def write(self, target: Path, *, overwrite: bool) -> None:
        """Fetch every file once, then write them as any others: what differs is found before anything is changed."""
        sources, empty = self.sources()
        with tempfile.TemporaryDirectory(prefix="cas-fetch-") as folder:
            fetched = [_fetch(source, Path(folder, str(number))) for number, source in enumerate(sources)]
            write_sources(fetched, empty, target, overwrite=overwrite)

    def replace(self, content: Content, *, overwrite: bool) -> None:
        """Write a content's files here. Files that are here and equal, or of other names, stay.

        Raises:
            ConflictError: one is here, differs, and ``overwrite`` is not set. Nothing was written.
        """
        tree = content.tree()
        here = self._list()
        writing = []
        for entry in tree.files:
            if (info := here.get(entry.path)) is not None and info["type"] != "directory":
                source = _RemoteFile(self._files, entry.path, info)
                if source.size_bytes == entry.size_bytes and hash_sources([source], ()).files[0].blob == entry.blob:
                    continue
                if not overwrite:
                    raise ConflictError(
                        f"{self._files.show(entry.path)} would be overwritten; give overwrite=True, or write elsewhere"
                    )
            writing.append(entry)
        with tempfile.TemporaryDirectory(prefix="cas-send-") as folder:
            staged = Path(folder, "file")
            for entry in writing:
                with open(staged, "wb") as file:
                    for piece in content.iter_file(entry):
                        file.write(piece)
                self._upload(staged, entry.path)

    def find_file(self, path: str) -> bytes | None:
        """By one request, without a listing."""
        files = self._files
        with files.reported("read", path):
            try:
                # With an end, s3fs asks for the bytes; without one it first looks whether it is a directory.
                return bytes(files.fs.cat_file(files.path(path), start=0, end=_SMALL_BYTES))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    @property
    def uri(self) -> str:
        """As it was given, without secrets."""
        return redact(self.url)

    def name(self) -> str:
        """The URL's digest: to know the content's, all of it had to be fetched first."""
        return f"uri-{Digest.of(self.url.encode())}"

    def describe(self) -> str:
        """Its URL, without secrets."""
        return f"uri={redact(self.url)[-70:]!r}"

    def _list(self) -> dict[str, Mapping[str, Any]]:
        """What lies below, by relative path; nothing if there is no such directory."""
        files = self._files
        with files.reported("list", ""):
            files.fs.invalidate_cache()
            try:
                found = files.fs.find(files.root, withdirs=True, detail=True)
            except FileNotFoundError:
                return {}
        root = files.root.lstrip("/")
        relative = {path.lstrip("/").removeprefix(root).strip("/"): info for path, info in found.items()}
        relative.pop("", None)  # the directory itself, which some backends list
        return {check_path(path): relative[path] for path in sorted(relative)}

    def _upload(self, staged: Path, path: str) -> None:
        files = self._files
        with files.reported("write", path):
            try:
                files.fs.put_file(str(staged), files.path(path))
            except FileNotFoundError as error:  # a backend with real folders, and this one is missing
                if service_code(error) == "NoSuchBucket":
                    raise
                files.fs.makedirs(files.path(path).rpartition("/")[0], exist_ok=True)
                files.fs.put_file(str(staged), files.path(path))


class _RemoteFile:
    """One file; a `cas.repository.Source`."""

    executable = False
    known_blob: Digest | None = None

    def __init__(self, files: _FileSystem, path: str, info: Mapping[str, Any]) -> None:
        if not isinstance(size_bytes := info.get("size"), int):
            raise FormatError(f"{files.show(path)}: the server does not tell its size; fetch it by another way")
        self.path = path
        self.size_bytes = size_bytes
        self._files, self._stamp = files, _stamp(info)

    @contextmanager
    def open(self) -> Iterator[ReadAt]:
        """Read by ranges; onwards in windows of `_WINDOW_BYTES`, elsewhere little more than what was asked for."""
        window, start = b"", 0

        def read_at(offset: int, size_bytes: int) -> memoryview:
            nonlocal window, start
            if not start <= offset <= offset + size_bytes <= start + len(window):
                onwards = start <= offset <= start + len(window)
                ahead = max(size_bytes, _WINDOW_BYTES if onwards else _JUMP_BYTES)
                window, start = self._fetch(offset, min(ahead, self.size_bytes - offset)), offset
            return memoryview(window)[offset - start : offset - start + size_bytes]

        yield read_at

    def settle(self, blob: Digest) -> None:
        """Look whether it still is what was listed."""
        if _stamp(self._files.info(self.path)) != self._stamp:
            raise self._changed()

    def _fetch(self, offset: int, size_bytes: int) -> bytes:
        with self._files.reported("read", self.path):
            try:
                path = self._files.path(self.path)
                data = bytes(self._files.fs.cat_file(path, start=offset, end=offset + size_bytes))
            except Exception as error:
                if isinstance(error, FileNotFoundError) or http_status(error) == 416:
                    raise self._changed() from None
                raise
        if len(data) != size_bytes:
            raise self._changed()
        return data

    def _changed(self) -> ConflictError:
        return ConflictError(f"{self._files.show(self.path)} changed while it was being read; try again")


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A file that was fetched to this machine and hashed; a `cas.repository.Source`."""

    path: str
    size_bytes: int
    known_blob: Digest
    local: Path
    executable: bool = False

    @contextmanager
    def open(self) -> Iterator[ReadAt]:
        """Read the local copy."""
        with open(self.local, "rb") as file:
            yield lambda offset, size_bytes: os.pread(file.fileno(), size_bytes, offset)

    def settle(self, blob: Digest) -> None:
        """A copy of our own does not change."""


def _fetch(source: Source, local: Path) -> Source:
    hasher = blake3()
    with open(local, "wb") as file, source.open() as read_at:
        for offset in range(0, source.size_bytes, _WINDOW_BYTES):
            data = read_at(offset, min(_WINDOW_BYTES, source.size_bytes - offset))
            hasher.update(data)
            file.write(data)
    blob = Digest(hasher.digest())
    source.settle(blob)
    return _Fetched(source.path, source.size_bytes, blob, local)


def _stamp(info: Mapping[str, Any]) -> tuple[object, ...]:
    """What tells a file's content from what it held before, the same from a listing and from a look at the file."""
    stamp = next((info[name] for name in _STAMPS if info.get(name) is not None), None)
    if isinstance(stamp, datetime):
        stamp = stamp.timestamp()
    return info.get("size"), round(stamp * 1_000_000) if isinstance(stamp, float) else stamp


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path

"""A node's cache: chunks that were fetched from far away, kept for the next reader.

One folder shared by all processes of a user on a node, one file a chunk, named by
its digest and holding its raw bytes. Nothing in it is believed: a chunk that does
not hash to its name is removed and counts as absent. The least recently used go
when the whole is over its bound. Losing any of it, at any time, loses nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cas.errors import FormatError
from cas.format import Buffer, Digest
from cas.repository.locate import cache_dir

__all__ = ["DEFAULT_BYTES", "ChunkCache", "cache_bytes"]

DEFAULT_BYTES = 10 << 30
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]+) ?([KMGT]?)(i?B)?", re.IGNORECASE)
_LOOK_EVERY = 32  # the folder is measured each time this part of the bound was added
_KEEP = 0.9  # how much of the bound is left after an eviction, so that not every new chunk causes one
_TEMPORARY_S = 3600  # what a dead writer left is removed after this


def cache_bytes() -> int:
    """The bound: ``CAS_CACHE``, a number with an optional unit (``500M``, ``10 GiB``); 0 turns the cache off.

    Raises:
        FormatError: it is something else.
    """
    text = os.environ.get("CAS_CACHE", "").strip()
    if not text:
        return DEFAULT_BYTES
    match = _SIZE.fullmatch(text)
    if match is None:
        raise FormatError(f"CAS_CACHE={text!r} is no size: give a number of bytes, 500M or 10GiB, or 0 for no cache")
    return int(match[1]) * _UNITS[match[2].upper()]


class ChunkCache:
    """Chunks on this node. Methods may be called from any thread and process; failures of the disk are misses."""

    def __init__(self, limit_bytes: int, root: Path | None = None) -> None:
        """A cache of at most about ``limit_bytes`` in ``root``, by default ``chunks`` in `cache_dir`."""
        self._root = root or cache_dir() / "chunks"
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._unmeasured_bytes = limit_bytes  # so that the first chunk makes us look what is there

    def find(self, digest: Digest) -> bytes | None:
        """The chunk's raw bytes, verified, or None."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if Digest.of(data) != digest:
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used now: the times of reading that file systems keep are not to be relied on
        return data

    def add(self, digest: Digest, raw: Buffer) -> None:
        """Keep a chunk. Nothing happens if there is no room on the disk."""
        path = self._path(digest)
        temporary = path.with_name(f".new-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not synced: what a power cut leaves will not hash to its name.
                temporary.write_bytes(raw)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError:
            return
        with self._lock:
            self._unmeasured_bytes += len(raw)
            due = self._unmeasured_bytes * _LOOK_EVERY >= self._limit_bytes
            if due:
                self._unmeasured_bytes = 0
        if due:
            self._evict()

    @contextmanager
    def fetching(self, digest: Digest) -> Iterator[None]:
        """Hold what others wait for who want to fetch ``digest`` too; look again when you have it."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            # 256 locks for all chunks: files that would be named by chunk had to be cleaned up under a lock.
            lock = os.open(self._root / f".lock-{str(digest)[:2]}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _path(self, digest: Digest) -> Path:
        text = str(digest)
        return self._root / text[:2] / text

    def _evict(self) -> None:
        """Remove the least recently used chunks until the cache is within its bound."""
        with suppress(OSError), open(self._root / ".evict", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process is at it
            kept = sorted(self._files())
            total = sum(size for _, size, _ in kept)
            for _, size, path in kept:
                if total <= self._limit_bytes * _KEEP:
                    break
                with suppress(OSError):
                    os.unlink(path)
                total -= size

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """When each chunk was used last, its size, its path; temporary files of the dead are removed."""
        now_ns = max((entry.stat().st_mtime_ns for entry in os.scandir(self._root) if entry.is_file()), default=0)
        for folder in os.scandir(self._root):
            if not folder.is_dir():
                continue
            for entry in os.scandir(folder.path):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith("."):
                        yield status.st_mtime_ns, status.st_size, entry.path
                    elif now_ns - status.st_mtime_ns > _TEMPORARY_S * 1_000_000_000:
                        os.unlink(entry.path)

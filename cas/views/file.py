"""A file of a checkpoint as Python's own: seekable, read-only, and fetching only what is read."""

from __future__ import annotations

import io
import os
from typing import NoReturn

from cas.views.ranges import Ranges

__all__ = ["LazyFile", "open_file"]

_BUFFER_BYTES = 128 << 10


class LazyFile(io.BufferedReader):
    """What ``open(path, "rb")`` gives, over a file of a checkpoint. Make one by `open_file`.

    Threads may share it; those that read at different places do better with a file each.
    """

    raw: _RawFile

    @property
    def size(self) -> int:
        """The file's size in bytes, under the name that fsspec's own files have for it."""
        return self.raw.ranges.size_bytes

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle the open file {self.name!r}; pickle the checkpoint and open it there")


class _RawFile(io.RawIOBase):
    """Reads at a position that it remembers."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges
        self.name = ranges.path
        self.mode = "rb"
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.ranges.size_bytes}
        if whence not in bases or bases[whence] + offset < 0:
            raise ValueError(f"cannot seek to {offset} (whence {whence}) in {self.name!r}")
        self._at = bases[whence] + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        self._check_open()
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), max(self.ranges.size_bytes - self._at, 0))
        if wanted <= _BUFFER_BYTES:
            # Perhaps nobody asked for more than a byte and the rest is the buffer's: don't fetch another chunk for it.
            wanted = min(wanted, self.ranges.near(self._at))
        done = 0
        for piece in self.ranges.iter_range(self._at, wanted) if wanted else ():
            target[done : done + len(piece)] = piece
            done += len(piece)
        self._at += done
        return done

    def readall(self) -> bytes:
        self._check_open()
        left = max(self.ranges.size_bytes - self._at, 0)
        # A BytesIO gives its content away without a copy, where joining pieces would need room for it twice.
        whole = io.BytesIO()
        for piece in self.ranges.iter_range(self._at, left) if left else ():
            whole.write(piece)
        self._at += left
        return whole.getvalue()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name!r} is closed")


def open_file(ranges: Ranges) -> LazyFile:
    """A file object over ``ranges``; nothing is read yet."""
    return LazyFile(_RawFile(ranges), _BUFFER_BYTES)

"""A file as the parsers see it: every read is checked against the file's size first.

So a lying offset or length costs nothing: it raises before anything is read or
allocated.
"""

from __future__ import annotations

import struct

from cas.layouts.spans import MalformedError, ReadAt

__all__ = ["MAX_READ_BYTES", "Cursor", "Source"]

MAX_READ_BYTES = 16 << 20
_WINDOW_BYTES = 256 << 10
_U64 = struct.Struct("<Q")


class Source:
    """A file of known size, read by position."""

    def __init__(self, read_at: ReadAt, size_bytes: int) -> None:
        self._read_at = read_at
        self.size_bytes = size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Exactly those bytes.

        Raises:
            MalformedError: they are not all inside the file, or are more than `MAX_READ_BYTES`.
        """
        if not 0 <= size_bytes <= MAX_READ_BYTES or not 0 <= offset <= self.size_bytes - size_bytes:
            raise MalformedError(f"{size_bytes} bytes at {offset} are not inside a file of {self.size_bytes}")
        data = bytes(self._read_at(offset, size_bytes))
        if len(data) != size_bytes:
            raise MalformedError(f"only {len(data)} of {size_bytes} bytes at {offset} could be read")
        return data


class Cursor:
    """Reads a source onwards from its start in windows, for headers that must be walked to be measured."""

    def __init__(self, source: Source, limit_bytes: int) -> None:
        self._source = source
        self._limit = min(limit_bytes, source.size_bytes)
        self._window = b""
        self._window_offset = 0
        self.offset = 0

    def skip(self, size_bytes: int) -> None:
        """Step over bytes without reading them.

        Raises:
            MalformedError: that would leave the file or pass the limit.
        """
        if not 0 <= size_bytes <= self._limit - self.offset:
            raise MalformedError(f"{size_bytes} bytes at {self.offset} pass the end at {self._limit}")
        self.offset += size_bytes

    def skip_strings(self, count: int) -> None:
        """Step over ``count`` byte strings, each behind its length as a u64. Raises MalformedError as `skip` does."""
        while count:
            # Vocabularies hold a million strings: go through a window without a call for each.
            start = at = self._fill(_U64.size)
            last = len(self._window) - _U64.size
            while count and at <= last:
                at += _U64.size + _U64.unpack_from(self._window, at)[0]
                count -= 1
            self.skip(at - start)

    def take(self, size_bytes: int) -> bytes:
        """The next bytes. Raises MalformedError as `skip` does."""
        at = self._fill(size_bytes)
        self.offset += size_bytes
        return self._window[at : at + size_bytes]

    def _fill(self, size_bytes: int) -> int:
        """Have the next bytes in the window; where they are in it."""
        if not 0 <= size_bytes <= self._limit - self.offset:
            raise MalformedError(f"{size_bytes} bytes at {self.offset} pass the end at {self._limit}")
        at = self.offset - self._window_offset
        if at + size_bytes > len(self._window):
            self._window = self._source.read(
                self.offset, min(max(size_bytes, _WINDOW_BYTES), self._limit - self.offset)
            )
            self._window_offset, at = self.offset, 0
        return at

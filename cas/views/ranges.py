"""Ranges: a file whose bytes are read by position, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cas.errors import FormatError
from cas.format import Buffer
from cas.repository import Source

__all__ = ["Ranges", "SourceRanges", "check_range", "read_ranges"]

_PIECE_BYTES = 16 << 20


class Ranges(Protocol):
    """One file of a checkpoint. May be read by many threads at once."""

    @property
    def path(self) -> str:
        """Its path in the checkpoint."""

    @property
    def size_bytes(self) -> int:
        """Its size."""

    def iter_range(self, offset: int, size_bytes: int) -> Iterator[Buffer]:
        """Exactly those bytes, in pieces that are laid end to end.

        Raises:
            FormatError: they are not all inside the file.
        """

    def near(self, offset: int) -> int:
        """How many bytes from ``offset`` on come at the price of one: to the end of its chunk. 0 at the file's end."""


class SourceRanges:
    """A file that is in no store: what a `cas.repository.Source` reads. `cas.views.Ranges`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path, self.size_bytes = source.path, source.size_bytes

    def near(self, offset: int) -> int:
        """Bytes from ``offset`` to the file's end."""
        return max(self.size_bytes - offset, 0)

    def iter_range(self, offset: int, size_bytes: int) -> Iterator[Buffer]:
        """Exactly those bytes; ConflictError if the file became shorter."""
        check_range(self, offset, size_bytes)
        with self._source.open() as read_at:
            for start in range(offset, offset + size_bytes, _PIECE_BYTES):
                yield read_at(start, min(_PIECE_BYTES, offset + size_bytes - start))


def read_ranges(ranges: Ranges, offset: int, size_bytes: int) -> bytes:
    """Exactly those bytes of a file. Raises FormatError if they are not all inside it."""
    return b"".join(ranges.iter_range(offset, size_bytes))


def check_range(ranges: Ranges, offset: int, size_bytes: int) -> None:
    """Raise FormatError if those bytes are not all inside the file, before anything is fetched or allocated."""
    if not 0 <= offset <= offset + size_bytes <= ranges.size_bytes:
        raise FormatError(f"{size_bytes} bytes at {offset} are not inside {ranges.path!r} of {ranges.size_bytes} bytes")

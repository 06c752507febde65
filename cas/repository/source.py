"""Sources: what the writer stores, one file each, wherever its bytes come from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from cas.format import Buffer, Digest

__all__ = ["BytesSource", "ReadAt", "Source"]

ReadAt = Callable[[int, int], Buffer]
"""``read_at(offset, size_bytes)`` gives exactly those bytes, or raises ConflictError if they are gone."""


class Source(Protocol):
    """One file to store."""

    @property
    def path(self) -> str:
        """Its path in the checkpoint."""

    @property
    def executable(self) -> bool:
        """Its executable bit."""

    @property
    def size_bytes(self) -> int:
        """Its size when it was looked at."""

    @property
    def known_blob(self) -> Digest | None:
        """Its content, where that is known without reading it."""

    def open(self) -> AbstractContextManager[ReadAt]:
        """Begin reading, from the start, as often as asked."""

    def settle(self, blob: Digest) -> None:
        """All bytes were read and hash to ``blob``. Raises ConflictError if they changed meanwhile."""


@dataclass(frozen=True, slots=True)
class BytesSource:
    """A file whose content is in memory."""

    path: str
    data: Buffer
    executable: bool = False
    known_blob: Digest | None = None

    @property
    def size_bytes(self) -> int:
        """The content's size."""
        return len(self.data)

    def open(self) -> AbstractContextManager[ReadAt]:
        """Slices of the content, not copied."""
        view = memoryview(self.data)
        return nullcontext(lambda offset, size: view[offset : offset + size])

    def settle(self, blob: Digest) -> None:
        """Memory that the caller gave away does not change."""

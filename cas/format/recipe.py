"""Recipes: how a blob is rebuilt from chunks.

A chunk is a contiguous piece of a blob, named by the digest of its raw bytes. A
blob of one chunk has that chunk's digest and needs no recipe; an empty blob has
no chunks at all. Recipes are stored inside manifests (docs/format.md section 6).
"""

from __future__ import annotations

from dataclasses import dataclass

from cas.errors import FormatError
from cas.format.digest import EMPTY, Digest

__all__ = ["MAX_CHUNK_BYTES", "ChunkRef", "Recipe"]

MAX_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A chunk as a recipe names it: its digest and its raw size in bytes."""

    digest: Digest
    size_bytes: int

    def __post_init__(self) -> None:
        if not 0 < self.size_bytes <= MAX_CHUNK_BYTES:
            raise FormatError(f"a chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {self.size_bytes}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A blob and its chunks, in order; their sizes add up to the blob's."""

    blob: Digest
    chunks: tuple[ChunkRef, ...]

    def __post_init__(self) -> None:
        if len(self.chunks) == 1 and self.chunks[0].digest != self.blob:
            raise FormatError(f"blob {self.blob} of one chunk has another digest than its chunk")
        if not self.chunks and self.blob != EMPTY:
            raise FormatError(f"blob {self.blob} has no chunks and is not empty")

    @property
    def size_bytes(self) -> int:
        """The blob's size."""
        return sum(chunk.size_bytes for chunk in self.chunks)

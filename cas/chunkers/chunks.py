"""A file as chunks: cut at its tensors where it has a layout, by content elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cas.chunkers.fastcdc import MAX_BYTES, MIN_BYTES, FastCDC
from cas.chunkers.pieces import iter_pieces
from cas.errors import StorageError
from cas.format import Buffer
from cas.layouts import Layout, ReadAt

__all__ = ["CHUNKER_ID", "ChunkerId", "RawChunk", "iter_chunks"]


class ChunkerId(IntEnum):
    """Permanent: append only, never renumber, never reuse.

    An id stands for its cuts: the same bytes are cut the same under the same id, for
    ever, by any release. So a new one is due whenever any cut in tests/vectors/cuts.json would
    move: a size or mask here, the gear table, or which spans `cas.layouts` finds in a
    file. Chunks of different ids still mix in one store: they only deduplicate less.
    """

    TENSORS_AND_FASTCDC = 1


CHUNKER_ID = ChunkerId.TENSORS_AND_FASTCDC
"""The id of what `iter_chunks` does."""


@dataclass(frozen=True, slots=True)
class RawChunk:
    """A chunk before it is hashed and encoded.

    Attributes:
        offset: of its first byte in the file.
        data: its bytes, 1 byte to 4 MiB. May be a view of what ``read_at`` returned.
        itemsize: 1, 2, 4 or 8 if it is all or mostly items of so many bytes, laid end to end from its first
            byte; 0 where it is not known to be. A hint for encoding: ``data`` need not be whole items.
    """

    offset: int
    data: Buffer
    itemsize: int


def iter_chunks(read_at: ReadAt, size_bytes: int, layout: Layout | None) -> Iterator[RawChunk]:
    """Cut a file: its chunks, in order, each byte in exactly one.

    Reads the file from first byte to last, every byte once, at most 4 MiB at a time.

    Args:
        read_at: reads the file.
        size_bytes: the file's size.
        layout: what `find_layout` found; None to cut by content alone.

    Raises:
        StorageError: a read gave another number of bytes than it was asked for.
    """
    for piece in iter_pieces(size_bytes, layout):
        if not piece.by_content or piece.size_bytes <= MIN_BYTES:
            yield RawChunk(piece.offset, _read(read_at, piece.offset, piece.size_bytes), piece.itemsize)
            continue
        offset = piece.offset
        for data in _cut_content(read_at, piece.offset, piece.size_bytes):
            yield RawChunk(offset, data, piece.itemsize)
            offset += len(data)


def _cut_content(read_at: ReadAt, start: int, size_bytes: int) -> Iterator[bytes]:
    chunker = FastCDC()
    for offset in range(start, start + size_bytes, MAX_BYTES):
        yield from chunker.feed(_read(read_at, offset, min(MAX_BYTES, start + size_bytes - offset)))
    yield from chunker.finish()


def _read(read_at: ReadAt, offset: int, size_bytes: int) -> Buffer:
    data = read_at(offset, size_bytes)
    if len(data) != size_bytes:
        raise StorageError(f"asked for {size_bytes} bytes at offset {offset} of a file and was given {len(data)}")
    return data

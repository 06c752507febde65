"""Deterministic bytes, and files cut into chunks with every promise of `iter_chunks` checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from blake3 import blake3

from cas.chunkers import RawChunk, iter_chunks
from cas.layouts import Layout, find_layout

MAX_CHUNK_BYTES = 4 << 20

_FROM_CONTENT = object()


@cache
def xof(seed: str, size_bytes: int) -> bytes:
    """Bytes that look random and are the same everywhere: the first of BLAKE3's output for ``seed``."""
    return blake3(seed.encode()).digest(length=size_bytes)


def cut_file(data: bytes, layout: Layout | object | None = _FROM_CONTENT) -> list[RawChunk]:
    """A file's chunks, by the layout it has or by the one given."""
    reads: list[tuple[int, int]] = []

    def read_at(offset: int, size_bytes: int) -> memoryview:
        reads.append((offset, size_bytes))
        return memoryview(data)[offset : offset + size_bytes]

    if layout is _FROM_CONTENT:
        layout = find_layout(read_at, len(data))
        reads.clear()
    chunks = list(iter_chunks(read_at, len(data), layout))

    assert b"".join(chunk.data for chunk in chunks) == data
    assert all(0 < len(chunk.data) <= MAX_CHUNK_BYTES for chunk in chunks)
    assert all(chunk.itemsize in (0, 1, 2, 4, 8) for chunk in chunks)
    at = 0
    for chunk in chunks:
        assert chunk.offset == at
        at += len(chunk.data)
    at = 0
    for offset, size_bytes in reads:
        assert offset == at
        assert 0 < size_bytes <= MAX_CHUNK_BYTES
        at += size_bytes
    assert at == len(data)
    return chunks


@pytest.fixture(scope="session")
def random_bytes() -> Callable[[str, int], bytes]:
    return xof


@pytest.fixture(scope="session")
def cut() -> Callable[..., list[RawChunk]]:
    return cut_file

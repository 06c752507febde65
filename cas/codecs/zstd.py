"""One zstd frame, made and read with bounds.

A frame here is exactly one RFC 8878 frame: it declares its content size, needs no
dictionary and a window of at most `MAX_WINDOW_BYTES`, and nothing follows it. Which
bytes a compressor makes of its input is not specified and may change; what a
frame decodes to is. zstandard's objects serve one thread each, so every thread
has its own; they release the GIL while they work.
"""

from __future__ import annotations

import threading
from enum import Enum

import zstandard

from cas.errors import CorruptError
from cas.format import Buffer

__all__ = ["MAX_WINDOW_BYTES", "Search", "compress", "decompress"]

MAX_WINDOW_BYTES = 8 << 20  # what RFC 8878 asks every decoder to support; ours are below 1 MiB


class Search(Enum):
    """How hard to look for repeats before the entropy stage; a frame does not say which was used."""

    HARDLY = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST, window_log=17, hash_log=6, min_match=7
    )
    """Runs, at most: in effect zstd's Huffman stage alone, quickest and smallest on exponents, where
    what looks like a repeat costs more to describe than the bytes it stands for."""

    LONG = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST, window_log=19, hash_log=14, min_match=7
    )
    """Repeats of seven bytes or more: for planes in which rows come again."""

    ANY = zstandard.ZstdCompressionParameters.from_level(1)
    """zstd's own level 1: for bytes of no known shape."""


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.compressors = {search: zstandard.ZstdCompressor(compression_params=search.value) for search in Search}
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)


_of_thread = _OfThread()


def compress(data: Buffer, search: Search) -> bytes:
    """One frame that decodes to ``data``; a little longer than ``data`` where nothing repeats."""
    return _of_thread.compressors[search].compress(data)


def decompress(frame: Buffer, size_bytes: int) -> bytes:
    """The content of ``frame``, which must be ``size_bytes`` long and say so itself.

    Raises:
        CorruptError: anything but one whole frame of that size; found before room for it is made.
    """
    expected = f"a zstd frame of {size_bytes} bytes"
    try:
        declared = zstandard.get_frame_parameters(frame)
        if declared.content_size != size_bytes:
            unknown = declared.content_size == zstandard.CONTENTSIZE_UNKNOWN
            found = "one that declares no size" if unknown else f"one of {declared.content_size} bytes"
            raise CorruptError(expected, found, "encoded chunk")
        if declared.window_size > MAX_WINDOW_BYTES:
            raise CorruptError(expected, f"one with a window of {declared.window_size} bytes", "encoded chunk")
        content = _of_thread.decompressor.decompress(frame, max_output_size=size_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptError(expected, f"what is none ({error})", "encoded chunk") from error
    if len(content) != size_bytes:
        raise CorruptError(expected, f"one of {len(content)} bytes", "encoded chunk")
    return content

"""Encoding chunks and decoding them.

Guaranteed: an encoding is never longer than its chunk; it was decoded and compared
before `encode` returns it; `decode` makes exactly the bytes it was told to expect
or raises, and makes room for nothing larger. Every function may be called from
any thread, and the GIL is released in the loops. Ids are specified in
docs/design/002-codecs.md and docs/format.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from cas.codecs import scratch, zstd
from cas.codecs.choice import choose, pays
from cas.codecs.planes import Plan, decode_planes, encode_planes
from cas.errors import CorruptError, FormatError
from cas.format import MAX_CHUNK_BYTES, Buffer

__all__ = ["CodecId", "Encoded", "decode", "encode", "verify"]

_LEAST_BYTES = 64  # a frame's header alone takes a fifth of this
_COMPARED_BYTES = 64 << 10  # at once: NumPy makes an array of the answers, which should stay in the cache


class CodecId(IntEnum):
    """Written into every pack and manifest: append only, never renumber, never reuse."""

    RAW = 0  # the chunk itself
    ZSTD = 1  # one zstd frame, as `cas.codecs.zstd` describes
    PLANES = 2  # byte planes, as `cas.codecs.planes` describes


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it is stored: the codec that reads it, and the bytes."""

    codec: CodecId
    data: Buffer


def encode(raw: Buffer, itemsize: int = 0) -> Encoded:
    """Store a chunk as shortly as is worth it: the codec is chosen by trying a sample.

    Args:
        raw: the chunk, contiguous, at most ``MAX_CHUNK_BYTES``. It must not change meanwhile.
        itemsize: a hint: 2, 4 or 8 if the chunk is whole items of that size (floats or
            integers) from its first byte on; any other value means unknown.

    Returns:
        An encoding no longer than ``raw``, proved to decode to it. A RAW one holds ``raw``
        itself, not a copy.

    Raises:
        FormatError: ``raw`` is over the limit or not contiguous.
        CorruptError: the encoding does not decode to ``raw``: it changed meanwhile, or memory fails.
    """
    view = _flat(raw)
    if len(view) > MAX_CHUNK_BYTES:
        raise FormatError(f"a chunk has at most {MAX_CHUNK_BYTES} bytes, not {len(view)}; cut it first")
    choice = choose(view, itemsize) if len(view) >= _LEAST_BYTES else None
    if choice is None:
        return Encoded(CodecId.RAW, raw)
    if isinstance(choice, Plan):
        encoded = Encoded(CodecId.PLANES, encode_planes(view, choice))
    else:
        encoded = Encoded(CodecId.ZSTD, zstd.compress(view, choice))
    if not pays(len(encoded.data), len(view)):
        return Encoded(CodecId.RAW, raw)
    verify(encoded, view)
    return encoded


def decode(codec: int, encoded: Buffer, raw_bytes: int, base: Buffer | None = None) -> bytes | memoryview:
    """The chunk that ``encoded`` stands for. That it is the right one, only its digest can tell.

    Args:
        codec: a `CodecId`, as it was stored.
        encoded: the stored bytes.
        raw_bytes: the chunk's size; no more than this is ever made.
        base: the raw bytes of the base chunk, for codecs that need one; none of these do.

    Returns:
        Exactly ``raw_bytes`` bytes; of a RAW chunk a view of ``encoded``.

    Raises:
        FormatError: a codec this cas does not know, a base that the codec does not take, or
            a size that no chunk has.
        CorruptError: ``encoded`` is not what the codec makes of ``raw_bytes`` bytes.
    """
    if not 0 <= raw_bytes <= MAX_CHUNK_BYTES:
        raise FormatError(f"a chunk has at most {MAX_CHUNK_BYTES} bytes, not {raw_bytes}")
    if codec not in tuple(CodecId):
        raise FormatError(f"codec {codec} is not one that this cas knows; upgrade cas")
    if base is not None:
        raise FormatError(f"codec {CodecId(codec).name} takes no base")
    return _decode(codec, _flat(encoded), raw_bytes, None)


def verify(encoded: Encoded, raw: Buffer) -> None:
    """Decode and compare.

    Raises:
        CorruptError: ``encoded`` does not decode to ``raw``.
    """
    view = _flat(raw)
    decoded = _decode(encoded.codec, _flat(encoded.data), len(view), scratch.DECODED.take(len(view)))
    one, other = np.frombuffer(decoded, np.uint8), np.frombuffer(view, np.uint8)
    starts = range(0, len(view), _COMPARED_BYTES)
    if not all(np.array_equal(one[at : at + _COMPARED_BYTES], other[at : at + _COMPARED_BYTES]) for at in starts):
        where = f"encoding as {encoded.codec.name} (a chunk that changed meanwhile, or failing memory)"
        raise CorruptError("the bytes that were encoded", "others", where)


def _decode(codec: int, view: memoryview, raw_bytes: int, out: memoryview | None) -> bytes | memoryview:
    if codec == CodecId.PLANES:
        return decode_planes(view, raw_bytes, out)
    if codec == CodecId.ZSTD:
        return zstd.decompress(view, raw_bytes)
    if len(view) != raw_bytes:
        raise CorruptError(f"{raw_bytes} bytes", f"{len(view)} bytes", "encoded chunk")
    return view


def _flat(data: Buffer) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise FormatError("a chunk's buffer must be contiguous")
    return view.cast("B") if view.nbytes else memoryview(b"")

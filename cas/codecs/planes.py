"""Byte planes: the k-th bytes of all items together, each plane compressed if that pays.

A float's exponent takes few values and its lowest mantissa bytes are noise. Laid
end to end they hide each other; taken apart, the exponents shrink to a third and
the noise is stored as it is, which costs nothing to read back. The payload says
all that is needed to decode it but the chunk's raw size, R bytes. With itemsize k
and n = R // k items, integers little-endian:

    offset  bytes  what
    0       1      k, bytes per item: 2, 4 or 8
    1       1      rotation: bits by which each item, as a little-endian integer, was
                   rotated left before it was taken apart: 0, or 1, which puts a float's
                   sign last, so that its exponent fills the highest plane
    2       5 * k  for each plane, lowest byte first:
                     1 byte   method: 0 raw, 1 zstd
                     4 bytes  its stored size: n if raw; 1 to n - 1 if zstd
    2 + 5k  sum    the stored planes in the same order, end to end. A zstd plane is one frame
                   as `cas.codecs.zstd` describes, of n bytes
    ...     R % k  the raw bytes after the last whole item

Nothing follows. Pinned by tests/vectors/codecs.json.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from cas import kernels
from cas.codecs import scratch, zstd
from cas.codecs.zstd import Search
from cas.errors import CorruptError
from cas.format import Buffer

__all__ = ["ITEMSIZES", "Plan", "decode_planes", "encode_planes", "plane_pays"]

ITEMSIZES = (2, 4, 8)

_HEAD = struct.Struct("<BB")  # itemsize, rotation
_PLANE = struct.Struct("<BI")  # method, stored size
_RAW, _ZSTD = 0, 1
_LEAST_SAVING = 256  # a plane must save one byte of so many


@dataclass(frozen=True, slots=True)
class Plan:
    """How to take a chunk's items apart.

    Attributes:
        itemsize: bytes per item: 2, 4 or 8.
        sign_last: whether to rotate each item left by one bit first.
        searches: for each plane, lowest byte first, how to look for repeats in it; None for
            what looks like noise.
    """

    itemsize: int
    sign_last: bool
    searches: tuple[Search | None, ...]


def plane_pays(stored_bytes: int, plane_bytes: int) -> bool:
    """Whether a plane's frame is worth keeping: it saves at least 1/256. Less than a whole chunk
    must save, for zstd reads noise with a few runs in it nearly as fast as memory."""
    return stored_bytes + plane_bytes // _LEAST_SAVING < plane_bytes


def encode_planes(raw: memoryview, plan: Plan) -> bytes:
    """The payload; it may be a little longer than ``raw`` where nothing pays."""
    whole_bytes = len(raw) - len(raw) % plan.itemsize
    planes = kernels.shuffle(raw[:whole_bytes], plan.itemsize, plan.sign_last, scratch.PLANES.take(whole_bytes))
    table, stored = bytearray(_HEAD.pack(plan.itemsize, plan.sign_last)), list[Buffer]()
    noise_pays = True
    for plane, search in zip(planes, plan.searches, strict=True):
        # Rows of zeros in noise (moments of rows that no batch has met) slip through a sample, but
        # they are zeros in every plane: one is tried for all.
        frame = zstd.compress(plane, search or Search.HARDLY) if search or noise_pays else None
        if frame is not None and plane_pays(len(frame), len(plane)):
            table += _PLANE.pack(_ZSTD, len(frame))
            stored.append(frame)
        else:
            table += _PLANE.pack(_RAW, len(plane))
            stored.append(plane)
            noise_pays = noise_pays and search is not None
    return b"".join((table, *stored, raw[whole_bytes:]))


def decode_planes(payload: Buffer, raw_bytes: int, out: memoryview | None = None) -> memoryview:
    """The ``raw_bytes`` bytes that the payload stands for, in ``out``, which has as many, if it is given.

    Raises:
        CorruptError: malformed, or the payload of a chunk of another size; found before
            room is made for anything that does not fit.
    """
    view = memoryview(payload)
    itemsize, rotation = _HEAD.unpack_from(view) if len(view) >= _HEAD.size else (0, 0)
    at = _HEAD.size + _PLANE.size * itemsize
    if itemsize not in ITEMSIZES or rotation > 1 or len(view) < at:
        found = f"{len(view)} bytes that begin with {bytes(view[:2]).hex()}"
        raise CorruptError("a table of byte planes", found, "encoded chunk")
    items, tail_bytes = divmod(raw_bytes, itemsize)
    table = list(_PLANE.iter_unpack(view[_HEAD.size : at]))
    for method, stored_bytes in table:
        if not (stored_bytes == items if method == _RAW else method == _ZSTD and 0 < stored_bytes < items):
            raise CorruptError(f"a plane of {items} bytes", f"method {method}, {stored_bytes} bytes", "encoded chunk")
    expected = at + sum(stored_bytes for _, stored_bytes in table) + tail_bytes
    if len(view) != expected:
        raise CorruptError(f"{expected} bytes", f"{len(view)} bytes", "encoded chunk")
    planes: list[Buffer] = []
    for method, stored_bytes in table:
        stored = view[at : at + stored_bytes]
        planes.append(zstd.decompress(stored, items) if method == _ZSTD else stored)
        at += stored_bytes
    room = np.empty(raw_bytes, np.uint8).data if out is None else out
    kernels.unshuffle(planes, bool(rotation), room[: raw_bytes - tail_bytes])
    room[raw_bytes - tail_bytes :] = view[at:]
    return room

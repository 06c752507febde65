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

from cas import kernels
from cas.codecs import zstd
from cas.codecs.zstd import Search
from cas.errors import CorruptError
from cas.format import Buffer

__all__ = ["ITEMSIZES", "Plan", "decode_planes", "encode_planes"]

ITEMSIZES = (2, 4, 8)

_HEAD = struct.Struct("<BB")  # itemsize, rotation
_PLANE = struct.Struct("<BI")  # method, stored size
_RAW, _ZSTD = 0, 1
_LEAST_SAVING = 256  # a plane that saves less than one byte of so many stays raw: it is read sooner


@dataclass(frozen=True, slots=True)
class Plan:
    """How to take a chunk's items apart.

    Attributes:
        itemsize: bytes per item: 2, 4 or 8.
        sign_last: whether to rotate each item left by one bit first.
        searches: for each plane, lowest byte first, how to look for repeats in it.
    """

    itemsize: int
    sign_last: bool
    searches: tuple[Search, ...]


def encode_planes(raw: Buffer, plan: Plan) -> bytes:
    """The payload; it may be a little longer than ``raw`` where nothing pays."""
    view = memoryview(raw)
    whole_bytes = len(view) - len(view) % plan.itemsize
    table, stored = bytearray(_HEAD.pack(plan.itemsize, plan.sign_last)), []
    for plane, search in zip(
        kernels.shuffle(view[:whole_bytes], plan.itemsize, plan.sign_last), plan.searches, strict=True
    ):
        frame = zstd.compress(plane, search)
        pays = len(frame) + len(plane) // _LEAST_SAVING < len(plane)
        table += _PLANE.pack(_ZSTD if pays else _RAW, len(frame) if pays else len(plane))
        stored.append(frame if pays else plane)
    return b"".join((table, *stored, view[whole_bytes:]))


def decode_planes(payload: Buffer, raw_bytes: int) -> bytes:
    """The ``raw_bytes`` bytes that the payload stands for.

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
    whole = kernels.unshuffle(planes, bool(rotation))
    return whole + view[at:] if tail_bytes else whole

"""The hot loops: byte planes, the ordered difference, the gear-hash scan.

Written twice: in C (native.c, which releases the GIL) and in NumPy (_numpy.py),
equal to the bit, which a property test holds. The C one runs where it was built,
unless the environment says ``CAS_KERNELS=numpy``; `backend` tells which.
Every function takes contiguous buffers of any item type and reads them as bytes;
items are little-endian whatever the machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import numpy as np
from blake3 import blake3

from cas.errors import FormatError
from cas.kernels import _numpy as _kernels
from cas.kernels._numpy import Buffer

if os.environ.get("CAS_KERNELS") != "numpy":
    with contextlib.suppress(ImportError):  # no compiler when cas was installed
        from cas.kernels import _native as _kernels  # type: ignore[attr-defined,no-redef]

__all__ = ["GEAR_TABLE", "backend", "difference", "gear_boundary", "shuffle", "undo_difference", "unshuffle"]

_ITEMSIZES = (2, 4, 8)

GEAR_TABLE = blake3(b"", derive_key_context="cas 2026-11 gear table v1").digest(length=256 * 8)
"""256 little-endian 64-bit numbers, one for each byte value: the first 2048 bytes that BLAKE3
gives for no input under the context ``cas 2026-11 gear table v1``. Permanent, for every cut of
content without a known layout follows from it; pinned by tests/vectors/codecs_kernels.json."""


def backend() -> str:
    """What runs here: ``C (avx2)``, ``C (baseline)`` or ``NumPy``."""
    return _kernels.backend()


def shuffle(
    data: Buffer, itemsize: int, sign_last: bool = False, out: memoryview | None = None
) -> tuple[memoryview, ...]:
    """Gather the k-th byte of every item, so that an entropy coder meets like with like.

    Args:
        data: whole items laid end to end.
        itemsize: bytes per item: 2, 4 or 8.
        sign_last: first rotate each item left by one bit. A float's exponent then
            fills the highest plane, where its sign would take the place of its lowest bit.
        out: writable room for the planes, as many bytes as ``data`` and apart from it. Memory
            that was written before costs half as much to fill as new memory.

    Returns:
        ``itemsize`` planes, lowest byte first, views of ``out``; `unshuffle` is the exact inverse.

    Raises:
        FormatError: another itemsize, ``data`` is not a whole number of items, or ``out`` does not fit.
    """
    view = _whole_items(data, itemsize)
    room = _room(out, len(view))
    _kernels.shuffle(view, itemsize, sign_last, room)
    plane_bytes = len(view) // itemsize
    return tuple(room[k * plane_bytes : (k + 1) * plane_bytes] for k in range(itemsize))


def unshuffle(planes: Sequence[Buffer], sign_last: bool = False, out: memoryview | None = None) -> memoryview:
    """The items whose planes these are: the inverse of `shuffle`, in ``out`` if that is given.

    Raises:
        FormatError: not 2, 4 or 8 planes, planes of unequal size, or ``out`` does not fit.
    """
    flat = tuple(_flat(plane) for plane in planes)
    if len(flat) not in _ITEMSIZES or len({len(plane) for plane in flat}) != 1:
        raise FormatError(f"planes of {[len(plane) for plane in flat]} bytes; needs 2, 4 or 8 planes of one size")
    room = _room(out, len(flat) * len(flat[0]))
    _kernels.unshuffle(flat, sign_last, room)
    return room


def difference(data: Buffer, base: Buffer, itemsize: int) -> bytes:
    """How far each item lies from the base's, counted in representable floats.

    Both items' bits are mapped to a signed integer that sorts as the float does
    (the lower bits of negatives are flipped), subtracted modulo ``2**bits``, and
    zigzagged (0, -1, 1, -2 become 0, 1, 2, 3). Small steps thus become small integers,
    across exponents and signs. Any bits are allowed, so NaNs and integers are too.

    Args:
        data: whole items laid end to end.
        base: as many bytes as ``data``.
        itemsize: bytes per item: 2, 4 or 8.

    Returns:
        As many bytes as ``data``; `undo_difference` is the exact inverse. Against a base of
        zeros it is each item's bits rotated left by one, as by ``sign_last`` of `shuffle`.

    Raises:
        FormatError: another itemsize, not whole items, or a base of another size.
    """
    here, there = _whole_items(data, itemsize), _whole_items(base, itemsize)
    _check_same_size(here, there)
    return _kernels.difference(here, there, itemsize)


def undo_difference(residual: Buffer, base: Buffer, itemsize: int) -> bytes:
    """The data that `difference` made ``residual`` of, given the same base.

    Raises:
        FormatError: another itemsize, not whole items, or a base of another size.
    """
    here, there = _whole_items(residual, itemsize), _whole_items(base, itemsize)
    _check_same_size(here, there)
    return _kernels.undo_difference(here, there, itemsize)


def gear_boundary(
    data: Buffer, min_size: int, normal_size: int, max_size: int, mask_small: int, mask_large: int
) -> int:
    """Where the first chunk of ``data`` ends: FastCDC's normalized chunking.

    The gear hash at a place is ``sum(GEAR_TABLE[b] << k) mod 2**64`` over the bytes ``b`` that lie
    ``k`` = 0 to 63 places back, so it depends on those 64 bytes alone (on fewer near the
    start). A chunk ends at the first place, counted in bytes from the start, that is

    - at least ``min_size`` and below ``normal_size`` with ``hash & mask_small == 0``, or
    - at least ``normal_size`` with ``hash & mask_large == 0``, or
    - ``max_size``, or the end of ``data``.

    Args:
        data: the content from the chunk's first byte on; what is beyond ``max_size`` is not read.
        min_size: bytes that every chunk has at least; they are skipped, not scanned.
        normal_size: bytes from which on the mask with fewer bits makes an end likelier.
        max_size: bytes that no chunk exceeds.
        mask_small, mask_large: 64 bits each, before and from ``normal_size`` on.

    Returns:
        The chunk's size in bytes; ``len(data)`` if no place before is an end.

    Raises:
        FormatError: not ``1 <= min_size <= normal_size <= max_size``, or a mask that is not 64 bits.

    Source: FastCDC (Xia et al., USENIX ATC 2016), with the hash window warmed up inside the minimum.
    """
    if not 1 <= min_size <= normal_size <= max_size < 1 << 62:
        raise FormatError(f"chunk sizes {min_size}, {normal_size}, {max_size} are not 1 <= min <= normal <= max")
    if not (0 <= mask_small < 1 << 64 and 0 <= mask_large < 1 << 64):
        raise FormatError(f"chunk masks {mask_small:#x} and {mask_large:#x} need 64 bits")
    return _kernels.gear_boundary(_flat(data), GEAR_TABLE, min_size, normal_size, max_size, mask_small, mask_large)


def _flat(data: Buffer) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise FormatError("the buffer is not contiguous")
    if view.ndim == 1 and view.format == "B":
        return view
    return view.cast("B") if view.nbytes else memoryview(b"")


def _whole_items(data: Buffer, itemsize: int) -> memoryview:
    view = _flat(data)
    if itemsize not in _ITEMSIZES:
        raise FormatError(f"items have 2, 4 or 8 bytes, not {itemsize}")
    if len(view) % itemsize:
        raise FormatError(f"{len(view)} bytes are not whole {itemsize}-byte items")
    return view


def _room(out: memoryview | None, size_bytes: int) -> memoryview:
    if out is None:
        return np.empty(size_bytes, np.uint8).data  # a bytearray would be filled with zeros first
    if out.readonly or not out.c_contiguous or out.nbytes != size_bytes:
        raise FormatError(f"needs {size_bytes} writable bytes of room, not {out.nbytes}")
    return out.cast("B") if out.format != "B" else out


def _check_same_size(data: memoryview, base: memoryview) -> None:
    if len(data) != len(base):
        raise FormatError(f"a base of {len(base)} bytes for {len(data)} bytes of data")

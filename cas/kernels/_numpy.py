"""The kernels in NumPy, for where no C compiler was found: same names, same arguments, same bits.

What each computes is said in `cas.kernels`, whose wrappers check every argument
before they come here; a property test holds this module equal to native.c.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buffer", "backend", "difference", "gear_boundary", "shuffle", "undo_difference", "unshuffle"]

Buffer = bytes | bytearray | memoryview
_Items = Any  # an array of little-endian unsigned integers; only at run time is it known how wide

_GEAR_WINDOW = 64
_GEAR_BLOCK = 1 << 16  # hashed at once: eight bytes of hash a byte must stay in the cache


def backend() -> str:
    """`cas.kernels.backend`."""
    return "NumPy"


def shuffle(data: Buffer, itemsize: int, sign_last: bool, out: memoryview) -> None:
    """`cas.kernels.shuffle`, into ``out``."""
    items = _items(data, itemsize)
    if sign_last:
        items = (items << 1) | (items >> (8 * itemsize - 1))
    np.copyto(np.frombuffer(out, np.uint8).reshape(itemsize, -1), items.view(np.uint8).reshape(-1, itemsize).T)


def unshuffle(planes: tuple[Buffer, ...], sign_last: bool, out: memoryview) -> None:
    """`cas.kernels.unshuffle`, into ``out``."""
    itemsize = len(planes)
    columns = np.frombuffer(out, np.uint8).reshape(-1, itemsize)
    for k, plane in enumerate(planes):
        columns[:, k] = np.frombuffer(plane, np.uint8)
    if sign_last:
        items = _items(out, itemsize)
        np.bitwise_or(items >> 1, items << (8 * itemsize - 1), out=items)


def difference(data: Buffer, base: Buffer, itemsize: int) -> bytes:
    """`cas.kernels.difference`."""
    step = _sortable(_items(data, itemsize)) - _sortable(_items(base, itemsize))
    return _bytes((step << 1) ^ _all_if_negative(step))


def undo_difference(residual: Buffer, base: Buffer, itemsize: int) -> bytes:
    """`cas.kernels.undo_difference`."""
    zigzag = _items(residual, itemsize)
    step = (zigzag >> 1) ^ -(zigzag & 1)
    return _bytes(_sortable(step + _sortable(_items(base, itemsize))))


def gear_boundary(
    data: Buffer,
    table: Buffer,
    min_size: int,
    normal_size: int,
    max_size: int,
    mask_small: int,
    mask_large: int,
) -> int:
    """`cas.kernels.gear_boundary`, whose hash is summed up for a block of places at once."""
    content = np.frombuffer(data, np.uint8)
    gear = np.frombuffer(table, "<u8")
    limit = min(len(content), max_size)
    if limit <= min_size:
        return limit
    normal = min(normal_size, limit)
    for begin, end, mask in ((min_size, normal, mask_small), (normal, limit, mask_large)):
        for start in range(begin, end, _GEAR_BLOCK):
            hashes = _gear_hashes(content, gear, start, min(start + _GEAR_BLOCK, end))
            found = np.flatnonzero((hashes & np.uint64(mask)) == 0)
            if len(found):
                return start + int(found[0])
    return limit


def _gear_hashes(content: NDArray[np.uint8], gear: NDArray[np.uint64], start: int, stop: int) -> NDArray[np.uint64]:
    """The hash before each place from ``start`` to ``stop``, by doubling the window six times."""
    first = max(0, start - _GEAR_WINDOW)
    hashes = gear[content[first : stop - 1]]
    width = 1
    while width < _GEAR_WINDOW:
        hashes[width:] += hashes[:-width] << width
        width *= 2
    return hashes[start - 1 - first :]


def _items(data: Buffer, itemsize: int) -> _Items:
    return np.frombuffer(data, f"<u{itemsize}")


def _bytes(items: _Items) -> bytes:
    data: bytes = items.tobytes()
    return data


def _all_if_negative(items: _Items) -> _Items:
    return np.negative(items >> (8 * items.itemsize - 1))


def _sortable(items: _Items) -> _Items:
    """A float's bits as an integer that sorts as the float does; its own inverse."""
    return items ^ (_all_if_negative(items) >> 1)

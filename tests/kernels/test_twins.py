"""native.c and _numpy.py give the same bits for the same arguments."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from cas.kernels import GEAR_TABLE, _numpy

MASKS = st.integers(0, 64).map(lambda bits: ((1 << bits) - 1) << (64 - bits))


@st.composite
def items(draw, count=1):
    """An item size, and as many buffers of the same number of such items."""
    itemsize = draw(st.sampled_from((2, 4, 8)))
    size = itemsize * draw(st.integers(0, 150))
    seed = random.Random(draw(st.integers(0, 1 << 32)))
    # Extreme bytes are where signs, carries and rotations go wrong.
    pool = draw(st.sampled_from((range(256), (0, 255), (0, 0x7F, 0x80, 0xFF))))
    return itemsize, [bytes(seed.choices(pool, k=size)) for _ in range(count)]


@settings(deadline=None)
@given(drawn=items(), sign_last=st.booleans(), offset=st.integers(0, 7))
def test_planes_are_the_same_in_c_and_numpy(native, drawn, sign_last, offset):
    """At every item size and number of items, however the buffer is aligned."""
    itemsize, (data,) = drawn
    unaligned = memoryview(bytes(offset) + data)[offset:]
    plane_bytes = len(data) // itemsize

    found = []
    for twin in (native, _numpy):
        planes, back = bytearray(len(data)), bytearray(len(data))
        twin.shuffle(unaligned, itemsize, sign_last, memoryview(planes))
        split = tuple(planes[k * plane_bytes : (k + 1) * plane_bytes] for k in range(itemsize))
        twin.unshuffle(split, sign_last, memoryview(back))
        assert back == data
        found.append(planes)

    assert found[0] == found[1]


@settings(deadline=None)
@given(drawn=items(count=2))
def test_the_ordered_difference_is_the_same_in_c_and_numpy(native, drawn):
    """And both take it back exactly, whatever the bits: NaNs, infinities and integers are items too."""
    itemsize, (data, base) = drawn

    residual = native.difference(data, base, itemsize)

    assert residual == _numpy.difference(data, base, itemsize)
    assert native.undo_difference(residual, base, itemsize) == data
    assert _numpy.undo_difference(residual, base, itemsize) == data


@settings(deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    size=st.integers(0, 70_000),
    sizes=st.lists(st.integers(1, 40_000), min_size=3, max_size=3).map(sorted),
    mask_small=MASKS,
    mask_large=MASKS,
)
def test_boundaries_are_the_same_in_c_and_numpy(native, seed, size, sizes, mask_small, mask_large):
    """With content shorter and longer than every limit, and across the blocks NumPy works in."""
    data = random.Random(seed).randbytes(size)

    boundary = native.gear_boundary(data, GEAR_TABLE, *sizes, mask_small, mask_large)

    assert boundary == _numpy.gear_boundary(data, GEAR_TABLE, *sizes, mask_small, mask_large)

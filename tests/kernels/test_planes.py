"""Laws of the byte planes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.kernels import shuffle, unshuffle

ITEMSIZES = st.sampled_from((2, 4, 8))


@settings(deadline=None)
@given(data=st.binary(max_size=400), itemsize=ITEMSIZES, sign_last=st.booleans())
def test_unshuffle_is_the_inverse_of_shuffle(data, itemsize, sign_last):
    """No item is lost, whichever way its sign goes."""
    whole = data[: len(data) - len(data) % itemsize]

    assert unshuffle(shuffle(whole, itemsize, sign_last), sign_last) == whole


@settings(deadline=None)
@given(data=st.binary(max_size=400), itemsize=ITEMSIZES)
def test_plane_k_holds_byte_k_of_every_item(data, itemsize):
    """Which is all that a reader of the format must know."""
    whole = data[: len(data) - len(data) % itemsize]

    assert list(shuffle(whole, itemsize)) == [whole[k::itemsize] for k in range(itemsize)]


def test_sign_last_gives_the_exponent_a_plane_of_its_own():
    """The highest plane of float32 is then the biased exponent, the lowest bit of the lowest the sign."""
    values = np.array([1.0, -1.0, 0.5, -3.0, 1e-3], "<f4")

    planes = shuffle(memoryview(values), 4, sign_last=True)

    _, exponents = np.frexp(values)
    assert list(planes[3]) == [int(exponent) + 126 for exponent in exponents]
    assert [byte & 1 for byte in planes[0]] == [0, 1, 0, 1, 0]


def test_planes_take_any_contiguous_buffer():
    """Bytes, bytearrays, typed and multi-dimensional views, and empty ones, are the same bytes."""
    values = np.arange(24, dtype="<u4").reshape(4, 6)
    planes = shuffle(values.tobytes(), 4)

    assert shuffle(memoryview(values), 4) == planes
    assert shuffle(bytearray(values.tobytes()), 4) == planes
    assert unshuffle([memoryview(plane) for plane in planes]) == values.tobytes()
    assert [len(plane) for plane in shuffle(memoryview(np.empty((0, 3), "<f4")), 4)] == [0] * 4


def test_room_is_filled_and_handed_back():
    """So that a caller may use the same memory again and again."""
    values, room = np.arange(24, dtype="<u4"), bytearray(96)

    planes = shuffle(memoryview(values), 4, out=memoryview(room))

    assert b"".join(planes) == room
    assert unshuffle([bytes(plane) for plane in planes], out=memoryview(room)) == values.tobytes() == room


@pytest.mark.parametrize("room", [bytes(96), bytearray(95), bytearray(97), memoryview(bytearray(192))[::2]])
def test_room_that_does_not_fit_is_refused(room):
    """Too little or too much, not writable, or with gaps."""
    with pytest.raises(FormatError, match="96 writable bytes"):
        shuffle(bytes(96), 4, out=memoryview(room))
    with pytest.raises(FormatError, match="96 writable bytes"):
        unshuffle([bytes(24)] * 4, out=memoryview(room))


@pytest.mark.parametrize("itemsize", [-4, 0, 1, 3, 16, 1 << 70])
def test_other_item_sizes_are_refused(itemsize):
    """Only 2, 4 and 8 are specified."""
    with pytest.raises(FormatError, match="items have 2, 4 or 8 bytes"):
        shuffle(bytes(48), itemsize)


def test_a_part_of_an_item_is_refused():
    """Whoever cuts the tail off must also keep it."""
    with pytest.raises(FormatError, match="not whole 4-byte items"):
        shuffle(bytes(7), 4)


@pytest.mark.parametrize("planes", [(), (b"a",), (b"a", b"b", b"c"), (b"ab", b"c"), (b"a", b"b", b"c", b"")])
def test_planes_that_do_not_fit_together_are_refused(planes):
    """A wrong number of planes, or planes of unequal size."""
    with pytest.raises(FormatError, match="planes"):
        unshuffle(planes)


def test_a_buffer_with_gaps_is_refused():
    """Every second column of a matrix is not a run of bytes."""
    with pytest.raises(FormatError, match="contiguous"):
        shuffle(memoryview(np.zeros((4, 4), "<u4"))[::2], 4)

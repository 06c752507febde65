"""Laws of the ordered difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.kernels import difference, shuffle, undo_difference

FLOATS = {2: "<f2", 4: "<f4", 8: "<f8"}
ITEMSIZES = st.sampled_from(sorted(FLOATS))


@settings(deadline=None)
@given(data=st.binary(max_size=200), seed=st.binary(min_size=200, max_size=200), itemsize=ITEMSIZES)
def test_undo_is_the_inverse(data, seed, itemsize):
    """Given the same base, whatever it is."""
    whole = data[: len(data) - len(data) % itemsize]
    base = seed[: len(whole)]

    assert undo_difference(difference(whole, base, itemsize), base, itemsize) == whole


@settings(deadline=None)
@given(value=st.floats(-(2.0**100), 2.0**100, width=32), steps=st.integers(-100, 100))
def test_it_counts_the_floats_between(value, steps):
    """Across exponents and through zero, where -0.0 counts as one float and +0.0 as the next."""
    there = np.float32(value)
    here = there
    for _ in range(abs(steps)):
        here = np.nextafter(here, np.float32(np.inf if steps > 0 else -np.inf))
    counted = steps
    if bool(np.signbit(here)) != bool(np.signbit(there)):
        # nextafter steps over one of the two zeros.
        counted += 1 if steps > 0 else -1

    zigzag = int.from_bytes(difference(memoryview(here.tobytes()), there.tobytes(), 4), "little")

    assert (zigzag >> 1) ^ -(zigzag & 1) == counted


@settings(deadline=None)
@given(data=st.binary(max_size=200), itemsize=ITEMSIZES)
def test_against_zeros_it_is_the_rotation_that_puts_the_sign_last(data, itemsize):
    """So planes without a base and planes of a difference meet at a base of zeros."""
    whole = data[: len(data) - len(data) % itemsize]

    residual = difference(whole, bytes(len(whole)), itemsize)

    assert list(shuffle(residual, itemsize)) == list(shuffle(whole, itemsize, sign_last=True))


@pytest.mark.parametrize("itemsize", sorted(FLOATS))
def test_equal_items_differ_by_nothing(itemsize):
    """What a training step left alone becomes zeros."""
    data = np.linspace(-3, 3, 50, dtype=FLOATS[itemsize]).tobytes()

    assert difference(data, data, itemsize) == bytes(len(data))


@pytest.mark.parametrize("kernel", [difference, undo_difference])
@pytest.mark.parametrize(
    ("data", "base", "itemsize", "message"),
    [
        (bytes(8), bytes(4), 4, "a base of 4 bytes for 8"),
        (bytes(6), bytes(6), 4, "not whole 4-byte items"),
        (bytes(6), bytes(6), 3, "items have 2, 4 or 8 bytes"),
    ],
)
def test_what_does_not_fit_together_is_refused(kernel, data, base, itemsize, message):
    """Both ways: a base of another size, half an item, an odd item size."""
    with pytest.raises(FormatError, match=message):
        kernel(data, base, itemsize)

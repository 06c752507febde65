"""Laws of the gear-hash boundary, which decides every cut of content without a known layout."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.kernels import GEAR_TABLE, gear_boundary

GEAR = struct.unpack("<256Q", GEAR_TABLE)
SMALL, LARGE = 0xFE00 << 48, 0xF000 << 48  # an end about every 128, then every 16 bytes
SIZES = (100, 200, 400)


def hash_before(data, place):
    """The hash as its definition says: of the 64 bytes before a place."""
    return sum(GEAR[byte] << back for back, byte in enumerate(reversed(data[max(0, place - 64) : place]))) % 2**64


def chunks(data):
    """Cut all of ``data``."""
    found, view = [], memoryview(data)
    while view:
        size = gear_boundary(view, *SIZES, SMALL, LARGE)
        found.append(bytes(view[:size]))
        view = view[size:]
    return found


@settings(deadline=None)
@given(seed=st.integers(0, 1 << 32), size=st.integers(0, 500))
def test_a_chunk_ends_at_the_first_place_its_definition_allows(seed, size):
    """Never before the minimum, with the large mask from the normal size on, never after the maximum."""
    data = random.Random(seed).randbytes(size)
    limit = min(size, SIZES[2])

    boundary = gear_boundary(data, *SIZES, SMALL, LARGE)

    ends = (at for at in range(SIZES[0], limit) if not hash_before(data, at) & (SMALL if at < SIZES[1] else LARGE))
    assert boundary == min(next(ends, limit), limit)


def test_cuts_come_together_again_after_an_insertion():
    """Which is what content-defined chunking is for: most chunks are found again behind new bytes."""
    data = random.Random(7).randbytes(40_000)
    before, after = chunks(data), chunks(data[:5000] + b"inserted" + data[5000:])

    assert b"".join(after) == data[:5000] + b"inserted" + data[5000:]
    assert after[-1] == before[-1]
    assert len(set(before) & set(after)) > 0.9 * len(before)


def test_what_lies_beyond_the_maximum_does_not_matter():
    """So a caller may pass on a window of a longer file."""
    data = random.Random(8).randbytes(5000)

    assert gear_boundary(data, 64, 4000, 4000, 2**64 - 1, 2**64 - 1) == 4000
    assert gear_boundary(data[:4000], 64, 4000, 4000, 2**64 - 1, 2**64 - 1) == 4000


def test_content_without_a_boundary_is_one_chunk():
    """Empty and short content included."""
    for size in (0, 1, 63, 64, 65, 1000):
        assert gear_boundary(bytes(size), 64, 2000, 2000, 2**64 - 1, 2**64 - 1) == size


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 3), (1, 3, 2), (-5, 1, 2), (1, 2, 1 << 70)])
def test_sizes_out_of_order_are_refused(sizes):
    """A chunk of no bytes would never end."""
    with pytest.raises(FormatError, match="chunk sizes"):
        gear_boundary(b"content", *sizes, 1, 1)


@pytest.mark.parametrize("masks", [(-1, 0), (0, 1 << 64)])
def test_masks_beyond_64_bits_are_refused(masks):
    """They could not mean the same in C."""
    with pytest.raises(FormatError, match="masks"):
        gear_boundary(b"content", 1, 2, 3, *masks)

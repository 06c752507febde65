"""FastCDC: the same cuts however a stream is fed, and few of them moved by an edit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.chunkers import FastCDC
from cas.errors import FormatError

SMALL = (16, 64, 256)  # as small as cuts can be, so that short examples have many


def chunks_of(data: bytes, *sizes: int) -> list[bytes]:
    chunker = FastCDC(*sizes)
    return chunker.feed(data) + chunker.finish()


@settings(deadline=None)
@given(
    seed=st.text(max_size=3),
    repeated=st.binary(min_size=1, max_size=40),
    size=st.integers(0, 6000),
    slices=st.lists(st.integers(0, 700), max_size=30),
)
def test_cuts_do_not_depend_on_how_the_stream_is_fed(random_bytes, seed, repeated, size, slices):
    """Whole, byte by byte, in any slices: the same chunks, and together the stream."""
    data = random_bytes(seed, 6000)[:size] + repeated * 20
    whole = chunks_of(data, *SMALL)

    assert b"".join(whole) == data
    for sizes in ([1] * len(data), [*slices, len(data)]):
        chunker, fed, at = FastCDC(*SMALL), [], 0
        for step in sizes:
            fed += chunker.feed(data[at : at + step])
            at += step
        assert fed + chunker.finish() == whole


def test_cuts_of_the_real_sizes_do_not_depend_on_how_the_stream_is_fed(random_bytes):
    """The sizes that files are cut by, fed in slices shorter and longer than chunks."""
    data = random_bytes("fed", 12 << 20)
    whole = chunks_of(data)

    for step in (100_003, 1 << 20, 5 << 20):
        chunker, fed = FastCDC(), []
        for at in range(0, len(data), step):
            fed += chunker.feed(memoryview(data)[at : at + step])
        assert fed + chunker.finish() == whole
    assert len(whole) > 8


@settings(deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([SMALL, (1, 8, 8), (100, 128, 1000), (64, 64, 64)]))
def test_chunks_keep_to_their_sizes(data, sizes):
    """Nothing is empty, nothing over the maximum, and only the last under the minimum."""
    chunks = chunks_of(data, *sizes)

    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= sizes[2] for chunk in chunks)
    assert all(len(chunk) >= sizes[0] for chunk in chunks[:-1])


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 59_999), new=st.binary(max_size=200), old_bytes=st.integers(0, 200))
def test_an_edit_anywhere_moves_few_cuts(random_bytes, at, new, old_bytes):
    """Before it nothing changes; behind it the old chunks are found again soon."""
    data = random_bytes("edited", 60_000)
    edited = data[:at] + new + data[at + old_bytes :]

    before, after = chunks_of(data, *SMALL), chunks_of(edited, *SMALL)

    assert len(set(before) - set(after)) <= 20
    assert len(before) > 400


def test_a_stream_ends_with_finish_and_another_begins(random_bytes):
    """Nothing of one stream shows in the next."""
    data = random_bytes("two streams", 5000)
    chunker = FastCDC(*SMALL)

    first = chunker.feed(data) + chunker.finish()

    assert chunker.feed(data) + chunker.finish() == first
    assert chunker.finish() == []


def test_average_sizes_are_near_the_normal_size(random_bytes):
    """Random content makes chunks of about 1.3 times the normal size, the minimum included."""
    chunks = chunks_of(random_bytes("average", 4 << 20), 1 << 10, 1 << 12, 1 << 15)

    assert 1.0 < len(b"".join(chunks)) / len(chunks) / (1 << 12) < 1.6


@pytest.mark.parametrize(
    "sizes", [(16, 100, 256), (16, 4, 256), (0, 64, 256), (65, 64, 256), (16, 64, 63), (16, 0, 256), (16, -64, 256)]
)
def test_sizes_that_make_no_sense_are_refused(sizes):
    """At once, not at the first cut."""
    with pytest.raises(FormatError):
        FastCDC(*sizes)

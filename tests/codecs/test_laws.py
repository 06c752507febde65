"""What encode and decode promise for any chunk."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.codecs import CodecId, Encoded, decode, encode
from cas.codecs.codec import verify
from cas.errors import CorruptError, FormatError
from cas.format import MAX_CHUNK_BYTES

WEIGHTS = np.random.default_rng(11).standard_normal(40_000) * 0.02
DTYPES = ("<f2", "<f4", "<f8", "bfloat16", "<i2", "<i8", "u1")


def tensor(dtype, values=WEIGHTS):
    """The bytes of a tensor of weights; of an integer type, of numbers of up to five digits."""
    if dtype == "bfloat16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    if dtype.startswith("<f"):
        return values.astype(dtype).tobytes()
    return (np.abs(values) * 1e6).astype("<i8").astype(dtype).tobytes()


TENSORS = {dtype: tensor(dtype) for dtype in DTYPES}
KINDS = ("noise", "zeros", "text", "half zeros", *DTYPES)


@st.composite
def chunks(draw):
    """Every kind of content, at every small length and some large, from every alignment."""
    kind = draw(st.sampled_from(KINDS))
    size = draw(st.one_of(st.integers(0, 300), st.integers(0, 60_000)))
    seed = random.Random(draw(st.integers(0, 1 << 32)))
    if kind in TENSORS:
        start = seed.randrange(16)
        return TENSORS[kind][start : start + size]
    if kind == "noise":
        return seed.randbytes(size)
    if kind == "half zeros":
        return bytes(size // 2) + seed.randbytes(size - size // 2)
    return bytes(size) if kind == "zeros" else (b"epoch %d, loss 0.25\n" % size * (size // 19 + 1))[:size]


@settings(deadline=None)
@given(raw=chunks(), itemsize=st.sampled_from((0, 1, 2, 4, 8, 3, -1)))
def test_decoding_gives_back_what_was_encoded(raw, itemsize):
    """Whatever it is and whatever the hint says, right or wrong; and it never grows."""
    encoded = encode(raw, itemsize)

    assert decode(encoded.codec, encoded.data, len(raw)) == raw
    assert len(encoded.data) <= len(raw)
    assert encoded.codec is CodecId.RAW or len(encoded.data) < len(raw)


@settings(deadline=None)
@given(raw=chunks(), offset=st.integers(1, 9))
def test_the_buffer_does_not_matter(raw, offset):
    """Bytes, bytearrays and views into a larger buffer are encoded alike."""
    inside = memoryview(bytes(offset) + raw)[offset:]

    assert bytes(encode(inside, 4).data) == bytes(encode(bytearray(raw), 4).data) == bytes(encode(raw, 4).data)


@pytest.mark.parametrize(
    ("dtype", "itemsize", "most"), [("<f4", 4, 0.85), ("<f8", 8, 0.92), ("bfloat16", 2, 0.70), ("<i8", 8, 0.30)]
)
def test_tensors_save_what_planes_are_for(dtype, itemsize, most):
    """Normally distributed weights save 8 to 30%, small integers far more; a missing hint is found out."""
    raw = TENSORS[dtype]

    hinted, guessed = encode(raw, itemsize), encode(raw)

    assert hinted.codec is CodecId.PLANES
    assert len(hinted.data) < most * len(raw)
    assert len(guessed.data) < 1.01 * len(hinted.data)


def test_text_is_one_frame():
    """It has no planes."""
    raw = b"".join(b"step %d loss %.5f\n" % (step, 1 / (1 + step)) for step in range(2000))

    encoded = encode(raw)

    assert encoded.codec is CodecId.ZSTD
    assert len(encoded.data) < 0.5 * len(raw)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 5000, 300_000])
def test_what_does_not_shrink_is_kept_raw_and_not_copied(size):
    """Noise and the smallest chunks are handed through as they are, both ways."""
    raw = random.Random(size).randbytes(size)

    encoded = encode(raw, 4)

    assert encoded == Encoded(CodecId.RAW, raw)
    assert encoded.data is raw
    assert decode(CodecId.RAW, raw, size) == raw


def test_compressible_parts_are_found_wherever_they_are():
    """A chunk is not judged by its first bytes: an eighth of zeros in noise is found in any place."""
    noise = random.Random(3).randbytes(1 << 20)
    for part in range(8):
        at = part * (len(noise) >> 3)
        mixed = noise[:at] + bytes(1 << 17) + noise[at + (1 << 17) :]
        assert len(encode(mixed).data) < 0.9 * len(mixed)


def test_rows_of_zeros_are_found_between_the_samples():
    """As in the moments of embeddings that no batch has met: they shrink every plane, noise or not."""
    values = np.resize(WEIGHTS, (2048, 128)).astype("<f4")
    full = len(encode(values.tobytes(), 4).data)

    values[40:2008:32] = 0

    assert len(encode(values.tobytes(), 4).data) < 0.98 * full


def test_all_threads_may_encode_and_decode_at_once():
    """zstd's objects are each thread's own."""
    jobs = [(TENSORS[dtype], itemsize) for dtype in DTYPES for itemsize in (0, 2, 4, 8)]

    def tour(job):
        encoded = encode(*job)
        return decode(encoded.codec, encoded.data, len(job[0])) == job[0]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(tour, jobs))


def test_an_encoding_of_other_bytes_is_not_published():
    """As when a mapped file changes while it is encoded."""
    encoded = encode(TENSORS["<f4"], 4)
    changed = bytearray(TENSORS["<f4"])
    changed[1000] ^= 1

    verify(encoded, TENSORS["<f4"])
    with pytest.raises(CorruptError, match="changed meanwhile"):
        verify(encoded, changed)


def test_no_chunk_is_over_the_limit():
    """Neither on the way in nor on the way out, where room would have to be made for it."""
    assert len(encode(bytes(MAX_CHUNK_BYTES), 4).data) < 10_000
    with pytest.raises(FormatError, match="cut it first"):
        encode(bytes(MAX_CHUNK_BYTES + 1))
    for raw_bytes in (-1, MAX_CHUNK_BYTES + 1, 1 << 62):
        with pytest.raises(FormatError, match="a chunk has at most"):
            decode(CodecId.ZSTD, b"frame", raw_bytes)


def test_a_buffer_with_gaps_is_refused():
    """Its bytes are not a run of content."""
    with pytest.raises(FormatError, match="contiguous"):
        encode(memoryview(bytes(400))[::2])

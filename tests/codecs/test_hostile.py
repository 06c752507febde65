"""Payloads that nobody honest wrote: decode raises one of two errors, at once and without making room."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.codecs import CodecId, decode, encode
from cas.errors import CasError, CorruptError, FormatError

WEIGHTS = (np.random.default_rng(5).standard_normal(2000) * 0.02).astype("<f4").tobytes() + b"abc"
LINES = b"".join(b"layers.%d.attention.weight: 512 x 512, float32\n" % layer for layer in range(150))
HONEST = [(encode(WEIGHTS, 4), len(WEIGHTS)), (encode(LINES), len(LINES))]


def outcome(codec, payload, raw_bytes):
    """The decoded size, or the error."""
    try:
        return len(decode(codec, payload, raw_bytes))
    except CasError as error:
        return type(error)


def test_the_honest_payloads_are_of_both_kinds():
    """Else the laws below would not reach both decoders."""
    assert [encoded.codec for encoded, _ in HONEST] == [CodecId.PLANES, CodecId.ZSTD]


@settings(deadline=None, max_examples=300)
@given(
    which=st.sampled_from(HONEST),
    edits=st.lists(st.tuples(st.one_of(st.integers(0, 40), st.integers(0, 10_000)), st.integers(0, 255)), max_size=4),
    cut=st.one_of(st.just(0), st.integers(0, 10_000)),
    more=st.binary(max_size=3),
)
def test_damage_never_gives_bytes_of_another_size(which, edits, cut, more):
    """Flipped, cut short or longer: the size is as told, or it is an error. A digest settles the rest."""
    encoded, raw_bytes = which
    payload = bytearray(encoded.data)
    for at, byte in edits:
        payload[at % len(payload)] = byte
    payload = payload[: len(payload) - cut % len(payload)] + more

    assert outcome(encoded.codec, payload, raw_bytes) in (raw_bytes, CorruptError)


@settings(deadline=None)
@given(codec=st.sampled_from(CodecId), payload=st.binary(max_size=200), raw_bytes=st.integers(0, 300))
def test_noise_never_gives_bytes_of_another_size(codec, payload, raw_bytes):
    """Nor does a payload that was none."""
    assert outcome(codec, payload, raw_bytes) in (raw_bytes, CorruptError)


@pytest.mark.parametrize("which", HONEST, ids=["planes", "zstd"])
def test_every_truncation_is_found(which):
    """At whatever byte a download stopped."""
    encoded, raw_bytes = which
    for size in range(len(encoded.data)):
        assert outcome(encoded.codec, encoded.data[:size], raw_bytes) is CorruptError


@pytest.mark.parametrize("which", HONEST, ids=["planes", "zstd"])
def test_a_wrong_raw_size_is_found(which):
    """The size is the manifest's word against the payload's."""
    encoded, raw_bytes = which
    for wrong in (0, 1, raw_bytes - 4, raw_bytes - 1, raw_bytes + 1, raw_bytes + 4, 2 * raw_bytes):
        assert outcome(encoded.codec, encoded.data, wrong) is CorruptError


@pytest.mark.parametrize("codec", [CodecId.ZSTD, CodecId.PLANES])
def test_a_bomb_makes_no_room(codec):
    """64 MiB of zeros in a few kilobytes, told to be 4 KiB: no more than that is ever made."""
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    payload = bomb if codec is CodecId.ZSTD else b"\2\0\1" + len(bomb).to_bytes(4, "little") + b"\0" * 5 + bomb
    tracemalloc.start()
    try:
        assert outcome(codec, payload, 4096) is CorruptError
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1 << 20


def test_an_unknown_codec_asks_for_an_upgrade():
    """Ids are append only, so a new one comes from a newer cas."""
    for codec in (3, 4, 65535, -1):
        with pytest.raises(FormatError, match="upgrade cas"):
            decode(codec, b"x", 1)


@pytest.mark.parametrize("codec", list(CodecId))
def test_a_base_that_is_not_needed_is_refused(codec):
    """A manifest that names one was not written by these codecs."""
    with pytest.raises(FormatError, match="takes no base"):
        decode(codec, b"x", 1, base=b"y")

"""Digests: printed and parsed in one form, ordered as their bytes are."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.format import EMPTY, Digest
from cas.format.digest import COMMIT_CONTEXT, TREE_CONTEXT

raws = st.binary(min_size=32, max_size=32)


@given(st.binary(max_size=200))
def test_a_blob_has_the_name_that_b3sum_prints(data: bytes) -> None:
    """Plain BLAKE3 of the raw bytes, whatever buffer they are in."""
    expected = blake3(data).hexdigest()

    assert {str(Digest.of(form)) for form in (data, bytearray(data), memoryview(data))} == {expected}


@given(st.binary(max_size=200))
def test_contexts_separate_kinds(data: bytes) -> None:
    """The same bytes as a blob, a tree and a commit have three names."""
    assert len({Digest.of(data), Digest.of(data, context=TREE_CONTEXT), Digest.of(data, context=COMMIT_CONTEXT)}) == 3


@given(raws)
def test_what_is_printed_is_parsed(raw: bytes) -> None:
    """64 lowercase hexadecimal digits, and back."""
    digest = Digest(raw)

    assert str(digest) == raw.hex()
    assert Digest.parse(str(digest)) == digest


@given(raws, raws)
def test_digests_compare_as_their_bytes(one: bytes, other: bytes) -> None:
    """Order, equality and hash are those of the 32 bytes, so digests are keys and sort as stored."""
    assert (Digest(one) < Digest(other)) == (one < other)
    assert (Digest(one) == Digest(other)) == (one == other)
    assert hash(Digest(one)) == hash(Digest(bytes(one)))


@pytest.mark.parametrize(
    "text", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, " " + "0" * 63, "\u0660" * 64, "0x" + "0" * 62]
)
def test_nothing_else_is_a_digest(text: str) -> None:
    """No capitals, no spaces, no other script's digits, no other length."""
    with pytest.raises(FormatError):
        Digest.parse(text)


@pytest.mark.parametrize("size_bytes", [0, 31, 33])
def test_a_digest_has_32_bytes(size_bytes: int) -> None:
    """Shorter or longer names are refused where they are made."""
    with pytest.raises(FormatError):
        Digest(bytes(size_bytes))


def test_empty_is_the_digest_of_nothing() -> None:
    """The blob of every empty file."""
    assert Digest.of(b"") == EMPTY

"""Keys and prefixes: what may name an object, in every backend alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.format import Digest, Lease, RefRecord
from cas.format.ref import check_ref_name
from cas.storage.keys import MAX_KEY_BYTES, check_key, check_prefix, is_name

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(NAMES, min_size=1, max_size=5).map("/".join))
def test_a_key_is_its_names(text):
    """A key is accepted exactly if each part between slashes may be a name: a listing finds what a write made."""
    try:
        accepted = check_key(text) == text
    except FormatError:
        accepted = False

    assert accepted == all(map(is_name, text.split("/")))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_prefix_is_empty_or_a_key_and_a_slash(text):
    """Nothing else is a prefix."""

    def accepted(check, value):
        try:
            return check(value) == value
        except FormatError:
            return False

    assert accepted(check_prefix, text) == (not text or (text[-1] == "/" and accepted(check_key, text[:-1])))


def test_length_is_counted_in_bytes():
    """As the backends count it."""
    longest = "é" * 127 + "/" + "é" * 127 + "/" + "é" * 127
    assert len(longest.encode()) <= MAX_KEY_BYTES
    assert check_key(longest) == longest
    for too_long in ("é" * 128, longest + "/abcd"):
        with pytest.raises(FormatError):
            check_key(too_long)


@settings(deadline=None)
@given(st.text("abcXYZ0189-_.+=,%#()é鍵/", min_size=1, max_size=30))
def test_what_may_name_a_ref_may_be_stored(name):
    """Every ref name is storable, but for parts that begin with a dot."""
    try:
        check_ref_name(name)
    except FormatError:
        return
    key = RefRecord(name, 1, None, bytes(16), 0).key
    if "/." in key:
        with pytest.raises(FormatError, match="begins with a dot"):
            check_key(key)
    else:
        assert check_key(key) == key


def test_what_the_format_stores_has_keys():
    """The format's own keys are keys."""
    assert check_key(Lease(bytes(16), 0, 0).key) == f"leases/{'00' * 16}"
    assert check_key(f"packs/aa/{Digest(bytes(32))}")

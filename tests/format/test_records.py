"""Refs, leases and format.json: small objects that carry their own checksum and know their own key."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import CasError, CorruptError, FormatError
from cas.format import Digest, Lease, Manifest, RefRecord, StoreFormat, Tree
from cas.format.canonical import encode
from cas.format.envelope import MAGIC_BYTES, check_fields, seal, unseal
from cas.format.ref import check_ref_name, sequence_of

moments = st.integers(0, 2**63 - 1)
ids = st.binary(min_size=16, max_size=16)
digests = st.binary(min_size=32, max_size=32).map(Digest)


def is_ref_name(name: str) -> bool:
    try:
        check_ref_name(name)
    except FormatError:
        return False
    return True


ref_names = st.text(st.sampled_from("abf019./-é"), min_size=1, max_size=10).filter(is_ref_name)
ref_records = st.builds(RefRecord, ref_names, st.integers(1, 10**16 - 1), st.none() | digests, ids, moments)
leases = st.builds(Lease, ids, moments, moments)
features = st.sets(st.text(max_size=4), max_size=3).map(sorted).map(tuple)
store_formats = st.builds(
    StoreFormat, st.binary(min_size=16, max_size=16).map(bytes.hex), moments, st.just(1), st.just(()), features
)


@dataclass(frozen=True)
class Stored:
    """Some object's bytes, how to read them back, and what they must read as."""

    data: bytes
    read: Callable[[bytes], object]
    value: object


stored = st.one_of(
    ref_records.map(lambda ref: Stored(ref.encode(), lambda data: RefRecord.decode(data, ref.key), ref)),
    leases.map(lambda lease: Stored(lease.encode(), lambda data: Lease.decode(data, lease.key), lease)),
    store_formats.map(lambda one: Stored(one.encode(), lambda data: StoreFormat.decode(data, "format.json"), one)),
    st.just(Manifest.of(Tree(()), [], [])).map(
        lambda one: Stored(one.encode(), lambda data: Manifest.decode(data, one.tree.hash, "manifest"), one)
    ),
)


@given(stored)
def test_what_is_written_is_read(one: Stored) -> None:
    """decode is the inverse of encode."""
    assert one.read(one.data) == one.value


@given(stored, st.data())
def test_any_change_is_found(one: Stored, data: st.DataObject) -> None:
    """A flipped bit, a cut and a continuation are corrupt: never another value, never taken for another kind."""
    flipped = bytearray(one.data)
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = one.data[: data.draw(st.integers(0, len(one.data) - 1))]
    more = data.draw(st.binary(min_size=1, max_size=40))

    for bad in (bytes(flipped), cut, one.data + more):
        with pytest.raises(CorruptError):
            one.read(bad)


@given(st.binary(max_size=80), stored)
def test_noise_is_refused(noise: bytes, one: Stored) -> None:
    """Whatever lies under a key, the error is one of cas."""
    with pytest.raises(CasError):
        one.read(noise)


# -- sealed objects


@given(st.sampled_from([b"CASREFS\x02", b"CASREFS\xff"]), st.dictionaries(st.text(max_size=3), st.integers(0, 9)))
def test_newer_versions_are_refused_as_newer(magic: bytes, body: dict[str, int]) -> None:
    """Whole and unreadable is another matter than damaged: the way out is an upgrade."""
    with pytest.raises(FormatError, match="upgrade cas"):
        unseal(b"CASREFS\x01", seal(magic, body), "ref")


@pytest.mark.parametrize("magic", [b"CASREFS\x00", b"CASLEAS\x01", b"\0" * MAGIC_BYTES], ids=repr)
def test_other_kinds_are_refused(magic: bytes) -> None:
    """A lease is no ref, though both are sealed."""
    with pytest.raises(FormatError, match="begins with"):
        unseal(b"CASREFS\x01", seal(magic, {}), "ref")


def test_a_sealed_body_is_canonical() -> None:
    """A checksum that fits does not excuse another form."""
    head = b"CASREFS\x01" + bytes.fromhex("82a162c0a161c0")

    with pytest.raises(FormatError, match="canonical"):
        unseal(b"CASREFS\x01", head + Digest.of(head).raw, "ref")


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"a": 1}, {"a": 1, "b": "x", "c": 1}, {"a": True, "b": "x"}, {"a": 1, "b": 2}, {"a": 1.0, "b": "x"}],
    ids=str,
)
def test_fields_are_exact(body: Any) -> None:
    """A field missing, unknown or of another type is refused; a boolean is no number."""
    assert check_fields({"a": 1, "b": "x"}, {"a": int, "b": str}, "it") == {"a": 1, "b": "x"}
    with pytest.raises(FormatError):
        check_fields(body, {"a": int, "b": str}, "it")


# -- refs


@given(ref_records, ref_names, st.integers(1, 10**16 - 1))
def test_a_record_belongs_to_one_key(record: RefRecord, name: str, sequence: int) -> None:
    """A record that was copied to another name or number is corrupt there."""
    other = f"refs/{name}/{sequence:016d}"
    if other == record.key:
        assert RefRecord.decode(record.encode(), other) == record
    else:
        with pytest.raises(CorruptError):
            RefRecord.decode(record.encode(), other)


@given(ref_records, ref_records)
def test_keys_sort_as_numbers(one: RefRecord, other: RefRecord) -> None:
    """The highest record is the last that a listing gives, and the number is read back from the key."""
    one_key, other_key = (record.key.rpartition("/")[2] for record in (one, other))

    assert (one_key < other_key) == (one.sequence < other.sequence)
    assert sequence_of(one_key) == one.sequence


@given(ref_names, ref_names)
def test_no_record_is_where_a_folder_is(one: str, other: str) -> None:
    """The key of one ref's record is never a folder on the way to another's, so every file system can hold both."""
    key = RefRecord(one, 1, None, bytes(16), 0).key

    assert not RefRecord(other, 1, None, bytes(16), 0).key.startswith(key + "/")


@given(st.text(max_size=12) | st.text(st.sampled_from("0123456789abcdef"), min_size=7, max_size=17))
def test_a_ref_name_is_never_something_else(name: str) -> None:
    """What may name a ref is no hash or prefix of one, has no part of a REV's syntax, and is a plain path."""
    if not is_ref_name(name):
        return
    assert not (8 <= len(name) <= 64 and set(name) <= set("0123456789abcdef"))
    assert not set(name) & set("~^:?*[]\\@{} \t\n\0")
    assert all(part not in ("", ".", "..") and part[0] != "." for part in name.split("/"))
    assert all(sequence_of(part) is None for part in name.split("/"))


@pytest.mark.parametrize("text", ["", "1", "0" * 15, "0" * 17, "000000000000000a", "٠" * 16, "-000000000000001"])  # noqa: RUF001
def test_other_keys_have_no_number(text: str) -> None:
    """What else lies among a ref's records is passed over."""
    assert sequence_of(text) is None
    assert sequence_of("0000000000000012") == 12


# -- format.json


def checked(body: dict[str, Any]) -> bytes:
    """format.json with these fields and a checksum that fits."""
    body = dict(body)
    dumped = json.dumps(body, sort_keys=True, indent=2) + "\n"
    body["checksum"] = str(Digest.of(dumped.encode()))
    return (json.dumps(body, sort_keys=True, indent=2) + "\n").encode()


GOOD = {
    "created_us": 1,
    "kind": "cas store",
    "mandatory": [],
    "optional": ["x"],
    "store_id": "0" * 32,
    "version": 1,
}


@given(st.sampled_from(sorted(GOOD)), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
def test_a_field_of_another_kind_is_refused(name: str, value: object) -> None:
    """Whatever a field holds, the store is read, or refused by an error of cas."""
    try:
        declared = StoreFormat.decode(checked(GOOD | {name: value}), "format.json")
    except FormatError:
        return
    assert json.loads(declared.encode())[name] == value


def test_features_decide_who_may_read() -> None:
    """An optional feature is nobody's business, an unknown mandatory one closes the store."""
    assert StoreFormat.decode(checked(GOOD), "format.json").optional == ("x",)
    with pytest.raises(FormatError, match="needs features"):
        StoreFormat.decode(checked(GOOD | {"mandatory": ["x"]}), "format.json")


def test_a_newer_store_says_so() -> None:
    """Even where it has fields of its own or lacks ours: the way out is an upgrade."""
    for body in (GOOD | {"version": 2}, {"kind": "cas store", "version": 2, "new": [1]}):
        with pytest.raises(FormatError, match="upgrade cas"):
            StoreFormat.decode(checked(body), "format.json")


def test_another_programs_file_is_not_a_store() -> None:
    """Somebody else's format.json is told from a damaged one of ours."""
    for text in (b"{}", b"[]", b'{"kind": "zarr", "version": 2}', b"3"):
        with pytest.raises(FormatError, match="cas store"):
            StoreFormat.decode(text, "format.json")


def test_only_the_one_form_is_read() -> None:
    """A field twice, other spaces or other escapes are not what was written, though JSON may not mind."""
    good = checked(GOOD)
    assert StoreFormat.decode(good, "format.json").encode() == good
    for bad in (
        good.replace(b'"kind"', b'"kind": "cas store",\n  "kind"'),
        good.replace(b"  ", b"\t"),
        good.replace(b"cas store", b"c\\u0061s store"),
        good.decode().encode("utf-16"),
    ):
        with pytest.raises(CorruptError):
            StoreFormat.decode(bad, "format.json")


@pytest.mark.parametrize(
    "fields",
    [("x" * 32, 0), ("0" * 31, 0), ("0" * 32, -1), ("0" * 32, 0, 0), ("0" * 32, 0, 1, ("b", "a"))],
    ids=str,
)
def test_what_could_not_be_read_back_is_not_written(fields: tuple[Any, ...]) -> None:
    """format.json is written once for a store's whole life."""
    with pytest.raises(FormatError):
        StoreFormat(*fields)


# -- leases


@pytest.mark.parametrize(
    "fields", [(bytes(15), 0, 0), (bytes(17), 0, 0), (bytes(16), -1, 0), (bytes(16), 0, -1)], ids=str
)
def test_impossible_leases_are_refused(fields: tuple[Any, ...]) -> None:
    """An id of another length, a negative generation or time."""
    with pytest.raises(FormatError):
        Lease(*fields)


@given(leases, ids)
def test_a_lease_belongs_to_one_key(lease: Lease, other: bytes) -> None:
    """A lease under another's key is corrupt, so nobody renews what is not theirs."""
    key = f"leases/{other.hex()}"
    if other == lease.id:
        assert Lease.decode(lease.encode(), key) == lease
    else:
        with pytest.raises(CorruptError):
            Lease.decode(lease.encode(), key)


def test_sealed_bytes_are_magic_body_checksum() -> None:
    """Nothing else is in a sealed object."""
    head = b"CASREFS\x01" + encode({"a": 1})

    assert seal(b"CASREFS\x01", {"a": 1}) == head + Digest.of(head).raw
    assert unseal(b"CASREFS\x01", head + Digest.of(head).raw, "it") == {"a": 1}

"""Packs: what was added is found by the table of contents and again without it, and lies are found out."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import CasError, CorruptError, FormatError
from cas.format import MAX_CHUNK_BYTES, Digest, PackBuilder, PackEntry
from cas.format.pack import (
    FOOTER_BYTES,
    HEADER_BYTES,
    MAX_PACK_BYTES,
    NONCE_BYTES,
    RECORD_BYTES,
    ROW_BYTES,
    Footer,
    decode_toc,
    parse_pack,
    scan_records,
)


@dataclass(frozen=True)
class Chunk:
    """One chunk to be packed. The encoded bytes are any that are not longer than the raw ones."""

    raw_bytes: int
    digest: Digest
    codec: int
    encoded: bytes
    base: Digest | None


digests = st.binary(min_size=32, max_size=32).filter(any).map(Digest)
chunks = st.builds(
    lambda more, digest, codec, encoded, base: Chunk(len(encoded) + more, digest, codec, encoded, base),
    st.integers(0, 100),
    digests,
    st.integers(0, 2**16 - 1),
    st.binary(min_size=1, max_size=30),
    st.none() | digests,
)
chunk_lists = st.lists(chunks, max_size=5)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


def build(nonce: bytes, contents: list[Chunk]) -> tuple[Digest, bytes, list[PackEntry]]:
    builder = PackBuilder(nonce)
    for chunk in contents:
        builder.add(chunk.digest, chunk.raw_bytes, chunk.codec, chunk.encoded, chunk.base)
    pack = builder.finish()
    data = b"".join(builder.buffers)
    assert len(data) == builder.size_bytes
    return pack, data, builder.entries


def pack_of(*contents: bytes) -> tuple[bytes, list[PackEntry]]:
    """A pack of chunks stored as they are."""
    _, data, entries = build(bytes(16), [Chunk(len(raw), Digest.of(raw), 0, raw, None) for raw in contents])
    return data, entries


@given(nonces, chunk_lists)
def test_what_was_added_is_found(nonce: bytes, contents: list[Chunk]) -> None:
    """By order, sizes, codec and base; and each entry's range holds the very bytes."""
    pack, data, entries = build(nonce, contents)

    assert parse_pack(data, "pack") == entries
    assert [(e.digest, e.raw_bytes, e.codec, e.base) for e in entries] == [
        (c.digest, c.raw_bytes, c.codec, c.base) for c in contents
    ]
    assert [data[e.offset : e.end] for e in entries] == [c.encoded for c in contents]
    assert Digest.of(data) == pack


@given(nonces, chunk_lists)
def test_the_tail_alone_tells_what_is_inside(nonce: bytes, contents: list[Chunk]) -> None:
    """Footer and table need no other byte of the pack, so one ranged read finds every chunk."""
    _, data, entries = build(nonce, contents)

    footer = Footer.decode(data[-FOOTER_BYTES:], len(data), "pack")
    table = data[footer.toc_offset : footer.toc_offset + footer.toc_bytes]

    assert footer.toc_bytes == ROW_BYTES * len(contents)
    assert decode_toc(table, footer, "pack") == entries


@given(nonces, nonces, chunk_lists)
def test_a_nonce_makes_a_name(one: bytes, other: bytes, contents: list[Chunk]) -> None:
    """The same chunks packed again have another name, unless even the nonce is the same."""
    assert (build(one, contents)[0] == build(other, contents)[0]) == (one == other)


@given(nonces, chunk_lists, st.binary(max_size=300), st.data())
def test_records_survive_a_destroyed_tail(
    nonce: bytes, contents: list[Chunk], junk: bytes, data: st.DataObject
) -> None:
    """Every chunk before the damage is found by its record, and nothing else is, whatever follows."""
    _, whole, entries = build(nonce, contents)
    cut = data.draw(st.integers(HEADER_BYTES, len(whole)))
    junk = junk.replace(b"chnk", b"junk")

    found = list(scan_records(whole[:cut] + junk))
    complete = [entry for entry in entries if entry.end <= cut]

    assert found[: len(complete)] == complete
    # Where the cut lies inside encoded bytes, junk may fill up the record; its digest will tell.
    assert len(found) <= len(complete) + 1
    assert list(scan_records(whole)) == entries


@given(nonces, st.lists(chunks, min_size=1, max_size=3), st.data())
def test_a_flipped_bit_is_found_wherever_a_checksum_is(
    nonce: bytes, contents: list[Chunk], data: st.DataObject
) -> None:
    """By the pack's name anywhere; without it, everywhere but in the nonce and in the chunks' own bytes."""
    pack, whole, entries = build(nonce, contents)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    in_nonce = HEADER_BYTES - NONCE_BYTES <= at < HEADER_BYTES
    in_chunk = any(entry.offset <= at < entry.end for entry in entries)

    assert Digest.of(flipped) != pack
    if in_nonce or in_chunk:
        assert parse_pack(flipped, "pack") == entries
    elif at in range(8) or at >= len(whole) - 1:
        # Magic and version say what the rest means: another kind or a newer version is nothing to repair.
        with pytest.raises(CasError):
            parse_pack(flipped, "pack")
    else:
        with pytest.raises(CorruptError):
            parse_pack(flipped, "pack")


@given(nonces, chunk_lists, st.data())
def test_a_pack_of_another_length_is_refused(nonce: bytes, contents: list[Chunk], data: st.DataObject) -> None:
    """Cut anywhere or continued by anything, a pack is not that pack, and is never read as another."""
    _, whole, _ = build(nonce, contents)
    cut = data.draw(st.integers(0, len(whole) - 1))
    more = data.draw(st.binary(min_size=1, max_size=100))

    with pytest.raises(CasError):
        parse_pack(whole[:cut], "pack")
    with pytest.raises(CorruptError):
        parse_pack(whole + more, "pack")
    with pytest.raises(CorruptError):
        Footer.decode(whole[-FOOTER_BYTES:], len(whole) + data.draw(st.integers(1, 1000)), "pack")


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(FOOTER_BYTES, 2000))
def test_footers_cannot_point_outside(offset: int, size_bytes: int, pack_bytes: int) -> None:
    """An accepted footer names whole rows that end where the footer begins, whatever numbers it holds."""
    data = Footer(offset, size_bytes, Digest(bytes(32))).encode()
    try:
        footer = Footer.decode(data, pack_bytes, "pack")
    except CorruptError:
        return
    assert footer.toc_offset >= HEADER_BYTES
    assert footer.toc_offset + footer.toc_bytes == pack_bytes - FOOTER_BYTES
    assert footer.toc_bytes % ROW_BYTES == 0


def test_a_pack_over_the_limit_is_refused_by_its_footer() -> None:
    """A gigabyte of table is never asked for."""
    toc_bytes = MAX_PACK_BYTES // ROW_BYTES * ROW_BYTES
    footer = Footer(HEADER_BYTES, toc_bytes, Digest(bytes(32)))

    with pytest.raises(FormatError, match="up to"):
        Footer.decode(footer.encode(), HEADER_BYTES + toc_bytes + FOOTER_BYTES, "pack")


def test_a_builder_does_not_grow_over_the_limit() -> None:
    """What cannot be read back is not written; the builder stays usable."""
    builder = PackBuilder(bytes(16))
    chunk = bytes(MAX_CHUNK_BYTES)
    digest = Digest(b"x" * 32)

    for _ in range(MAX_PACK_BYTES // MAX_CHUNK_BYTES - 1):
        builder.add(digest, len(chunk), 0, chunk)
    with pytest.raises(FormatError, match="another"):
        builder.add(digest, len(chunk), 0, chunk)
    small = builder.add(digest, 1, 0, b"x")

    assert builder.size_bytes + ROW_BYTES * len(builder.entries) + FOOTER_BYTES <= MAX_PACK_BYTES
    assert builder.entries[-1] == small


@pytest.mark.parametrize(
    "change",
    [
        {"raw_bytes": 0, "stored_bytes": 0},
        {"raw_bytes": MAX_CHUNK_BYTES + 1},
        {"stored_bytes": 0},
        {"stored_bytes": 11},
        {"stored_bytes": -1},
        {"offset": HEADER_BYTES + RECORD_BYTES - 1},
        {"offset": MAX_PACK_BYTES + 1},
        {"codec": -1},
        {"codec": 1 << 16},
    ],
    ids=str,
)
def test_absurd_entries_are_refused(change: dict[str, int]) -> None:
    """Sizes are bounded where an entry is made, before anybody allocates for it."""
    fields = {"offset": 104, "stored_bytes": 10, "raw_bytes": 10, "codec": 0}

    assert PackEntry(Digest(b"x" * 32), **fields).end == 114
    with pytest.raises(FormatError):
        PackEntry(Digest(b"x" * 32), **fields | change)


@pytest.mark.parametrize("size_bytes", [0, 15, 17])
def test_a_nonce_has_16_bytes(size_bytes: int) -> None:
    """The header has a fixed size, since readers count on it."""
    with pytest.raises(FormatError):
        PackBuilder(bytes(size_bytes))


def test_newer_packs_are_told_from_damaged_ones() -> None:
    """An old cas must not call a newer pack corrupt, lest somebody repairs it."""
    data, _ = pack_of(b"alpha")

    with pytest.raises(FormatError, match="newer than this cas reads"):
        parse_pack(data[:7] + b"\x02" + data[8:], "pack")
    with pytest.raises(FormatError, match="newer than this cas reads"):
        Footer.decode(data[-FOOTER_BYTES:-1] + b"\x02", len(data), "pack")


@given(st.lists(st.integers(0, 400), min_size=2, max_size=2), st.data())
def test_tables_that_lie_about_places_are_refused(shift: list[int], data: st.DataObject) -> None:
    """Chunks that overlap, leave a gap or run into the table are refused, though the checksum fits."""
    whole, entries = pack_of(b"alpha", b"beta beta", b"gamma")
    footer = Footer.decode(whole[-FOOTER_BYTES:], len(whole), "pack")
    rows = bytearray(whole[footer.toc_offset : -FOOTER_BYTES])
    for row, by in zip((0, 2), shift, strict=True):
        (offset,) = struct.unpack_from("<Q", rows, row * ROW_BYTES)
        struct.pack_into("<Q", rows, row * ROW_BYTES, max(104, offset + by - 200))
    forged = Footer(footer.toc_offset, footer.toc_bytes, Digest.of(rows))

    honest = [struct.unpack_from("<Q", rows, n * ROW_BYTES)[0] for n in range(3)] == [e.offset for e in entries]
    if honest:
        assert decode_toc(rows, forged, "pack") == entries
    else:
        with pytest.raises(FormatError):
            decode_toc(rows, forged, "pack")


def test_noise_is_no_pack() -> None:
    """Bytes of any other kind are refused as another kind."""
    with pytest.raises(FormatError, match="begins with"):
        parse_pack(b"\x89PNG\r\n\x1a\n" + bytes(200), "pack")
    with pytest.raises(FormatError):
        parse_pack(b"", "pack")

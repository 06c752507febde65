"""Vectors of packs."""

from __future__ import annotations

import struct

from cas.format import Digest, PackBuilder, PackEntry
from cas.format.pack import FOOTER_BYTES, ROW_BYTES
from vectors.common import ALPHA, BETA, NONCE, ZEROS, Json, refused, replaced

RAW, ZSTD, OPAQUE = 0, 1, 40_000  # codecs; nobody reads the last one, which carries a base
ZEROS_ZSTD = bytes.fromhex("28b52ffd 60 000f 038000 00")  # frame header, its size less 256, one run-length block


def build(nonce: bytes, chunks: list[tuple[bytes, int, bytes, Digest | None]]) -> tuple[Digest, bytes, list[PackEntry]]:
    """A pack of (raw, codec, encoded, base) chunks: its id, bytes and entries."""
    builder = PackBuilder(nonce)
    for raw, codec, encoded, base in chunks:
        builder.add(Digest.of(raw), len(raw), codec, encoded, base)
    pack = builder.finish()
    return pack, b"".join(builder.buffers), builder.entries


CHUNKS = [(ALPHA, RAW, ALPHA, None), (ZEROS, ZSTD, ZEROS_ZSTD, None), (BETA, RAW, BETA, None)]
PACK, PACK_DATA, PACK_ENTRIES = build(NONCE, CHUNKS)
BASED = b"alpha alpha gamma"
BASED_PACK, BASED_DATA, BASED_ENTRIES = build(
    bytes(16), [(ALPHA, RAW, ALPHA, None), (BASED, OPAQUE, b"difference", Digest.of(ALPHA))]
)


def pack_entry_json(at: PackEntry) -> Json:
    return {
        "digest": str(at.digest), "offset": at.offset, "stored_bytes": at.stored_bytes, "raw_bytes": at.raw_bytes,
        "codec": at.codec, "base": str(at.base) if at.base else None,
    }  # fmt: skip


def with_table(data: bytes, change: dict[int, bytes]) -> bytes:
    """A pack whose table of contents was changed at these places, and its footer to match."""
    toc_at = struct.unpack_from("<Q", data, len(data) - FOOTER_BYTES)[0]
    table = data[toc_at:-FOOTER_BYTES]
    for at, new in change.items():
        table = replaced(table, at, new)
    footer = struct.pack("<QQ32s8s", toc_at, len(table), Digest.of(table).raw, b"CASPEND\x01")
    return data[:toc_at] + table + footer


def pack_vectors() -> Json:
    size = len(PACK_DATA)
    toc_at = size - FOOTER_BYTES - 3 * ROW_BYTES

    def footer(offset: int, size_bytes: int) -> bytes:
        return replaced(PACK_DATA, -FOOTER_BYTES, struct.pack("<QQ", offset % 2**64, size_bytes))

    bad = [
        ("FormatError", "a newer version", replaced(PACK_DATA, 7, b"\x02")),
        ("FormatError", "another kind of object", replaced(PACK_DATA, 0, b"CASTREE\x01")),
        ("FormatError", "a footer of a newer version", replaced(PACK_DATA, -1, b"\x02")),
        ("CorruptError", "nothing after the nonce", PACK_DATA[:24]),
        ("CorruptError", "the last byte lost", PACK_DATA[:-1]),
        ("CorruptError", "the footer lost", PACK_DATA[:-FOOTER_BYTES]),
        ("CorruptError", "a byte too many", PACK_DATA + b"\0"),
        ("CorruptError", "a footer whose table begins one byte late", footer(toc_at + 1, 3 * ROW_BYTES)),
        ("CorruptError", "a footer whose table is a row too long", footer(toc_at, 4 * ROW_BYTES)),
        ("CorruptError", "a footer whose table is not whole rows", footer(toc_at + 1, 3 * ROW_BYTES - 1)),
        ("CorruptError", "a footer whose table begins in the header", footer(0, size - FOOTER_BYTES)),
        ("CorruptError", "a footer whose numbers wrap around", footer(-ROW_BYTES, size - FOOTER_BYTES + ROW_BYTES)),
        ("CorruptError", "a flipped bit in the table", replaced(PACK_DATA, toc_at, bytes([PACK_DATA[toc_at] ^ 1]))),
        ("CorruptError", "a record that the table contradicts", replaced(PACK_DATA, 24 + 4, b"\x01")),
        ("CorruptError", "a record without its magic", replaced(PACK_DATA, 24, b"cHnk")),
        ("FormatError", "a chunk that begins a byte late", with_table(PACK_DATA, {0: struct.pack("<Q", 105)})),
        ("FormatError", "chunks that overlap", with_table(PACK_DATA, {ROW_BYTES: struct.pack("<Q", 104)})),
        ("FormatError", "a gap before the table", with_table(PACK_DATA, {2 * ROW_BYTES + 12: struct.pack("<I", 3)})),
        ("FormatError", "a reserved field that is not zero", with_table(PACK_DATA, {10: b"\x01"})),
        ("FormatError", "more stored than raw bytes", with_table(PACK_DATA, {16: struct.pack("<I", 1)})),
        ("FormatError", "a chunk of no bytes", with_table(PACK_DATA, {12: struct.pack("<II", 0, 0)})),
        ("FormatError", "a chunk over 16 MiB", with_table(PACK_DATA, {16: struct.pack("<I", (16 << 20) + 1)})),
        ("FormatError", "an offset beyond 1 GiB", with_table(PACK_DATA, {0: struct.pack("<Q", (1 << 30) + 1)})),
    ]  # fmt: skip
    packs = [
        ("three chunks", NONCE, CHUNKS),
        ("the same chunks under another nonce", bytes(16), CHUNKS),
        ("a chunk with a base", bytes(16), [CHUNKS[0], (BASED, OPAQUE, b"difference", Digest.of(ALPHA))]),
        ("no chunks", bytes(16), []),
    ]
    accepted = []
    for name, nonce, chunks in packs:
        pack, data, entries = build(nonce, chunks)
        accepted.append(
            {
                "name": name,
                "nonce": nonce.hex(),
                "chunks": [
                    {"raw": raw.hex(), "codec": codec, "encoded": encoded.hex(), "base": str(base) if base else None}
                    for raw, codec, encoded, base in chunks
                ],
                "bytes": data.hex(),
                "id": str(pack),
                "entries": [pack_entry_json(at) for at in entries],
            }
        )
    salvage = [
        {"why": "the tail lost", "bytes": PACK_DATA[:toc_at].hex(), "chunks": 3},
        {"why": "the tail overwritten", "bytes": (PACK_DATA[:toc_at] + bytes(size - toc_at)).hex(), "chunks": 3},
        {"why": "cut in the last chunk", "bytes": PACK_DATA[: toc_at - 1].hex(), "chunks": 2},
        {"why": "whole", "bytes": PACK_DATA.hex(), "chunks": 3},
    ]
    return {"accepted": accepted, "salvaged": salvage, "refused": [refused(*case) for case in bad]}

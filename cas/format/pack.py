"""Packs: many chunks in one immutable object.

A pack is a magic and a nonce, one record a chunk (header, then encoded bytes),
a table of contents, then a fixed-size footer, so that one ranged read of the tail
finds everything and a scan of the records finds it again where the tail is lost.
The nonce makes two packs of the same chunks differ, so that an upload never has
the name of a pack that gc is deleting. Specified in docs/format.md section 5,
pinned by tests/vectors/pack.json.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from cas.errors import CorruptError, FormatError
from cas.format.digest import DIGEST_BYTES, Buffer, Digest
from cas.format.envelope import MAGIC_BYTES, check_magic
from cas.format.recipe import MAX_CHUNK_BYTES

__all__ = [
    "FOOTER_BYTES",
    "HEADER_BYTES",
    "MAX_PACK_BYTES",
    "NONCE_BYTES",
    "RECORD_BYTES",
    "ROW_BYTES",
    "Footer",
    "PackBuilder",
    "PackEntry",
    "decode_toc",
    "parse_pack",
    "scan_records",
]

_MAGIC = b"CASPACK\x01"
_END_MAGIC = b"CASPEND\x01"
_RECORD_MAGIC = b"chnk"
_NO_BASE = bytes(DIGEST_BYTES)

_RECORD = struct.Struct("<4sHHII32s32s")  # magic, codec, zero, stored size, raw size, digest, base
_ROW = struct.Struct("<QHHII32s32s")  # offset, then as in a record
_FOOTER = struct.Struct("<QQ32s8s")  # table's offset, its size, its BLAKE3, magic

NONCE_BYTES = 16
HEADER_BYTES = MAGIC_BYTES + NONCE_BYTES
RECORD_BYTES = _RECORD.size
ROW_BYTES = _ROW.size
FOOTER_BYTES = _FOOTER.size
MAX_PACK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PackEntry:
    """Where one chunk lies in a pack and how it is encoded.

    Attributes:
        digest: of the chunk's raw bytes.
        offset: of the first encoded byte, counted from the pack's first.
        stored_bytes: encoded size.
        raw_bytes: decoded size, never over `MAX_CHUNK_BYTES`.
        codec: a `cas.codecs.CodecId`.
        base: the chunk whose raw bytes decoding needs, or None.
    """

    digest: Digest
    offset: int
    stored_bytes: int
    raw_bytes: int
    codec: int
    base: Digest | None = None

    def __post_init__(self) -> None:
        if not 0 < self.raw_bytes <= MAX_CHUNK_BYTES:
            raise FormatError(f"chunk {self.digest} claims {self.raw_bytes} bytes, over the limit")
        # What does not pay is stored raw, so no encoding is longer than its chunk.
        if not 0 < self.stored_bytes <= self.raw_bytes:
            raise FormatError(f"chunk {self.digest} claims {self.stored_bytes} stored for {self.raw_bytes} raw")
        if not HEADER_BYTES + RECORD_BYTES <= self.offset <= MAX_PACK_BYTES:
            raise FormatError(f"chunk {self.digest} claims offset {self.offset}, outside its pack")
        if not 0 <= self.codec < 1 << 16:
            raise FormatError(f"chunk {self.digest} claims codec {self.codec}")

    @property
    def end(self) -> int:
        """One past the last encoded byte."""
        return self.offset + self.stored_bytes

    def _tail(self) -> tuple[int, int, int, int, bytes, bytes]:
        base = self.base.raw if self.base else _NO_BASE
        return self.codec, 0, self.stored_bytes, self.raw_bytes, self.digest.raw, base


def _entry(offset: int, codec: int, zero: int, stored: int, raw: int, digest: bytes, base: bytes) -> PackEntry:
    if zero:
        raise FormatError("a reserved field of a pack is not zero")
    return PackEntry(Digest(digest), offset, stored, raw, codec, None if base == _NO_BASE else Digest(base))


class PackBuilder:
    """Collects encoded chunks and yields the buffers of one pack, without copying them.

    ``buffers`` laid end to end are the pack; its id is their BLAKE3 and is known after `finish`.
    """

    def __init__(self, nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise FormatError(f"a pack's nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
        self.buffers: list[Buffer] = [_MAGIC + nonce]
        self.entries: list[PackEntry] = []
        self.size_bytes = HEADER_BYTES

    def add(self, digest: Digest, raw_bytes: int, codec: int, encoded: Buffer, base: Digest | None = None) -> PackEntry:
        """Append one chunk and say where it went.

        Raises:
            FormatError: the sizes break a limit, or the pack would grow over `MAX_PACK_BYTES`.
        """
        offset = self.size_bytes + RECORD_BYTES
        entry = PackEntry(digest, offset, len(encoded), raw_bytes, codec, base)
        if entry.end + (len(self.entries) + 1) * ROW_BYTES + FOOTER_BYTES > MAX_PACK_BYTES:
            raise FormatError(f"a pack has up to {MAX_PACK_BYTES} bytes; chunk {digest} needs another one")
        self.buffers += (_RECORD.pack(_RECORD_MAGIC, *entry._tail()), encoded)
        self.entries.append(entry)
        self.size_bytes = entry.end
        return entry

    def take(self) -> list[Buffer]:
        """The buffers so far, which are the caller's now: write and hash them in this order."""
        taken, self.buffers = self.buffers, []
        return taken

    def seal(self) -> None:
        """Append the table of contents and the footer: the pack is whole, and takes no more chunks."""
        toc = b"".join(_ROW.pack(entry.offset, *entry._tail()) for entry in self.entries)
        footer = Footer(self.size_bytes, len(toc), Digest.of(toc))
        self.buffers += (toc, footer.encode())
        self.size_bytes += len(toc) + FOOTER_BYTES

    def finish(self) -> Digest:
        """`seal`, and the id of a pack of which nothing was taken."""
        self.seal()
        hasher = blake3()
        for buffer in self.buffers:
            hasher.update(buffer)
        return Digest(hasher.digest())


@dataclass(frozen=True, slots=True)
class Footer:
    """The last `FOOTER_BYTES` of a pack: where its table of contents lies and what it hashes to."""

    toc_offset: int
    toc_bytes: int
    toc_digest: Digest

    def encode(self) -> bytes:
        """The footer's bytes."""
        return _FOOTER.pack(self.toc_offset, self.toc_bytes, self.toc_digest.raw, _END_MAGIC)

    @classmethod
    def decode(cls, data: Buffer, pack_bytes: int, where: str) -> Footer:
        """Read the footer of a pack of ``pack_bytes`` bytes in all.

        Raises:
            CorruptError: it is cut short, or its numbers do not fit the pack's size.
            FormatError: the pack is of a newer version, or larger than a pack may be.
        """
        magic = bytes(data[-MAGIC_BYTES:])
        if len(data) != FOOTER_BYTES or magic[:-1] != _END_MAGIC[:-1] or magic < _END_MAGIC:
            raise CorruptError(f"a footer of {FOOTER_BYTES} bytes", f"{len(data)} others", where)
        check_magic(magic, _END_MAGIC, f"footer of {where}")
        if pack_bytes > MAX_PACK_BYTES:
            raise FormatError(f"{where} has {pack_bytes} bytes; a pack has up to {MAX_PACK_BYTES}")
        offset, size, digest, _ = _FOOTER.unpack(data)
        if size % ROW_BYTES or offset < HEADER_BYTES or offset + size + FOOTER_BYTES != pack_bytes:
            raise CorruptError(f"a table that ends at {pack_bytes - FOOTER_BYTES}", f"{size} bytes at {offset}", where)
        return cls(offset, size, Digest(digest))


def decode_toc(data: Buffer, footer: Footer, where: str) -> list[PackEntry]:
    """The entries of a table of contents that ``footer`` vouches for, in order of offset.

    Raises:
        CorruptError: the table does not hash to what the footer says.
        FormatError: entries overlap or lie outside the pack.
    """
    if (actual := Digest.of(data)) != footer.toc_digest:
        raise CorruptError(footer.toc_digest, actual, f"table of contents of {where}")
    entries = [_entry(*row) for row in _ROW.iter_unpack(data)]
    end = HEADER_BYTES
    for entry in entries:
        if entry.offset != end + RECORD_BYTES:
            raise FormatError(f"{where}: chunk {entry.digest} is not where the one before it ends")
        end = entry.end
    if end != footer.toc_offset:
        raise FormatError(f"{where}: its chunks end at {end}, its table begins at {footer.toc_offset}")
    return entries


def parse_pack(data: Buffer, where: str) -> list[PackEntry]:
    """The entries of a whole pack, every header checked against the table of contents."""
    view = memoryview(data)
    check_magic(view, _MAGIC, where)
    footer = Footer.decode(view[-FOOTER_BYTES:], len(view), where)
    entries = decode_toc(view[footer.toc_offset : footer.toc_offset + footer.toc_bytes], footer, where)
    if entries != list(scan_records(view[: footer.toc_offset])):
        raise CorruptError("records as in the table of contents", "others", where)
    return entries


def scan_records(data: Buffer) -> Iterator[PackEntry]:
    """The chunks of a pack found by walking its records, without the table of contents.

    Stops at the first bytes that are not a record: the table, or damage. An entry's
    content is unproven until it is decoded and hashed.
    """
    view = memoryview(data)
    at = HEADER_BYTES
    while at + RECORD_BYTES <= len(view):
        magic, *tail = _RECORD.unpack_from(view, at)
        if magic != _RECORD_MAGIC:
            return
        try:
            entry = _entry(at + RECORD_BYTES, *tail)
        except FormatError:
            return
        if entry.end > len(view):
            return
        yield entry
        at = entry.end

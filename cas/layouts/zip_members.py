"""The stored members of a zip archive, found by its central directory.

Only members that are plainly there are listed: neither compressed nor encrypted.
Nothing is decompressed, so an archive cannot grow. Reads the end of the file, the
directory, and 30 bytes for each member that is asked for.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3.
"""

from __future__ import annotations

import struct

from cas.layouts.source import Source
from cas.layouts.spans import MAX_NAME_CHARS, MAX_TENSORS, MalformedError, Member

__all__ = ["ZIP_MAGIC", "locate_member", "read_members"]

ZIP_MAGIC = b"PK\x03\x04"

_LOCAL = struct.Struct("<4s22xHH")  # signature, sizes of name and extra fields
_ENTRY = struct.Struct("<4s4xHH8xLLHHH8xL")  # signature, flags, method, sizes, lengths of 3 fields, offset
_END = struct.Struct("<4s4xHHLLH")  # signature, entries here and in all, size and offset of directory, comment
_END64_LOCATOR = struct.Struct("<4s4xQ4x")  # signature, offset of the record
_END64 = struct.Struct("<4s20xQQQQ")  # signature, entries here and in all, size and offset of directory
_ENTRY_MAGIC = b"PK\x01\x02"
_END_MAGIC = b"PK\x05\x06"
_END64_LOCATOR_MAGIC = b"PK\x06\x07"
_END64_MAGIC = b"PK\x06\x06"

_MAX_COMMENT_BYTES = 0xFFFF
_FULL32 = 0xFFFFFFFF  # "see the zip64 field"
_ZIP64_FIELD = 1
_STORED = 0
_ENCRYPTED = 1
_MAX_MEMBERS = 2 * MAX_TENSORS


def read_members(source: Source) -> dict[str, Member]:
    """Every stored member by name, in the directory's order.

    Raises:
        MalformedError: the archive is cut short, lies about itself, spans disks or names a member twice.
    """
    entries, size_bytes, offset = _find_directory(source)
    # Before reading: the least a member takes, so that a lying count cannot cause work.
    if entries > _MAX_MEMBERS or entries * _ENTRY.size > size_bytes:
        raise MalformedError(f"a zip directory of {size_bytes} bytes claims {entries} members")
    directory = source.read(offset, size_bytes)
    members: dict[str, Member] = {}
    seen: set[bytes] = set()
    at = 0
    for _ in range(entries):
        if at + _ENTRY.size > size_bytes:
            raise MalformedError("a zip directory ends early")
        magic, flags, method, stored, raw, *lengths, header_offset = _ENTRY.unpack_from(directory, at)
        at += _ENTRY.size
        end = at + sum(lengths)
        if magic != _ENTRY_MAGIC or end > size_bytes or lengths[0] > MAX_NAME_CHARS:
            raise MalformedError("a zip directory holds something else")
        name = directory[at : at + lengths[0]]
        if name in seen:
            raise MalformedError("a zip names a member twice")
        seen.add(name)
        extra = directory[at + lengths[0] : at + lengths[0] + lengths[1]]
        raw, stored, header_offset = _widen(extra, (raw, stored, header_offset))
        if method == _STORED and not flags & _ENCRYPTED and stored == raw:
            text = name.decode("utf-8", "replace")
            members[text] = Member(text, header_offset, raw)
        at = end
    return members


def locate_member(source: Source, member: Member) -> int:
    """The offset of a member's first byte: after its local header, whose length only the header itself tells.

    Raises:
        MalformedError: there is no such header, or the content would leave the file.
    """
    magic, name_bytes, extra_bytes = _LOCAL.unpack(source.read(member.header_offset, _LOCAL.size))
    offset = member.header_offset + _LOCAL.size + int(name_bytes) + int(extra_bytes)
    if magic != ZIP_MAGIC or offset + member.size_bytes > source.size_bytes:
        raise MalformedError(f"zip member {member.name!r} is not where the directory says")
    return offset


def _find_directory(source: Source) -> tuple[int, int, int]:
    """The central directory's number of entries, size in bytes and offset."""
    shortest = _END64_LOCATOR.size + _END.size
    tail, at = _read_tail(source, shortest)
    if at < 0:  # hardly any archive has a comment, and looking for one may read into the last tensor
        tail, at = _read_tail(source, shortest + _MAX_COMMENT_BYTES)
    if at < 0:
        raise MalformedError("a zip without an end")
    _, here, entries, size_bytes, offset, _ = _END.unpack_from(tail, at)
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and tail.startswith(_END64_LOCATOR_MAGIC, locator):
        _, record = _END64_LOCATOR.unpack_from(tail, locator)
        magic, here, entries, size_bytes, offset = _END64.unpack(source.read(record, _END64.size))
        if magic != _END64_MAGIC:
            raise MalformedError("a zip64 without its record")
    if here != entries:
        raise MalformedError("a zip over several disks")
    return entries, size_bytes, offset


def _read_tail(source: Source, tail_bytes: int) -> tuple[bytes, int]:
    """The last bytes of the file, and where in them the end record begins; -1 if it does not."""
    tail_bytes = min(source.size_bytes, tail_bytes)
    tail = source.read(source.size_bytes - tail_bytes, tail_bytes)
    at = tail.rfind(_END_MAGIC)
    while at >= 0:
        # The comment may contain the signature; only the real record's comment ends where the file does.
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[5] == len(tail):
            break
        at = tail.rfind(_END_MAGIC, 0, at)
    return tail, at


def _widen(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Replace each value that is "full" by its 64-bit field, which stand in this order, only those needed."""
    if _FULL32 not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == _ZIP64_FIELD:
            needed = values.count(_FULL32)
            if size < 8 * needed or at + size > len(extra):
                break
            wide = iter(struct.unpack_from(f"<{needed}Q", extra, at))
            raw, stored, offset = (next(wide) if value == _FULL32 else value for value in values)
            return raw, stored, offset
        at += size
    raise MalformedError("a zip64 entry without its sizes")

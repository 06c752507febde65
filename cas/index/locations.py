"""Packs, and where each chunk lies: what a writer asks before it stores anything.

A chunk may lie in several packs; all places are kept, and `find_chunks` answers
with the one in the pack of the least digest. A pack's row carries the generation
in which the pack was known to be there, and a chunk counts as present only if
that is the generation asked for, or a later one. Older means unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from cas.format import Digest, Location, PackEntry
from cas.index.rows import by_raw, insert_new, select_in
from cas.index.schema import chunks, packs

__all__ = ["add_pack", "find_chunks", "has_pack"]

_FIND_PACK = select(packs.c.id, packs.c.generation).where(packs.c.digest == bindparam("digest"))
_ADD_PACK = insert(packs)
_FIND_CHUNKS = """
    SELECT chunks.digest, packs.digest, offset_bytes, stored_bytes, raw_bytes, codec, base
    FROM chunks JOIN packs ON packs.id = chunks.pack
    WHERE packs.generation >= ? AND chunks.digest IN"""


def add_pack(
    connection: Connection, pack: Digest, size_bytes: int, entries: Sequence[PackEntry], generation: int
) -> None:
    """Learn that a pack is there, or that it is still there in a later generation."""
    known = connection.execute(_FIND_PACK, {"digest": pack.raw}).first()
    if known is None:
        connection.execute(_ADD_PACK, {"digest": pack.raw, "size_bytes": size_bytes, "generation": generation})
        known = connection.execute(_FIND_PACK, {"digest": pack.raw}).one()
    elif known.generation < generation:
        connection.execute(update(packs).where(packs.c.id == known.id).values(generation=generation))
    rows = [
        (e.digest.raw, known.id, e.offset, e.stored_bytes, e.raw_bytes, e.codec, e.base.raw if e.base else None)
        for e in sorted(entries, key=lambda entry: entry.offset)  # the first of two copies in one pack is kept
    ]
    insert_new(connection, chunks, rows)


def has_pack(connection: Connection, pack: Digest, generation: int) -> bool:
    """Whether the pack was known to be there in that generation or a later one."""
    known = connection.execute(_FIND_PACK, {"digest": pack.raw}).first()
    return known is not None and known.generation >= generation


def find_chunks(connection: Connection, digests: Iterable[Digest | bytes], generation: int) -> dict[Digest, Location]:
    """The places of those chunks that are known to be present."""
    wanted = by_raw(digests)
    pack_digests: dict[bytes, Digest] = {}
    found: dict[Digest, Location] = {}
    for raw_digest, raw_pack, offset, stored_bytes, raw_bytes, codec, base in select_in(
        connection, _FIND_CHUNKS, wanted, generation
    ):
        digest = wanted[raw_digest]
        pack = pack_digests.get(raw_pack) or pack_digests.setdefault(raw_pack, Digest(raw_pack))
        entry = PackEntry(digest, offset, stored_bytes, raw_bytes, codec, Digest(base) if base else None)
        place = Location(pack, entry)
        if pack < found.setdefault(digest, place).pack:
            found[digest] = place
    return found

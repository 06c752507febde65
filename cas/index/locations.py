"""Packs, and where each chunk lies: what a writer asks before it stores anything.

A chunk may lie in several packs; all places are kept, and `find_chunks` answers
with the one in the pack of the least digest. A pack's row carries the generation
in which the pack was known to be there, and a chunk counts as present only if
that is the generation asked for, or a later one. Older means unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, insert, update

from cas.format import Digest, Location, PackEntry
from cas.index.rows import by_raw, insert_new, select_in
from cas.index.schema import chunks, packs

__all__ = ["PackContents", "add_packs", "find_chunks", "known_packs"]

PackContents = tuple[Digest, int, Sequence[PackEntry]]
"""A pack's id, its size in bytes and its whole table of contents."""

_FIND_PACKS = "SELECT digest, id, generation FROM packs WHERE digest IN"
_STILL_THERE = update(packs).where(packs.c.id == bindparam("known"))
_FIND_CHUNKS = """
    SELECT chunks.digest, packs.digest, offset_bytes, stored_bytes, raw_bytes, codec, base
    FROM chunks JOIN packs ON packs.id = chunks.pack
    WHERE packs.generation >= ? AND chunks.digest IN"""


def add_packs(connection: Connection, found: Sequence[PackContents], generation: int) -> None:
    """Learn that packs are there, or that they are still there in a later generation."""
    sizes = {pack.raw: size_bytes for pack, size_bytes, _ in found}
    known = _find_packs(connection, sizes)
    if new := sorted(sizes.keys() - known.keys()):
        rows = [{"digest": raw, "size_bytes": sizes[raw], "generation": generation} for raw in new]
        connection.execute(insert(packs), rows)
        known |= _find_packs(connection, new)
    if older := [{"known": number} for number, learnt in known.values() if learnt < generation]:
        connection.execute(_STILL_THERE.values(generation=generation), older)
    rows_of_chunks = [
        (
            e.digest.raw,
            known[pack.raw][0],
            e.offset,
            e.stored_bytes,
            e.raw_bytes,
            e.codec,
            e.base.raw if e.base else None,
        )
        for pack, _, entries in found
        for e in sorted(entries, key=lambda entry: entry.offset)  # the first of two copies in one pack is kept
    ]
    insert_new(connection, chunks, rows_of_chunks)


def known_packs(connection: Connection, wanted: Iterable[Digest | bytes], generation: int) -> set[Digest]:
    """Those of the packs that were known to be there in that generation or a later one."""
    digests = by_raw(wanted)
    found = _find_packs(connection, digests)
    return {digests[raw] for raw, (_, learnt) in found.items() if learnt >= generation}


def _find_packs(connection: Connection, raws: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
    """The numbers and generations of those packs that are known."""
    return {raw: (number, generation) for raw, number, generation in select_in(connection, _FIND_PACKS, raws)}


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

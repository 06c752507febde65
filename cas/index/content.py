"""Checkpoints, and which of them to ask for a blob's recipe."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Connection, bindparam, select

from cas.errors import FormatError
from cas.format import EMPTY, Digest, Manifest
from cas.format.digest import DIGEST_BYTES
from cas.index.rows import bounded, by_raw, insert_new, select_in
from cas.index.schema import blobs, checkpoints

__all__ = ["add_checkpoints", "find_blobs", "find_prefix", "known_checkpoints"]

_FIND_CHECKPOINTS = "SELECT hash FROM checkpoints WHERE hash IN"
_FIND_BLOBS = "SELECT digest, checkpoint FROM blobs WHERE digest IN"


def add_checkpoints(connection: Connection, manifests: Iterable[Manifest]) -> None:
    """Learn of checkpoints and their blobs; a blob of several keeps the least checkpoint."""
    rows = []
    owners: dict[Digest, Digest] = {}
    for tree in (manifest.tree for manifest in manifests):
        rows.append((tree.hash.raw, len(tree.files), bounded(tree.size_bytes)))
        for entry in tree.files:
            if entry.blob != EMPTY:
                owners[entry.blob] = min(tree.hash, owners.get(entry.blob, tree.hash))
    insert_new(connection, checkpoints, rows)
    known = find_blobs(connection, owners)
    insert_new(connection, blobs, [(blob.raw, owner.raw) for blob, owner in owners.items() if blob not in known])
    if smaller := sorted(blob for blob, owner in known.items() if owners[blob] < owner):
        change = blobs.update().where(blobs.c.digest == bindparam("blob")).values(checkpoint=bindparam("owner"))
        connection.execute(change, [{"blob": blob.raw, "owner": owners[blob].raw} for blob in smaller])


def known_checkpoints(connection: Connection, wanted: Iterable[Digest | bytes]) -> set[Digest]:
    """Those of the checkpoints that are known."""
    digests = by_raw(wanted)
    return {digests[raw] for (raw,) in select_in(connection, _FIND_CHECKPOINTS, digests)}


def find_blobs(connection: Connection, digests: Iterable[Digest | bytes]) -> dict[Digest, Digest]:
    """For each known blob a checkpoint whose manifest has its recipe."""
    wanted = by_raw(digests)
    rows = select_in(connection, _FIND_BLOBS, wanted)
    return {wanted[blob]: Digest(checkpoint) for blob, checkpoint in rows}


def find_prefix(connection: Connection, key: Column[bytes], prefix: str) -> list[Digest]:
    """The digests in a column that begin so, in order.

    Raises:
        FormatError: ``prefix`` is not 1 to 64 lowercase hexadecimal digits.
    """
    digits = 2 * DIGEST_BYTES
    if not 1 <= len(prefix) <= digits or not set(prefix) <= set("0123456789abcdef"):
        raise FormatError(f"{prefix!r} cannot begin a hash: it needs 1 to {digits} lowercase hexadecimal digits")
    least, most = (bytes.fromhex(prefix.ljust(digits, fill)) for fill in "0f")
    rows = connection.execute(select(key).where(key.between(least, most)).order_by(key))
    return [Digest(raw) for (raw,) in rows]

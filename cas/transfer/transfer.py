"""Transfer: bring one checkpoint, and what was said about it, from one store to another.

Only chunks that the target lacks move, as they are encoded. Every one is decoded
and held to its digest before the target refers to it. Leaves before roots, as in
any write: packs, manifest, commit, ref.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cas.format import Digest, Manifest
from cas.progress import SILENT, Progress
from cas.repository import Repository, Revision

__all__ = ["Moved", "transfer"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transfer came to.

    Attributes:
        checkpoint: the hash of the content.
        commit: the commit that came with it, or None for a bare checkpoint hash.
        ref: the ref that points at it in the target now, or None.
        logical_bytes: what a plain copy would have moved.
        moved_bytes: encoded bytes of the chunks that the target lacked.
    """

    checkpoint: Digest
    commit: Digest | None
    ref: str | None
    logical_bytes: int
    moved_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "hash": str(self.checkpoint),
            "commit": str(self.commit) if self.commit else None,
            "ref": self.ref,
            "logical_bytes": self.logical_bytes,
            "moved_bytes": self.moved_bytes,
        }


def transfer(source: Repository, target: Repository, what: Revision, progress: Progress = SILENT) -> Moved:
    """Bring ``what`` from ``source`` into ``target``.

    Args:
        source: where it is.
        target: where it shall be.
        what: a revision that ``source`` resolved. A ref's name comes along; a commit
            comes without its ancestors; a bare checkpoint gets a commit of its own.
        progress: told of encoded bytes as they arrive.

    Raises:
        CorruptError: ``source`` has bytes that are not what was written; nothing refers to them.
    """
    manifest = source.reader.manifest(what.checkpoint)
    moved_bytes = _move_content(source, target, manifest, progress)
    if what.commit is None:
        commit, ref = target.commit(what.checkpoint)
    else:
        commit, ref = target.adopt(what.commit, what.ref)
    return Moved(what.checkpoint, commit.id, ref, manifest.tree.size_bytes, moved_bytes)


def _move_content(source: Repository, target: Repository, manifest: Manifest, progress: Progress) -> int:
    writer = target.writer()
    known = target.index.find_chunks(manifest.locations, writer.generation)
    # A chunk counts as known only with its bases: a difference without its base is not readable.
    missing = [location for digest, location in manifest.locations.items() if digest not in known]
    missing.sort(key=lambda location: (location.pack, location.entry.offset))
    progress.begin("transfer", sum(location.entry.stored_bytes for location in missing))
    try:
        for location, encoded in source.reader.read_encoded(manifest, missing):
            writer.add_encoded(location.entry, encoded)
            progress.advance(location.entry.raw_bytes, len(encoded))
    finally:
        progress.end()
    arrived = {location.entry.digest: location for location in writer.finish_packs()}
    locations = [arrived.get(digest) or known[digest] for digest in manifest.locations]
    writer.publish(Manifest.of(manifest.tree, manifest.recipes.values(), locations))
    return sum(location.entry.stored_bytes for location in missing)

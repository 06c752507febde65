"""Transfer: bring one revision, and what was said about it, from one store to another.

Leaves before roots, as in any write: packs, manifest, commit, ref. A ref moves only
to where its own commit leads, unless the caller forces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cas.format import Commit, Digest
from cas.progress import SILENT, Progress
from cas.repository import Repository, Revision
from cas.repository.refs import detached_name
from cas.transfer.content import ContentMover
from cas.transfer.tips import Tips

__all__ = ["Moved", "transfer"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transfer came to.

    Attributes:
        checkpoint: the hash of the content.
        commit: the commit that stands for it in the target.
        ref: the ref that points at it in the target, or None for a bare checkpoint that was there.
        logical_bytes: what a plain copy would have moved.
        new_bytes: raw bytes of the chunks that the target lacked.
        moved_bytes: the same chunks as they are encoded.
    """

    checkpoint: Digest
    commit: Digest
    ref: str | None
    logical_bytes: int
    new_bytes: int
    moved_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "hash": str(self.checkpoint),
            "commit": str(self.commit),
            "ref": self.ref,
            "logical_bytes": self.logical_bytes,
            "new_bytes": self.new_bytes,
            "moved_bytes": self.moved_bytes,
        }


def transfer(
    source: Repository, target: Repository, what: Revision, *, force: bool = False, progress: Progress = SILENT
) -> Moved:
    """Bring ``what`` from ``source`` into ``target``.

    Args:
        source: where it is.
        target: where it shall be.
        what: a revision that ``source`` resolved. A ref's name comes along; a commit comes without its
            ancestors, and without a name gets a ref of its own; a bare checkpoint gets a commit, unless
            a ref of the target leads to one of it.
        force: move a ref that points elsewhere in the target.
        progress: told of raw bytes as they are done, and of encoded bytes as they arrive.

    Raises:
        ConflictError: the ref points at another history in the target, and ``force`` is not set; or
            somebody moved it meanwhile.
        CorruptError: ``source`` has bytes that are not what was written; nothing refers to them.
        RefusedError: ``target`` is read-only or cannot hold refs.
    """
    tips = Tips(target)
    name = what.ref or (detached_name(what.commit.id) if what.commit else None)
    if what.commit is not None and name is not None and not force:
        tips.refuse_diverged(source, [(name, what.commit.id)])
    logical_bytes = source.reader.manifest(what.checkpoint).tree.size_bytes
    mover = ContentMover(source, target, progress)
    there = _find_commit(target, what, tips)
    progress.begin("transfer", logical_bytes)
    try:
        if there is None:
            mover.bring(what.checkpoint)
            mover.settle()
        else:
            progress.advance(logical_bytes)
    finally:
        progress.end()
    if what.commit is None:
        commit, name = (there, None) if there else target.commit(what.checkpoint)
    else:
        commit, name = what.commit, name or detached_name(what.commit.id)
        if there is None:
            target.add_commit(commit)
        if tips.find(name) != commit.id:
            tips.move(name, commit.id)
    return Moved(what.checkpoint, commit.id, name, logical_bytes, mover.new_bytes, mover.moved_bytes)


def _find_commit(target: Repository, what: Revision, tips: Tips) -> Commit | None:
    """The commit of ``what``, or of a bare checkpoint any one, if refs of the target lead to it."""
    if what.commit is not None:
        return what.commit if tips.has(what.commit.id) else None
    return next((one for one in target.index.commits_of(what.checkpoint) if tips.has(one.id)), None)

"""Mirror: bring all refs of one store, and everything they lead to, into another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cas.errors import NotFoundError
from cas.format import Commit, Digest
from cas.progress import SILENT, Progress
from cas.repository import Repository
from cas.transfer.content import ContentMover
from cas.transfer.history import missing_history
from cas.transfer.tips import Tips

__all__ = ["Mirrored", "mirror"]

_REF_READERS = 16  # a record is a few hundred bytes: its request is all waiting


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirroring came to.

    Attributes:
        refs: how many refs the source has, those of commits that nobody named included.
        moved_refs: how many of them were made or moved in the target.
        commits: how many commits were brought.
        logical_bytes: what plain copies of those commits' checkpoints would have moved.
        new_bytes: raw bytes of the chunks that the target lacked.
        moved_bytes: the same chunks as they are encoded.
    """

    refs: int
    moved_refs: int
    commits: int
    logical_bytes: int
    new_bytes: int
    moved_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "refs": self.refs,
            "moved_refs": self.moved_refs,
            "commits": self.commits,
            "logical_bytes": self.logical_bytes,
            "new_bytes": self.new_bytes,
            "moved_bytes": self.moved_bytes,
        }


def mirror(source: Repository, target: Repository, *, force: bool = False, progress: Progress = SILENT) -> Mirrored:
    """Bring every live ref of ``source``, its commits as far as they go, and their content into ``target``.

    What the target has besides stays, its refs included. Run again, it moves only what is new since.

    Args:
        source: where everything is.
        target: where it shall be.
        force: move refs that point at another history in the target.
        progress: told of raw bytes as they are done, and of encoded bytes as they arrive.

    Raises:
        ConflictError: a ref points at another history in the target, and ``force`` is not set; nothing
            was moved. Or somebody moved one meanwhile; run it again.
        CorruptError: ``source`` has bytes that are not what was written; nothing refers to them.
        RefusedError: ``target`` is read-only or cannot hold refs.
    """
    tips = Tips(target)
    refs = list(_live_refs(source))
    moves = [(name, commit) for name, commit in refs if tips.find(name) != commit]
    if not force:
        tips.refuse_diverged(source, moves)
    mover = ContentMover(source, target, progress)
    commits = 0
    progress.begin("mirror", None)
    try:
        for part in _parts(source, mover, tips, moves):
            mover.settle()
            for one in part.commits:
                target.add_commit(one)
            for name, commit in part.moves:
                tips.move(name, commit)
            commits += len(part.commits)
    finally:
        progress.end()
    return Mirrored(len(refs), len(moves), commits, mover.logical_bytes, mover.new_bytes, mover.moved_bytes)


@dataclass(frozen=True, slots=True)
class _Part:
    """Commits whose content is on its way together, and the refs that may move once they are there."""

    commits: list[Commit]
    moves: list[tuple[str, Digest]]


def _parts(source: Repository, mover: ContentMover, tips: Tips, moves: list[tuple[str, Digest]]) -> Iterator[_Part]:
    """Send content, oldest first, and stop whenever there is enough to make something of it."""
    reached, lacking = tips.reached
    have = reached - {commit for _, commit in moves if not tips.has(commit)}
    part = _Part([], [])
    # First what an earlier transfer of single commits has left out of the history.
    for name, tip in [*((None, commit) for commit in sorted(lacking)), *moves]:
        for commit in missing_history(source, tip, have):
            try:
                enough = mover.bring(commit.checkpoint)
            except NotFoundError:
                continue  # a commit without content: what remains of an ancestor, or damage to a tip
            have.add(commit.id)
            part.commits.append(commit)
            if enough:
                yield part
                part = _Part([], [])
        if name is None:
            continue
        if tip not in have:
            raise NotFoundError(f"ref {name!r} of {source.url} points at {tip}, which is not there; see `cas fsck`")
        part.moves.append((name, tip))
    yield part


def _live_refs(source: Repository) -> Iterator[tuple[str, Digest]]:
    """All refs that are not deleted, by the store alone: a source may be one that has no index here."""
    heads = list(source.refs.heads())
    with ThreadPoolExecutor(_REF_READERS, thread_name_prefix="cas-refs") as pool:
        for record in pool.map(lambda head: source.refs.read(*head), heads):
            if record.commit is not None:
                yield record.name, record.commit

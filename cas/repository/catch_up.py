"""Catching up: the index learns what its store has come to hold, and reads no more than that.

What an index knows of history is closed, so that keys alone tell whether it lacks any:

- Of a ref that it knows at number n, it knows all commits to which the records 1 to n lead.
- Of a commit that it knows, it knows all ancestors that the store had then.

Records are taken in order and in groups. What a group leads to becomes known together
with it, in one transaction, so that a process may die anywhere. A commit to which no
record leads has lost a race for its ref; it is no part of history, and never known.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from cas.format import Commit, Digest
from cas.repository.ahead import in_batches
from cas.repository.keys import MANIFESTS, PACKS, object_key
from cas.repository.leases import current_generation
from cas.repository.reader import Reader
from cas.repository.rebuild import ROWS_AT_ONCE, read_toc
from cas.repository.refs import Refs
from cas.repository.walk import iter_history
from cas.repository.whole import WholeObjects
from cas.storage.base import Storage

if TYPE_CHECKING:
    from cas.index import Index

__all__ = ["CatchUp"]

_RECORDS = 256  # of one group
_CHECKPOINTS = 16  # whose manifests are in memory together


class CatchUp:
    """Brings one index up to what its store says. What is damaged is left out; `cas fsck` names it."""

    def __init__(
        self, storage: Storage, index: Index, reader: Reader, refs: Refs, written: MutableMapping[Digest, Commit]
    ) -> None:
        """Bring ``index`` up to ``storage``.

        Args:
            storage, index, reader, refs: of one store.
            written: commits that this session wrote and the index has not heard of: they are not read
                again, and are taken out once the index knows them.
        """
        self._storage, self._index, self._reader, self._refs = storage, index, reader, refs
        self._written = written
        self._whole = WholeObjects(storage)

    def all_refs(self) -> int:
        """Learn what others have written; how many refs had moved."""
        known = self._index.ref_sequences()
        moves = [(name, number) for name, number in self._refs.records() if known.get(name, 0) < number]
        self._learn_moves(moves)
        return len({name for name, _ in moves})

    def one_ref(self, name: str) -> None:
        """Learn what one ref leads to."""
        known = self._index.ref_sequence(name)
        self._learn_moves([(one, number) for one, number in self._refs.records(name) if one == name and known < number])

    def _learn_moves(self, moves: list[tuple[str, int]]) -> None:
        for group in in_batches(moves, _RECORDS):
            records = list(
                self._whole.read(lambda move: self._refs.read(*move), group, lambda move: self._refs.key(*move))
            )
            commits = self._commits([record.commit for record in records if record.commit is not None])
            with self._index.transaction():
                self._index.add_commits(commits)
                self._index.set_refs(records)
            self._forget(commits)

    def ancestors(self, tip: Digest) -> None:
        """Learn of a commit that the index knows children of, and of what it leads to."""
        commits = self._commits([tip])
        self._index.add_commits(commits)
        self._forget(commits)

    def _forget(self, commits: list[Commit]) -> None:
        for commit in commits:
            self._written.pop(commit.id, None)

    def _commits(self, tips: list[Digest]) -> list[Commit]:
        """The commits that ``tips`` lead to and the index lacks; it knows their content on return."""
        commits = list(iter_history(self._whole, self._reader, tips, self._index.known_commits, self._written))
        written = {commit.checkpoint for commit in commits if commit.id in self._written}
        # Those are mostly known; of others' commits the packs may be new though the checkpoint is not.
        wanted = {commit.checkpoint for commit in commits if commit.id not in self._written}
        self._learn_content(wanted | (written - self._index.known_checkpoints(written)))
        return commits

    def _learn_content(self, checkpoints: set[Digest]) -> None:
        if not checkpoints:
            return
        generation = current_generation(self._storage)
        manifests = self._whole.read(
            self._reader.manifest, sorted(checkpoints), lambda checkpoint: object_key(MANIFESTS, checkpoint)
        )
        for some in in_batches(manifests, _CHECKPOINTS):
            packs = {location.pack for manifest in some for location in manifest.locations.values()}
            contents = self._whole.read(
                lambda pack: (pack, *read_toc(self._storage, pack)),
                sorted(packs - self._index.known_packs(packs)),
                lambda pack: object_key(PACKS, pack),
            )
            for found in in_batches(contents, ROWS_AT_ONCE, lambda pack: len(pack[2])):
                self._index.add_packs(found, generation)
            self._index.add_checkpoints(some)

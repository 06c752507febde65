"""Tips: where the target's refs point, and whether they may be moved to where the source's do."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from cas.errors import ConflictError, NotFoundError, RefusedError
from cas.format import Commit, Digest
from cas.repository import Repository
from cas.transfer.history import is_ancestor, reachable

__all__ = ["Tips"]

_NAMED = 3  # of many refs that diverged, so many are named


class Tips:
    """The refs of a target as they were when this was made, by one listing."""

    def __init__(self, target: Repository) -> None:
        """Look at the refs of ``target``.

        Raises:
            RefusedError: it cannot hold refs, so nothing should be moved there.
        """
        if not target.storage.exclusive_create:
            raise RefusedError(
                f"{target.url} takes no refs: it is read-only, or cannot create exclusively (see `cas doctor`);\n"
                "give the URL of a store that can"
            )
        target.catch_up()
        self._target = target
        self._commits = target.index.refs()
        self._sequences = target.index.ref_sequences()

    @cached_property
    def reached(self) -> tuple[set[Digest], set[Digest]]:
        """The commits that the refs lead to as far as the target's index knows, and those at which it ends."""
        return reachable(self._target.index.find_commit, self._commits.values())

    def has(self, commit: Digest) -> bool:
        """Whether the target has a commit, and its content, for certain: a ref may be pointed at it."""
        if commit in self._commits.values():
            return True
        if commit not in self.reached[0]:
            return False
        # An index may remember what a gc elsewhere has taken.
        try:
            self._target.reader.commit(commit)
        except NotFoundError:
            return False
        return True

    def find(self, name: str) -> Digest | None:
        """The commit that a ref points at, or None."""
        return self._commits.get(name)

    def refuse_diverged(self, source: Repository, moves: Iterable[tuple[str, Digest]]) -> None:
        """Make sure that every move takes a ref to a commit that came from where it points now.

        Raises:
            ConflictError: one does not; the message names it.
        """

        def find(commit: Digest) -> Commit | None:
            if (known := self._target.index.find_commit(commit)) is not None:
                return known
            try:
                return source.reader.commit(commit)
            except NotFoundError:
                return None

        diverged = []
        for name, commit in moves:
            tip = self.find(name)
            if tip is not None and not is_ancestor(find, tip, commit):
                diverged.append((name, tip, commit))
        if diverged:
            shown = "; ".join(f"{name!r} is at {tip}, not an ancestor of {new}" for name, tip, new in diverged[:_NAMED])
            more = f"; and {len(diverged) - _NAMED} more" if len(diverged) > _NAMED else ""
            raise ConflictError(
                f"refs of {self._target.url} have gone another way: {shown}{more}.\n"
                "Nothing was moved; bring theirs here first, or give --force (force=True) to move them"
            )

    def move(self, name: str, commit: Digest) -> None:
        """Point a ref at a commit that is in the target.

        Raises:
            ConflictError: somebody moved it since this was made.
        """
        self._target.advance(name, commit, self._sequences.get(name, 0))

"""Histories: which commits a store has for certain, which another lacks, and what follows what."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cas.errors import NotFoundError
from cas.format import Commit, Digest
from cas.repository import Repository

__all__ = ["is_ancestor", "missing_history", "reachable"]

FindCommit = Callable[[Digest], Commit | None]
"""The commit of an id, or None where a history ends because nobody brought it here."""


def reachable(find: FindCommit, tips: Iterable[Digest]) -> tuple[set[Digest], set[Digest]]:
    """The commits that ``tips`` lead to, themselves included, and the parents of theirs that are not to be found."""
    found: set[Digest] = set()
    lacking: set[Digest] = set()
    waiting = list(tips)
    while waiting:
        one = waiting.pop()
        if one in found or one in lacking:
            continue
        if (commit := find(one)) is None:
            lacking.add(one)
        else:
            found.add(one)
            waiting += commit.parents
    return found, lacking


def missing_history(source: Repository, tip: Digest, have: set[Digest]) -> list[Commit]:
    """The commits that ``tip`` leads to and ``have`` lacks, each after its parents, as far as ``source`` has them."""
    ordered: list[Commit] = []
    seen: set[Digest] = set()
    waiting: list[Digest | Commit] = [tip]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Commit):  # all its parents were seen to
            ordered.append(one)
        elif one not in have and one not in seen:
            seen.add(one)
            try:
                commit = source.reader.commit(one)
            except NotFoundError:
                continue  # history that was never brought to the source
            waiting.append(commit)
            waiting += reversed(commit.parents)
    return ordered


def is_ancestor(find: FindCommit, old: Digest, new: Digest) -> bool:
    """Whether ``old`` is ``new`` or one of the commits that it came from."""
    seen: set[Digest] = set()
    waiting = [new]
    while waiting:
        one = waiting.pop()
        if one == old:
            return True
        if one not in seen and (commit := find(one)) is not None:
            seen.add(one)
            waiting += commit.parents
    return False

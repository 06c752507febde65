"""Walking history: the commits that some commits lead to, by reading no more than is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from cas.format import Commit, Digest
from cas.repository.keys import COMMITS, object_key
from cas.repository.reader import Reader
from cas.repository.whole import WholeObjects

__all__ = ["iter_history"]


def iter_history(
    whole: WholeObjects,
    reader: Reader,
    tips: Iterable[Digest],
    known: Callable[[set[Digest]], set[Digest]] = lambda _: set(),
    written: Mapping[Digest, Commit] | None = None,
) -> Iterator[Commit]:
    """The commits that ``tips`` lead to, themselves included, each once, in no order.

    A parent that the store lacks ends the history there: a push moves commits without their ancestors.

    Args:
        whole: leaves out what is damaged, and tips that do not exist.
        reader: reads commits.
        tips: where to begin.
        known: says which of some commits are of no interest, nor what they lead to.
        written: commits that need not be read.
    """
    at_hand = written or {}
    seen: set[Digest] = set()
    level = set(tips)
    while level:
        wanted = level - known(level)
        read = whole.read(reader.commit, sorted(wanted - at_hand.keys()), _key, all_there=not seen)
        seen |= level
        level = set()
        for commit in chain((at_hand[one] for one in wanted & at_hand.keys()), read):
            level.update(commit.parents)
            yield commit
        level -= seen


def _key(commit: Digest) -> str:
    return object_key(COMMITS, commit)

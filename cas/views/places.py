"""Where a path of ``cas://`` leads: which REV it begins with, and what follows.

The REV is the longest beginning that is one. If the first component is 8 to 64 hexadecimal digits it is a hash or
the beginning of one, whatever refs there are; else it is the longest beginning that is a ref; ``~n`` may follow
either. So a file that a longer ref hides is reached behind ``~0``: where ``main`` and ``main/new`` are refs,
``main/new/x`` is ``x`` of ``main/new`` and ``main~0/new/x`` is ``new/x`` of ``main``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cas.errors import FormatError, NotFoundError
from cas.format import Digest
from cas.format.paths import check_path
from cas.repository import DETACHED, Repository

__all__ = ["Place", "Places"]

_HASH = re.compile(r"[0-9a-f]{8,64}(~[0-9]*)*")
_REV = re.compile(r"(?P<name>[^~]+)(?P<back>(~[0-9]*)*)")


@dataclass(frozen=True, slots=True)
class Place:
    """A path that leads into a checkpoint.

    Attributes:
        checkpoint: its hash.
        rev: what named it.
        inner: the rest, a path in the checkpoint; empty for its root.
    """

    checkpoint: Digest
    rev: str
    inner: str


class Places:
    """Finds places. A ref that was looked at once keeps its meaning for as long as this lives."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._heads: dict[str, dict[str, int]] = {}
        self._checkpoints: dict[str, Digest | None] = {}

    def find(self, path: str) -> Place:
        """The place that ``path`` leads to, whether or not there is something inside of the checkpoint.

        Raises:
            NotFoundError: it begins with no REV.
            FormatError: it begins with a hash's beginning that is another's too.
        """
        parts = [part for part in path.split("/") if part]
        for count in range(len(parts), 0, -1):
            rev = "/".join(parts[:count])
            if (checkpoint := self._checkpoint(rev)) is not None:
                return Place(checkpoint, rev, "/".join(parts[count:]))
        raise NotFoundError(f"cas://{path} does not begin with a hash or ref of {self._repository.url}; see `cas refs`")

    def refs_below(self, prefix: str) -> set[str]:
        """The refs, with names of their own, that are below a prefix, or all of them where it is empty."""
        if prefix and not _is_path(prefix):
            return set()
        return {
            name
            for name, sequence in self._repository.refs.heads(prefix)
            if name.partition("/")[0] != DETACHED
            and name != prefix
            and self._repository.refs.read(name, sequence).commit is not None
        }

    def _checkpoint(self, rev: str) -> Digest | None:
        if rev not in self._checkpoints:
            self._checkpoints[rev] = self._read(rev)
        return self._checkpoints[rev]

    def _read(self, rev: str) -> Digest | None:
        first = rev.partition("/")[0]
        if _HASH.fullmatch(first):
            return self._repository.resolve(rev).checkpoint if rev == first else None
        match = _REV.fullmatch(rev)
        if match is None or match["name"] not in (heads := self._heads_of(first.partition("~")[0])):
            return None
        commit = self._repository.refs.read(match["name"], heads[match["name"]]).commit
        if commit is None:
            return None
        return self._repository.resolve(f"{commit}{match['back']}").checkpoint

    def _heads_of(self, first: str) -> dict[str, int]:
        """All refs whose first component is ``first``, by one listing."""
        if first not in self._heads:
            self._heads[first] = dict(self._repository.refs.heads(first)) if _is_path(first) else {}
        return self._heads[first]


def _is_path(text: str) -> bool:
    try:
        check_path(text)
    except FormatError:
        return False
    return True

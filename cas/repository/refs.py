"""Refs in a store: read the highest record, append the next one.

Whoever creates record n+1 first has moved the ref; the others are told so. Needs
a storage whose exclusive create is real.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cas.clock import now_us
from cas.errors import ConflictError, NotFoundError, RefusedError
from cas.format import Digest, RefRecord
from cas.format.paths import check_path
from cas.format.ref import check_ref_name, sequence_of
from cas.repository.keys import REFS
from cas.storage.base import Storage

__all__ = ["DETACHED", "Refs", "detached_name"]

DETACHED = "detached"


def detached_name(commit: Digest) -> str:
    """The ref that keeps a commit nobody named: it is a root all the same."""
    return f"{DETACHED}/{commit}"


class Refs:
    """The refs of one store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def find(self, name: str) -> RefRecord | None:
        """The record that holds now (it may say that the ref was deleted), or None."""
        check_ref_name(name)
        last = 0
        prefix = f"{REFS}/{name}/"
        for info in self._storage.list(prefix):
            last = max(last, sequence_of(info.key[len(prefix) :]) or 0)
        return self._read(name, last) if last else None

    def heads(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Every ref under ``prefix`` with its highest sequence, by keys alone, deleted ones included."""
        if prefix:
            check_path(prefix)
        last: dict[str, int] = {}
        for name, sequence in self.records(prefix):
            last[name] = max(last.get(name, 0), sequence)
        yield from sorted(last.items())

    def records(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """The number of every record of every ref under ``prefix``, by keys alone, each ref's in their order."""
        for info in self._storage.list(f"{REFS}/{prefix}/" if prefix else f"{REFS}/"):
            name, _, tail = info.key[len(REFS) + 1 :].rpartition("/")
            if (sequence := sequence_of(tail)) is not None:
                yield name, sequence

    def read(self, name: str, sequence: int) -> RefRecord:
        """One record of a ref. NotFoundError if there is none of that number."""
        return self._read(name, sequence)

    def has(self, name: str, sequence: int) -> bool:
        """Whether a ref has a record of that number."""
        try:
            self._read(name, sequence)
        except NotFoundError:
            return False
        return True

    def advance(self, name: str, commit: Digest | None, after: int) -> RefRecord:
        """Point ``name`` at ``commit`` (None deletes it) by creating record ``after + 1``.

        Raises:
            ConflictError: somebody else has moved the ref; look again.
            RefusedError: the storage cannot promise a single winner.
        """
        if not self._storage.exclusive_create:
            raise RefusedError(
                f"{self._storage.url} cannot create exclusively, so names in it could be lost; "
                "see `cas doctor` and use a store that can"
            )
        record = RefRecord(name, after + 1, commit, os.urandom(16), now_us())
        try:
            self._storage.create(record.key, [record.encode()])
        except ConflictError as error:
            raise ConflictError(f"ref {name!r} was moved by somebody else meanwhile; look at it and retry") from error
        return record

    @staticmethod
    def key(name: str, sequence: int) -> str:
        """Where a record lies."""
        return f"{REFS}/{name}/{sequence:016d}"

    def _read(self, name: str, sequence: int) -> RefRecord:
        key = self.key(name, sequence)
        return RefRecord.decode(self._storage.read(key), key)

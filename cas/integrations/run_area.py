"""The area of a run: small files that an experiment rewrites, and which checkpoint each of its paths stands for.

It is a storage of its own, beside the store. A plain file of the experiment lies there under its name. Of a
checkpoint directory only records lie there, in a folder of its name:

    part-<time>-<token>   the hash of a tree that some process stored for this path
    commit                which commit was made of which parts
    deleted               the experiment has deleted the path

A path is what its parts hold together, a later one over an earlier one: so several processes can
store parts of one checkpoint, a path can be bound again, and nothing in the store ever changes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from cas.clock import now_us
from cas.errors import CorruptError, NotFoundError, RefusedError
from cas.format import Buffer, Digest
from cas.storage import ObjectInfo, Storage

__all__ = ["Binding", "RunArea", "Sealed", "area_url", "is_binding", "split_path"]

_CHECKPOINT = re.compile(r"checkpoint_(?!.*\.json$)[^/]+")
_SPECIAL = re.compile(r"^\.|[%\x00-\x1f\x7f\\?*:\[\]]")
_PART, _COMMIT, _DELETED = "part-", "commit", "deleted"


def area_url(store_url: str) -> str:
    """Where a store's runs lie by default: beside it, under its name with ``.runs``.

    Raises:
        RefusedError: the store is a whole bucket, beside which there is nothing.
    """
    scheme, separator, rest = store_url.rstrip("/").rpartition("://")
    if scheme not in ("", "memory") and "/" not in rest:
        raise RefusedError(f"{store_url} is a whole bucket: say where the run's own files go, by area=URL")
    return f"{scheme}{separator}{rest}.runs"


def split_path(path: str) -> tuple[str, str | None]:
    """A path's checkpoint directory and what follows it; ``path`` itself and None if it is in none.

    A checkpoint directory is the first component that begins with ``checkpoint_`` and does not end in ``.json``:
    so Tune and Train name them, and a file of Train's own begins the same way.
    """
    parts = path.strip("/").split("/")
    for at, part in enumerate(parts):
        if _CHECKPOINT.fullmatch(part):
            return "/".join(parts[: at + 1]), "/".join(parts[at + 1 :])
    return "/".join(parts), None


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was committed under a path.

    Attributes:
        commit: the commit's id.
        checkpoint: the hash of what it is of.
        parts: the names of the records that it was made of.
    """

    commit: Digest
    checkpoint: Digest
    parts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a checkpoint directory stands for.

    Attributes:
        parts: tree hashes by the names of their records, oldest first.
        sealed: the last commit of it, or None.
        deleted: whether the experiment deleted the path, so that listings leave it out.
    """

    parts: dict[str, Digest]
    sealed: Sealed | None
    deleted: bool

    @property
    def is_committed(self) -> bool:
        """Whether the last commit is of exactly what the path stands for."""
        return self.sealed is not None and self.sealed.parts == self.parts.keys()


class RunArea:
    """Plain files and bindings in one storage. Methods may be called from any thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._part = lru_cache(1024)(self._read_part)

    def close(self) -> None:
        """Give back connections."""
        self._storage.close()

    # -- plain files

    def read(self, path: str) -> bytes:
        """A file's content. NotFoundError if there is none."""
        return self._storage.read(_key(path))

    def write(self, path: str, data: Buffer) -> None:
        """Make or replace a file; readers see the old or the new."""
        self._storage.replace(_key(path), [data])

    def find_size(self, path: str) -> int | None:
        """A file's size, or None if there is none."""
        try:
            return self._storage.read_tail(_key(path), 1)[1]
        except NotFoundError:
            return None

    def has_below(self, path: str) -> bool:
        """Whether there is anything below a path."""
        return next(iter(self._storage.list(_prefix(path))), None) is not None

    def list(self, path: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Everything below a path, records included, with paths relative to it."""
        prefix = _prefix(path)
        for info in self._storage.list(prefix):
            yield unquote(info.key[len(prefix) :]), info

    def delete(self, path: str) -> None:
        """Delete a file, if there is one."""
        self._storage.delete(_key(path))

    def delete_below(self, path: str) -> None:
        """Delete everything below a path, bindings included. Commits stay."""
        for info in list(self._storage.list(_prefix(path))):
            self._storage.delete(info.key)

    # -- bindings

    def binding(self, checkpoint: str) -> Binding:
        """What a checkpoint directory stands for; without parts, nothing."""
        prefix = _prefix(checkpoint)
        names = sorted(info.key[len(prefix) :] for info in self._storage.list(prefix))
        return Binding(
            {name: self._part(prefix + name) for name in names if name.startswith(_PART)},
            self._read_sealed(prefix + _COMMIT) if _COMMIT in names else None,
            _DELETED in names,
        )

    def bind(self, checkpoint: str, tree: Digest, *, anew: bool) -> None:
        """Put a tree over what a checkpoint directory stands for.

        Args:
            checkpoint: the directory's path.
            tree: what was stored.
            anew: it is uploaded again, so what was committed of it before is not part of it any more.
        """
        prefix = _prefix(checkpoint)
        if anew:
            before = self.binding(checkpoint)
            # Only what a commit names: other processes may be storing their parts of the new one right now.
            for name in (*(before.sealed.parts if before.sealed else ()), _COMMIT, _DELETED):
                self._storage.delete(prefix + name)
        record = f"{_PART}{now_us():020d}-{os.urandom(4).hex()}"
        self._storage.create(prefix + record, [str(tree).encode()])

    def seal(self, checkpoint: str, sealed: Sealed) -> None:
        """Note that a commit was made of a checkpoint directory."""
        body = {
            "checkpoint": str(sealed.checkpoint),
            "commit": str(sealed.commit),
            "parts": sorted(sealed.parts),
        }
        self._storage.replace(_prefix(checkpoint) + _COMMIT, [json.dumps(body).encode()])

    def mark_deleted(self, checkpoint: str) -> None:
        """Leave a checkpoint directory out of listings. Whoever knows its path can go on reading."""
        self._storage.replace(_prefix(checkpoint) + _DELETED, [b"1"])

    def _read_part(self, key: str) -> Digest:
        return Digest.parse(self._storage.read(key).decode())

    def _read_sealed(self, key: str) -> Sealed | None:
        try:
            data = self._storage.read(key)
        except NotFoundError:  # uploaded again at this moment
            return None
        try:
            body = json.loads(data)
            commit, checkpoint = Digest.parse(body["commit"]), Digest.parse(body["checkpoint"])
            return Sealed(commit, checkpoint, frozenset(body["parts"]))
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptError("the record of a commit", repr(data[:80]), f"{self._storage.url}/{key}") from error


def is_binding(names: set[str]) -> bool:
    """Whether a folder with records of these names is a checkpoint directory that listings show."""
    return _DELETED not in names and any(name.startswith(_PART) for name in names)


def _key(path: str) -> str:
    """The key of a path. Storages refuse some characters that experiments put into names."""
    return "/".join(
        _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", part) for part in path.strip("/").split("/") if part
    )


def _prefix(path: str) -> str:
    key = _key(path)
    return f"{key}/" if key else ""

"""The storage protocol: what a folder, a bucket or a dict must promise to hold a store.

Keys are plain relative POSIX paths (`cas.storage.keys`), never one below
another: where ``a/b`` is used, ``a`` is not. Objects are whole: nobody ever
reads half of one. Why the promises are these: docs/design/004-storage.md. Every
backend passes `cas.testing.storage_conformance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cas.format import Buffer
from cas.storage.upload import Upload

__all__ = ["ObjectInfo", "Storage"]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object.

    Attributes:
        key: its whole key.
        size_bytes: its size.
        modified_us: when it was written, by the store's clock, microseconds since the epoch.
    """

    key: str
    size_bytes: int
    modified_us: int


@runtime_checkable
class Storage(Protocol):
    """Where a store's objects live. Every method may be called from any thread.

    All methods raise StorageError when the disk, network or server fails (``transient``
    tells whether trying again may help), FormatError for a key that is not a plain
    relative path, and RefusedError for what this kind of storage does not offer.
    """

    @property
    def url(self) -> str:
        """What names this storage, without secrets: `cas.storage.open_storage` takes it."""

    @property
    def local_path(self) -> str | None:
        """The folder on this machine that the objects lie in, or None."""

    @property
    def exclusive_create(self) -> bool:
        """Whether `create` lets exactly one of many racing writers win. Where not, refs are refused."""

    def read(self, key: str) -> bytes:
        """The whole object. NotFoundError if there is none."""

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """Exactly those bytes. NotFoundError if there is no object, CorruptError if it ends before them.

        Nothing is allocated for bytes that the object does not have.
        """

    def read_tail(self, key: str, size_bytes: int) -> tuple[bytes, int]:
        """The last ``size_bytes`` bytes (all, if there are fewer) and the object's whole size.

        NotFoundError if there is no object.
        """

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """Write a new object, made of the buffers laid end to end; atomic and durable on return.

        The buffers are C-contiguous and of any item type; they are the caller's again on return.
        After any error the object is either not there or there whole.

        Raises:
            ConflictError: the key is taken; what is there stays as it was.
        """

    def upload(self, near: str) -> Upload:
        """Begin an object whose key is not known yet and will lie below the prefix ``near``; see `Upload`."""

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """Write an object whether or not the key is taken; readers see the old or the new, whole."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix`` (empty, or ending in ``/``), in order of keys.

        Keys are ordered by code point. What is created or deleted while the listing runs may be in it
        or not; all else is. Errors may come at the call or while iterating.
        """

    def delete(self, key: str) -> None:
        """Remove the object, durably; nothing happens if there is none."""

    def sweep(self, before_us: int) -> int:
        """Remove what writers that died left half-written before then, by the store's clock.

        Objects are not touched. A live writer's files must be younger than ``before_us``, or its
        call fails with a StorageError.

        Returns:
            how many leftovers were removed.
        """

    def now_us(self) -> int:
        """The store's own clock: what a new object's ``modified_us`` would be, to within a second.

        Counts as a write: it may need permission to write, and may make a local store's folder.
        """

    def close(self) -> None:
        """Give back connections. The storage is not used afterwards."""

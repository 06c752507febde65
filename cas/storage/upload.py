"""Uploads: objects that are written while they are made, and named when they are whole.

A pack is named by the digest of its bytes, which is known last. On a folder of
this machine the bytes go to the disk as they come, so that little is left to wait
for at the end; elsewhere they are collected, and sent by one `Storage.create`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cas.format import Buffer
from cas.storage.keys import byte_views
from cas.storage.temporary import temporary_file, write_buffers

if TYPE_CHECKING:
    from cas.storage.base import Storage
    from cas.storage.local import LocalStorage

__all__ = ["BufferedUpload", "LocalUpload", "Upload"]

_SYNC_BYTES = 16 << 20


class Upload(Protocol):
    """One object in the making. Used by one thread at a time; ends by `create` or `abort`."""

    def write(self, data: Sequence[Buffer]) -> None:
        """Append the buffers. They must not change until `create` or `abort` returns."""

    def create(self, key: str) -> None:
        """Give the object its name; as `Storage.create`, atomic and durable on return."""

    def abort(self) -> None:
        """Forget it. Also allowed after `create`, when nothing happens."""


class BufferedUpload:
    """An upload that keeps everything until the end."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._data: list[Buffer] = []

    def write(self, data: Sequence[Buffer]) -> None:
        """See `Upload.write`."""
        self._data += data

    def create(self, key: str) -> None:
        """See `Upload.create`."""
        self._storage.create(key, self._data)
        self._data = []

    def abort(self) -> None:
        """See `Upload.abort`."""
        self._data = []


class LocalUpload:
    """An upload into a temporary file, synced every `_SYNC_BYTES`, so that the last sync is short."""

    def __init__(self, storage: LocalStorage, near: str) -> None:
        """Begin a file in the folder ``near``, which must be on the same file system as the object's."""
        self._storage, self._near = storage, near
        self._unsynced_bytes = 0
        self._stack = contextlib.ExitStack()
        with storage.explained("write", near), contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(storage.folders.opened(near, make=True))
            self._name, self._descriptor = stack.enter_context(temporary_file(self._folder))
            self._stack = stack.pop_all()

    def write(self, data: Sequence[Buffer]) -> None:
        """See `Upload.write`."""
        with self._storage.explained("write", self._near):
            write_buffers(self._descriptor, data)
            self._unsynced_bytes += sum(len(view) for view in byte_views(data))
            if self._unsynced_bytes >= _SYNC_BYTES:
                os.fdatasync(self._descriptor)
                self._unsynced_bytes = 0

    def create(self, key: str) -> None:
        """See `Upload.create`."""
        with self._storage.explained("write", key):
            os.fsync(self._descriptor)
            try:
                self._storage.publish(key, self._folder, self._name, self._descriptor)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Some file systems link within one folder only: there it is written once more.
                with open(
                    self._name, "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=self._folder)
                ) as file:
                    self._storage.create(key, [file.read()])
        self.abort()

    def abort(self) -> None:
        """See `Upload.abort`."""
        self._stack.close()

    def _beside(self, name: str, flags: int) -> int:
        return os.open(name, flags, dir_fd=self._folder)

"""Folders below a root, opened one component at a time.

Each step is an ``openat`` that follows no symbolic link, so that whoever may
write in a shared store cannot lead a key out of it, and ends with a descriptor
that files are then opened, linked and synced by. Folders are made on the way
where asked for, and their names are durable before anything in them is said to
be.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from cas.errors import RefusedError

__all__ = ["Folders"]

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER_MODE = 0o777  # less the umask: a team sets 002, a private user 077


class Folders:
    """The folders below ``root``, an absolute path that need not exist yet."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._durable: set[str] = set()

    @contextlib.contextmanager
    def opened(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder at ``path`` (``""`` is the root), closed afterwards.

        Args:
            path: components joined by slashes, checked by the caller.
            make: whether to make what is missing, root and all.

        Raises:
            FileNotFoundError: there is no such folder and ``make`` is false.
            NotADirectoryError: a file is in the way.
            RefusedError: a component is a symbolic link.
        """
        descriptor = self._open_root(make)
        try:
            done = ""
            for name in path.split("/") if path else ():
                done = f"{done}/{name}"
                inner = self._open_below(descriptor, name, done, make)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def refuse_link(self, path: str) -> RefusedError:
        """The error for a symbolic link at ``path`` below the root."""
        return RefusedError(
            f"{os.path.join(self.root, path.lstrip('/'))} is a symbolic link, which a store must not hold: "
            "it could lead out of the store.\nMove what it points to into its place"
        )

    def _open_root(self, make: bool) -> int:
        try:
            return os.open(self.root, _OPEN_FOLDER)
        except FileNotFoundError:
            if not make:
                raise
        _make_with_parents(self.root)
        return os.open(self.root, _OPEN_FOLDER)

    def _open_below(self, parent: int, name: str, path: str, make: bool) -> int:
        try:
            descriptor = os.open(name, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):  # another writer may make it at the same time
                os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
            descriptor = os.open(name, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        except OSError:
            if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise self.refuse_link(path) from None
            raise
        if make and path not in self._durable:
            # Also where the folder was found: who made it may not have come to this line yet.
            try:
                os.fsync(parent)
            except OSError:
                os.close(descriptor)
                raise
            self._durable.add(path)
        return descriptor


def _make_with_parents(path: str) -> None:
    missing = [path]
    while not os.path.exists(parent := os.path.dirname(missing[-1])):
        missing.append(parent)
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, _FOLDER_MODE)
        descriptor = os.open(os.path.dirname(folder), _OPEN_FOLDER)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

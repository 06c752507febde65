"""Directories by descriptor: below a root, and never through a symbolic link.

Every component of a path is opened by itself, relative to the descriptor of the
one above it, with ``O_NOFOLLOW``. Whatever somebody renames or links meanwhile, a
descriptor that was handed out lies where it was asked for. Paths longer than the
system's PATH_MAX work too, since no call ever sees a whole path.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["DIRECTORY_FLAGS", "FILE_FLAGS", "Directories", "open_file", "split"]

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that took a file's place must not wait for a writer.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_KEPT_OPEN = 64
_NOT_A_FILE = {errno.ELOOP, errno.ENXIO}  # a symbolic link, a socket


def split(path: str) -> tuple[str, bytes]:
    """The directory that ``path`` lies in (empty for the root), and its last component as the system wants it."""
    parent, _, name = path.rpartition("/")
    return parent, name.encode()


class Directories:
    """The directories below ``root``, those used last kept open. Used by one thread at a time.

    Methods raise plain OSErrors: FileNotFoundError where nothing is, NotADirectoryError where a
    component is a file or a symbolic link; ``error.filename`` is the component's path below the root.
    """

    def __init__(self, root: Path) -> None:
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[str, int] = {}  # the longest unused first

    def close(self) -> None:
        """Close every descriptor that was handed out."""
        self.forget()
        os.close(self.root)

    def forget(self) -> None:
        """Close all but the root, so that whatever was moved or linked meanwhile is met by its name again."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, path: str, *, create: bool = False) -> int:
        """The descriptor of a directory. It is lent: it may be closed by the next call.

        Args:
            path: below the root; empty for the root itself.
            create: make what is missing, with the modes that the umask allows.
        """
        names: list[str] = []
        above = path
        while above and above not in self._open:
            above, _, name = above.rpartition("/")
            names.append(name)
        descriptor = self._use(above)
        for name in reversed(names):
            above = f"{above}/{name}" if above else name
            try:
                descriptor = _open_directory(name.encode(), descriptor, create)
            except OSError as error:
                error.filename = above
                raise
            self._open[above] = descriptor
            if len(self._open) > _KEPT_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
        return descriptor

    def _use(self, path: str) -> int:
        if not path:
            return self.root
        self._open[path] = descriptor = self._open.pop(path)
        return descriptor


def open_file(directories: Directories, path: str) -> int:
    """A new descriptor of the regular file at ``path``, for reading. The caller closes it.

    Raises:
        FileNotFoundError: nothing is there, or something else than a regular file.
        OSError: as `Directories` does.
    """
    parent, name = split(path)
    try:
        descriptor = os.open(name, FILE_FLAGS, dir_fd=directories.open(parent))
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise _no_file(path) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _no_file(path)


def _no_file(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no regular file", path)


def _open_directory(name: bytes, above: int, create: bool) -> int:
    try:
        return os.open(name, DIRECTORY_FLAGS, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # somebody else made it; what it is shows when it is opened
        os.mkdir(name, dir_fd=above)
    return os.open(name, DIRECTORY_FLAGS, dir_fd=above)

"""Scanning: which files a directory has, without reading any.

Regular files, however many hard links they have, and directories with nothing in
them become a checkpoint. Whatever else there is, is refused by name: leaving it
out silently would lose data. The one exception is ``.cas`` at the top, if it is a
store: that is where the checkpoint goes. docs/design/006-worktree.md says why.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError, StorageError
from cas.format.paths import check_path
from cas.format.store_format import FORMAT_KEY
from cas.repository.locate import DIRECTORY_NAME
from cas.worktree.beneath import Directories
from cas.worktree.failures import reported
from cas.worktree.file_stat import FileStat
from cas.worktree.names import check_not_reserved

__all__ = ["Scan", "ScannedFile", "scan"]

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A regular file as it was found.

    Attributes:
        path: its path in the checkpoint.
        real_path: where it lies below the root: ``path``, unless a symbolic link was followed.
        executable: whether its owner may execute it.
        stat: what it looked like.
    """

    path: str
    real_path: str
    executable: bool
    stat: FileStat


@dataclass(frozen=True, slots=True)
class Scan:
    """What a directory holds, sorted by path.

    Attributes:
        root: the directory, absolute and without symbolic links.
        files: its regular files.
        empty_directories: its directories with nothing in them.
    """

    root: Path
    files: tuple[ScannedFile, ...]
    empty_directories: tuple[str, ...]


def scan(root: Path, *, follow_symlinks: bool = False) -> Scan:
    """Find the files of a directory.

    Args:
        root: the directory; may itself be a symbolic link to one.
        follow_symlinks: take what symbolic links point to, as long as that lies inside ``root``.

    Raises:
        NotFoundError: there is no ``root``.
        FormatError: ``root`` is a file, or a name in it is not UTF-8 or too long.
        RefusedError: a symbolic link, socket, named pipe or device, a name that cas needs for
            itself, or a link that leads outside, nowhere or back to where it came from.
        ConflictError: something vanished while the directory was looked through.
        StorageError: a directory cannot be read.
    """
    try:
        real_root = root.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"no directory {str(root)!r}; check the path") from error
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        raise StorageError(f"cannot read {str(root)!r}: {error}") from error
    if not real_root.is_dir():
        raise FormatError(f"{str(root)!r} is not a directory; a checkpoint is made from the directory it is in")
    with reported(f"read {root}"), Directories(real_root) as directories:
        walk = _Walk(real_root, directories, follow_symlinks)
        while walk.waiting:
            walk.visit(walk.waiting.pop())
    return Scan(real_root, tuple(sorted(walk.files, key=lambda file: file.path)), tuple(sorted(walk.empty)))


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory to visit: its path in the checkpoint, where it lies, and where the way to it led through."""

    path: str
    real_path: str
    way: frozenset[str] = frozenset()

    def child(self, name: str) -> tuple[str, str]:
        path = f"{self.path}/{name}" if self.path else name
        return path, (f"{self.real_path}/{name}" if self.real_path else name)


@dataclass(slots=True)
class _Walk:
    root: Path
    directories: Directories
    follow_symlinks: bool
    waiting: list[_Directory] = field(default_factory=lambda: [_Directory("", "")])
    files: list[ScannedFile] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def visit(self, directory: _Directory) -> None:
        """Take in one directory's files, and note its directories for later."""
        shown = directory.path or "."
        try:
            with os.scandir(self.directories.open(directory.real_path)) as listing:
                # All at once: the descriptor is only lent.
                found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in listing]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConflictError(
                f"{self.root}: something in {shown!r} went away while it was looked through; "
                "try again when nothing writes there"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot read {shown!r} in {self.root}: {error.strerror}") from error
        if not found and directory.path:
            self.empty.append(directory.path)
        for name, status in found:
            self._take(directory, *directory.child(_checked(name, shown)), status)

    def _take(self, above: _Directory, path: str, real_path: str, status: os.stat_result) -> None:
        if path == DIRECTORY_NAME and (self.root / path / FORMAT_KEY).is_file():
            return
        if stat.S_ISLNK(status.st_mode):
            real_path, status = self._follow(path, real_path)
        check_path(path)
        check_not_reserved(path)
        check_not_reserved(real_path)
        if stat.S_ISREG(status.st_mode):
            executable = bool(status.st_mode & stat.S_IXUSR)
            self.files.append(ScannedFile(path, real_path, executable, FileStat.of(status)))
        elif stat.S_ISDIR(status.st_mode):
            self._descend(above, path, real_path)
        else:
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")
            raise RefusedError(f"{path!r} in {self.root} is {kind}; a checkpoint holds files and directories only")

    def _descend(self, above: _Directory, path: str, real_path: str) -> None:
        way = above.way
        if self.follow_symlinks:  # without links there is no way back up
            way |= {above.real_path}
            if real_path in way:
                raise RefusedError(
                    f"{path!r} in {self.root} leads back to {real_path or '.'!r}, above it; remove the link"
                )
        self.waiting.append(_Directory(path, real_path, way))

    def _follow(self, path: str, real_path: str) -> tuple[str, os.stat_result]:
        """Where a symbolic link ends below the root, and what is there."""
        if not self.follow_symlinks:
            raise RefusedError(
                f"{path!r} in {self.root} is a symbolic link; replace it, or give --follow-symlinks "
                "(follow_symlinks=True) to store what it points to"
            )
        try:
            end = (self.root / real_path).resolve(strict=True)
            status = end.lstat()
        except (OSError, RuntimeError) as error:
            raise RefusedError(f"{path!r} in {self.root} is a symbolic link that leads nowhere; remove it") from error
        if not end.is_relative_to(self.root):
            raise RefusedError(
                f"{path!r} in {self.root} is a symbolic link to {str(end)!r}, outside the directory; copy that in"
            )
        return "/".join(_checked(part, path) for part in end.relative_to(self.root).parts), status


def _checked(name: str, directory: str) -> str:
    """``name`` as text, whatever encoding the locale made Python assume."""
    if name.isascii():
        return name
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the name {raw!r} in {directory!r} is not UTF-8; rename it") from error

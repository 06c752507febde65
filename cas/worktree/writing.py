"""Writing a tree: its files into a directory, whole or not at all.

Each file is written under a temporary name, and given its place in one step once
all of it was verified; what is there already is never replaced unless asked for,
and with identical bytes never touched. So what was interrupted anywhere leaves
only whole files and a staging directory that the next run removes, and running it
again finishes it. No path leads through a symbolic link or out of the target.
What is promised and why is in docs/design/006-worktree.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from cas.errors import ConflictError, RefusedError, StorageError
from cas.format import Buffer, Digest, Tree, TreeEntry
from cas.progress import Progress
from cas.worktree.beneath import Directories, open_file, split
from cas.worktree.failures import reported
from cas.worktree.names import check_not_reserved, iter_collisions
from cas.worktree.staging import Staging, remove_abandoned
from cas.worktree.stat_cache import StatCache
from cas.worktree.survey import Survey, hash_file, survey

__all__ = ["Piece", "PieceReader", "RestoreResult", "StagedFile", "write_tree"]


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file to write.

    Attributes:
        name: in the staging directory.
        entry: what it is.
        replace: whether it takes the place of another.
    """

    name: str
    entry: TreeEntry
    replace: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file: where it begins, and how many bytes it has."""

    file: StagedFile
    offset: int
    size_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its file."""
        return self.size_bytes == self.file.entry.size_bytes

    @property
    def is_last(self) -> bool:
        """Whether its file ends with it."""
        return self.offset + self.size_bytes == self.file.entry.size_bytes


PieceReader = Callable[
    [Sequence[StagedFile], Callable[[Piece, Buffer], None]], Generator[tuple[Piece, Buffer], None, None]
]
"""``read(files, sink)`` gives every piece of ``files``, none for an empty one, file by file and in order.

``sink`` has taken a piece, in any thread and in any order, before the generator yields it. A
file's last piece is yielded only after the whole file was held against its blob digest. Once
the generator is closed, no ``sink`` runs any more.
"""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What writing a tree came to.

    Attributes:
        checkpoint: its hash.
        files: how many files it has.
        logical_bytes: their sizes together.
        written_files, written_bytes: those that were not there already.
    """

    checkpoint: Digest
    files: int
    logical_bytes: int
    written_files: int
    written_bytes: int


def write_tree(tree: Tree, target: Path, read: PieceReader, *, overwrite: bool, progress: Progress) -> RestoreResult:
    """Make ``target`` hold the files of ``tree``.

    Args:
        tree: the files.
        target: the directory; made if it is not there. Whatever it has besides stays.
        read: gives the bytes of those files that must be written.
        overwrite: replace files that are there and differ.
        progress: told of raw bytes as they are written.

    Raises:
        ConflictError: a file is there, differs, and ``overwrite`` is not set. Nothing was written.
        RefusedError: something is in the way, a name is reserved, or two names are one to the
            target's file system. Nothing was written.
        StorageError: the target cannot be read or written, or is full. Whole files stay.
    """
    for path in _paths(tree):
        check_not_reserved(path)
    _make_directory(target)
    with reported(f"write to {target}"), Directories(target) as directories:
        remove_abandoned(directories.root)
        cache = StatCache.read(target)
        found = survey(directories, tree, cache)
        directories.forget()
        cache.write()
        if found.different and not overwrite:
            raise _conflict(target, [entry.path for entry in found.different])
        files = _to_write(found)
        collisions = list(iter_collisions(_paths(tree)))
        if files or collisions:
            with Staging(directories.root) as staging:
                _refuse_collisions(collisions, staging, target)
                _Writing(target, directories, staging).run(files, read, progress)
        _set_modes(directories, found.to_chmod)
        for path in tree.empty_directories:
            directories.open(path, create=True)
    written_bytes = sum(file.entry.size_bytes for file in files)
    return RestoreResult(tree.hash, len(tree.files), tree.size_bytes, len(files), written_bytes)


@dataclass(frozen=True, slots=True)
class _Writing:
    """Bytes are written by whichever thread has them; files are given their places by one."""

    target: Path
    directories: Directories
    staging: Staging

    def run(self, files: Sequence[StagedFile], read: PieceReader, progress: Progress) -> None:
        progress.begin("restore", sum(file.entry.size_bytes for file in files))
        try:
            for file in files:
                if not file.entry.size_bytes:
                    self.write(Piece(file, 0, 0), b"")
                    self.publish(file)
            with closing(read(files, self.write)) as pieces:
                for piece, data in pieces:
                    if piece.is_last:
                        self.publish(piece.file)
                    progress.advance(len(data))
        finally:
            progress.end()

    def write(self, piece: Piece, data: Buffer) -> None:
        with reported(f"write {piece.file.entry.path!r} in {self.target}"):
            self.staging.write(piece.file.name, data, piece.offset, executable=piece.file.entry.executable)

    def publish(self, file: StagedFile) -> None:
        path = file.entry.path
        parent, name = split(path)
        with reported(f"write {path!r} in {self.target}"):
            try:
                directory = self.directories.open(parent, create=True)
                self.staging.publish(file.name, directory, name, replace=file.replace)
            except FileExistsError as error:
                # Another restore of the same checkpoint may have been quicker.
                if not _holds(self.directories, path, file.entry.blob):
                    raise _conflict(self.target, [path]) from error
            except (IsADirectoryError, NotADirectoryError) as error:
                raise RefusedError(
                    f"the way to {path!r} in {self.target} was changed while files were written there; "
                    "look at it before you pull again"
                ) from error


def _paths(tree: Tree) -> list[str]:
    return [*(entry.path for entry in tree.files), *tree.empty_directories]


def _to_write(found: Survey) -> list[StagedFile]:
    entries = [(entry, False) for entry in found.missing] + [(entry, True) for entry in found.different]
    return [StagedFile(str(number), entry, replace) for number, (entry, replace) in enumerate(entries)]


def _refuse_collisions(collisions: Iterable[tuple[str, str]], staging: Staging, target: Path) -> None:
    for first, second in collisions:
        if staging.holds_one_file_for(split(first)[1], split(second)[1]):
            raise RefusedError(f"{first!r} and {second!r} are one name to the file system of {target}; pull elsewhere")


def _holds(directories: Directories, path: str, blob: Digest) -> bool:
    try:
        descriptor = open_file(directories, path)
    except FileNotFoundError:
        return False
    try:
        return hash_file(descriptor) == blob
    finally:
        os.close(descriptor)


def _set_modes(directories: Directories, entries: Iterable[TreeEntry]) -> None:
    """Give files whose bytes are right already the tree's executable bit."""
    for entry in entries:
        descriptor = open_file(directories, entry.path)
        try:
            mode = os.fstat(descriptor).st_mode & 0o777
            # Whoever may read it may execute it, as with a new file.
            mode = mode | (mode & 0o444) >> 2 if entry.executable else mode & ~0o111
            with suppress(PermissionError):  # FAT has no modes and says so; its bytes are right all the same
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def _make_directory(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RefusedError(f"{error.filename!r} is a file; pull into a directory") from error
    except OSError as error:
        raise StorageError(f"cannot make {target}: {error.strerror}") from error


def _conflict(target: Path, paths: Sequence[str]) -> ConflictError:
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return ConflictError(
        f"{paths[0]!r}{others} in {target} would be overwritten; give --force (overwrite=True), or pull elsewhere"
    )

"""File sources: what a writer reads a directory's files through.

Bytes come by ``pread``, never by mapping the file: a file that somebody truncates
meanwhile gives an error then, not a SIGBUS. Each file is opened component by
component without following links, so that a directory that was swapped for a link
since the scan is noticed and not read through.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cas.errors import ConflictError
from cas.format import Digest
from cas.repository import ReadAt, Source
from cas.worktree.beneath import Directories, open_file, split
from cas.worktree.failures import reported
from cas.worktree.file_stat import FileStat
from cas.worktree.scan import ScannedFile, scan
from cas.worktree.stat_cache import StatCache

__all__ = ["FileSource", "directory_sources"]


def directory_sources(root: Path, *, follow_symlinks: bool = False) -> tuple[list[Source], tuple[str, ...]]:
    """What a writer stores of a directory: its files, and its empty directories.

    Files that look as they did when they were read last have a ``known_blob``. What is
    learnt about the others is kept for the next time once all of them are settled.

    Args:
        root: the directory.
        follow_symlinks: store what symbolic links inside it point to.

    Raises:
        CasError: as `scan` does.
    """
    found = scan(root, follow_symlinks=follow_symlinks)
    cache = StatCache.read(found.root)
    cache.retain({file.real_path for file in found.files})
    unsettled: set[str] = set()
    sources = [FileSource(found.root, file, cache, unsettled) for file in found.files]
    unsettled.update(source.path for source in sources if source.known_blob is None)
    return list(sources), found.empty_directories


class FileSource:
    """One file of a directory; a `cas.repository.Source`.

    Attributes:
        path: its path in the checkpoint.
        executable, size_bytes: as it was found, and from `open` on as it was then.
        known_blob: its content, if it looks as it did when it was read last.
    """

    __slots__ = ("_cache", "_file", "_looked_ns", "_root", "_stat", "_unsettled", "executable", "known_blob", "path",
                 "size_bytes")  # fmt: skip

    def __init__(self, root: Path, file: ScannedFile, cache: StatCache, unsettled: set[str]) -> None:
        """A source of ``file``, found below ``root``; ``unsettled`` are the paths of all that must be read still."""
        self.path = file.path
        self.executable = file.executable
        self.size_bytes = file.stat.size_bytes
        self.known_blob = cache.find(file.real_path, file.stat)
        self._root, self._file, self._cache, self._unsettled = root, file, cache, unsettled
        self._stat = file.stat
        self._looked_ns = 0  # nothing is remembered of a file that was never opened

    @contextmanager
    def open(self) -> Iterator[ReadAt]:
        """Begin reading the file as it is now.

        Raises:
            ConflictError: it is gone, or no regular file any more; also raised by the reading
                function where the file ends before the bytes asked for.
            StorageError: it cannot be read.
        """
        self._looked_ns = time.time_ns()
        with self._found(), Directories(self._root) as directories:
            descriptor = open_file(directories, self._file.real_path)
        try:
            status = os.fstat(descriptor)
            self._stat = FileStat.of(status)
            self.size_bytes = status.st_size
            self.executable = bool(status.st_mode & 0o100)
            yield lambda offset, size_bytes: self._read_at(descriptor, offset, size_bytes)
        finally:
            os.close(descriptor)

    def settle(self, blob: Digest) -> None:
        """All bytes were read and hash to ``blob``: check that the file is still the one that was opened.

        Raises:
            ConflictError: its size, times or inode are others now, or it is gone.
        """
        parent, name = split(self._file.real_path)
        with self._found(), Directories(self._root) as directories:
            # By its name and not by the descriptor: a file that was replaced is noticed as well.
            now = FileStat.of(os.stat(name, dir_fd=directories.open(parent), follow_symlinks=False))
        if now != self._stat:
            raise self._changed("changed")
        self._cache.remember(self._file.real_path, now, blob, self._looked_ns)
        self._unsettled.discard(self.path)
        if not self._unsettled:
            self._cache.write()

    @contextmanager
    def _found(self) -> Iterator[None]:
        """Tell a file that is not there any more from one that cannot be read."""
        with reported(f"read {self.path!r} in {self._root}"):
            try:
                yield
            except (FileNotFoundError, NotADirectoryError) as error:
                raise self._changed("went away") from error

    def _read_at(self, descriptor: int, offset: int, size_bytes: int) -> bytes:
        with reported(f"read {self.path!r} in {self._root}"):
            data = os.pread(descriptor, size_bytes, offset)
            while len(data) < size_bytes:  # one call gives 2 GiB at most
                more = os.pread(descriptor, size_bytes - len(data), offset + len(data))
                if not more:
                    raise self._changed("became shorter")
                data += more
        return data

    def _changed(self, how: str) -> ConflictError:
        return ConflictError(
            f"{self.path!r} in {self._root} {how} while it was being read; put again when nothing writes to it"
        )

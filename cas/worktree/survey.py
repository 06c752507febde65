"""Surveying a target: which files of a tree it has already, before anything is written.

A file counts as there if its bytes hash to its blob digest; the stat cache saves
the reading where it can. Whatever stands in the way of the tree, a link or a file
where a directory must be, is refused here and by name. Nothing is followed and
nothing is changed.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field

from blake3 import blake3

from cas.errors import RefusedError
from cas.format import Digest, Tree, TreeEntry
from cas.worktree.beneath import Directories, open_file, split
from cas.worktree.failures import reported
from cas.worktree.file_stat import FileStat
from cas.worktree.stat_cache import StatCache

__all__ = ["Survey", "hash_file", "survey"]

_PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class Survey:
    """What a target has of a tree.

    Attributes:
        missing: files with nothing in their place.
        different: files whose place holds other bytes, a link or a special file.
        same: files that are there.
        to_chmod: those of ``same`` whose executable bit is not the tree's.
    """

    missing: list[TreeEntry] = field(default_factory=list)
    different: list[TreeEntry] = field(default_factory=list)
    same: list[TreeEntry] = field(default_factory=list)
    to_chmod: list[TreeEntry] = field(default_factory=list)


def survey(directories: Directories, tree: Tree, cache: StatCache) -> Survey:
    """Look up every path of ``tree`` below the root of ``directories``.

    Raises:
        RefusedError: a link or a file stands where a directory must be, a directory where a file
            must be, or a directory is the root of another file system.
        StorageError: something cannot be read.
    """
    found = Survey()
    device = os.fstat(directories.root).st_dev
    absent: set[str] = set()  # directories that are not there, so that they are looked for once
    for entry in tree.files:
        parent, name = split(entry.path)
        above = _find_directory(directories, parent, device, absent)
        with reported(f"read {entry.path!r}"):
            status = None if above is None else _find(name, above)
        if status is None:
            found.missing.append(entry)
        elif stat.S_ISDIR(status.st_mode):
            raise RefusedError(f"{entry.path!r} is to be a file and is a directory in the target; move it away")
        elif not _is_same(directories, entry, status, cache):
            found.different.append(entry)
        else:
            found.same.append(entry)
            if bool(status.st_mode & stat.S_IXUSR) != entry.executable:
                found.to_chmod.append(entry)
    for path in tree.empty_directories:
        _find_directory(directories, path, device, absent)
    return found


def hash_file(descriptor: int) -> Digest:
    """The digest of all bytes of an open file."""
    hasher = blake3()
    offset = 0
    while data := os.pread(descriptor, _PIECE_BYTES, offset):
        hasher.update(data)
        offset += len(data)
    return Digest(hasher.digest())


def _find_directory(directories: Directories, path: str, device: int, absent: set[str]) -> int | None:
    if path in absent:
        return None
    with reported(f"read {path!r}"):
        try:
            descriptor = directories.open(path)
        except FileNotFoundError:
            absent.add(path)
            return None
        except NotADirectoryError as error:
            raise RefusedError(
                f"{error.filename!r} is to be a directory and is a file or a symbolic link in the target; move it away"
            ) from error
        if os.fstat(descriptor).st_dev != device:
            # Nothing can be renamed into it, and so nothing can appear there whole.
            raise RefusedError(f"{path!r} in the target is another file system's; pull into one file system")
    return descriptor


def _find(name: bytes, directory: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


def _is_same(directories: Directories, entry: TreeEntry, status: os.stat_result, cache: StatCache) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size_bytes:
        return False
    if (known := cache.find(entry.path, FileStat.of(status))) is not None:
        return known == entry.blob
    looked_ns = time.time_ns()
    with reported(f"read {entry.path!r}"):
        try:
            descriptor = open_file(directories, entry.path)
        except FileNotFoundError:
            return False
        try:
            before = FileStat.of(os.fstat(descriptor))
            blob = hash_file(descriptor)
            after = FileStat.of(os.fstat(descriptor))
        finally:
            os.close(descriptor)
    if before == after:
        cache.remember(entry.path, after, blob, looked_ns)
    return blob == entry.blob

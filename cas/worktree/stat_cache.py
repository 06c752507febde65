"""The stat cache: what a directory's files held when they were read last.

Like git's index, it maps (path, size, mtime, ctime, inode, device) to a blob
digest, so that an unchanged directory is put without reading it. A row is made
only from a look that proves later changes (`FileStat.is_proof`). It is only a
cache: one that is missing, damaged or foreign counts as empty, one that cannot be
written stays as it was, and of two writers the last wins. One sealed file a
directory under ``cache_dir()/stat``; its form is private to this module and
has a version in its magic.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Set
from pathlib import Path

from cas.errors import CasError
from cas.format import Digest
from cas.format.envelope import check_fields, seal, unseal
from cas.repository import cache_dir
from cas.worktree.file_stat import FileStat

__all__ = ["MAX_DIRECTORIES", "StatCache"]

_MAGIC = b"CASSTAT\x01"
_ROW = struct.Struct("<QqqQQ32s")  # size, mtime, ctime, inode, device, blob
_Row = tuple[int, int, int, int, int, bytes]

MAX_DIRECTORIES = 1024
"""How many directories are remembered; those not used for the longest time go first."""


class StatCache:
    """What is known about the files of one directory. Rows may be added by several threads."""

    def __init__(self, file: Path, root: str, rows: dict[str, _Row]) -> None:
        """Use `read` instead."""
        self._file, self._root, self._rows = file, root, rows
        self._changed = False

    @classmethod
    def read(cls, root: Path) -> StatCache:
        """What is remembered about the directory ``root``: nothing, if there is no cache or it is no good."""
        real_root = os.path.realpath(root)
        name = Digest.of(os.fsencode(real_root))
        file = cache_dir() / "stat" / f"{name}.stat"
        return cls(file, real_root, _read_rows(file, real_root))

    def find(self, path: str, stat: FileStat) -> Digest | None:
        """The content of a file that looks like ``stat``, if it did when it was read.

        Args:
            path: below the root, with no link followed on the way.
        """
        row = self._rows.get(path)
        return Digest(row[5]) if row is not None and row[:5] == _key(stat) else None

    def remember(self, path: str, stat: FileStat, blob: Digest, looked_ns: int) -> None:
        """A file was read and held ``blob``. Forgotten at once if that look does not prove it.

        Args:
            path: below the root, with no link followed on the way.
            stat: what it looked like both before and after it was read.
            blob: what it held.
            looked_ns: when the look before was taken, as for `FileStat.is_proof`.
        """
        row = (*_key(stat), blob.raw)
        if stat.is_proof(looked_ns) and self._rows.get(path) != row:
            self._rows[path] = row
            self._changed = True

    def retain(self, paths: Set[str]) -> None:
        """Forget the files that are not among ``paths``: they are gone."""
        self._rows = {path: row for path, row in self._rows.items() if path in paths}

    def write(self) -> None:
        """Keep what was learnt, if anything was."""
        if not self._changed:
            return
        rows = self._rows.copy()
        body = {
            "paths": "\0".join(rows),
            "root": os.fsencode(self._root),
            "table": b"".join(_ROW.pack(*row) for row in rows.values()),
        }
        try:
            _replace(self._file, seal(_MAGIC, body))
        except OSError:
            return  # a home that is full or read-only costs the next put its time, no more
        self._changed = False


def _key(stat: FileStat) -> tuple[int, int, int, int, int]:
    return stat.size_bytes, stat.mtime_ns, stat.ctime_ns, stat.inode, stat.device


def _read_rows(file: Path, root: str) -> dict[str, _Row]:
    try:
        data = file.read_bytes()
        body = check_fields(unseal(_MAGIC, data, str(file)), {"paths": str, "root": bytes, "table": bytes}, str(file))
        os.utime(file)  # used now: see MAX_DIRECTORIES
    except (OSError, CasError):
        return {}
    paths = body["paths"].split("\0") if body["paths"] else []
    if body["root"] != os.fsencode(root) or len(body["table"]) != len(paths) * _ROW.size:
        return {}
    return dict(zip(paths, _ROW.iter_unpack(body["table"]), strict=True))


def _replace(file: Path, data: bytes) -> None:
    """Write ``file`` whole or not at all. Not synced: after a power cut its seal shows that it is no good."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        _make_room(file.parent)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix="new-")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def _make_room(folder: Path) -> None:
    """Remove what was not used for the longest time, half of it at once so that this is seldom needed."""
    files = list(folder.iterdir())
    if len(files) < MAX_DIRECTORIES:
        return
    used_ns: list[tuple[int, Path]] = []
    for file in files:
        try:
            used_ns.append((file.stat().st_mtime_ns, file))
        except FileNotFoundError:
            continue  # another process is making room as well
    for _, file in sorted(used_ns)[: len(used_ns) - MAX_DIRECTORIES // 2]:
        file.unlink(missing_ok=True)

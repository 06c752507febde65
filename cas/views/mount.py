"""A checkpoint as a read-only folder of this machine, by FUSE.

Files are fetched as they are read. Content under a hash never changes, so the kernel is told to keep what it has.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cas.errors import CasError, NotFoundError, RefusedError, StorageError
from cas.format import TreeEntry
from cas.views.ranges import read_ranges
from cas.views.stored import StoredFiles

__all__ = ["check_mountable", "mount"]

_DEVICE = Path("/dev/fuse")
_FOREVER_S = 86400  # how long the kernel believes names and sizes without asking again
_BLOCK_BYTES = 4096


def check_mountable(directory: Path) -> None:
    """Whether something can be mounted at ``directory`` here.

    Raises:
        RefusedError: this machine lacks FUSE or a package for it, or the folder has something in it.
        NotFoundError: there is no such folder.
    """
    if not _DEVICE.exists():
        raise RefusedError(
            f"there is no {_DEVICE} here, so nothing can be mounted; `cas pull` writes the files instead"
        )
    try:
        import mfusepy  # noqa: F401
    except ImportError as error:
        raise RefusedError("mounting needs a package that is not installed: pip install 'cas[mount]'") from error
    except (OSError, AttributeError) as error:  # mfusepy looks for the library when it is imported
        raise RefusedError(f"mounting needs libfuse, e.g. `apt install fuse libfuse2`: {error}") from error
    if not directory.is_dir():
        raise NotFoundError(f"no directory {directory} to mount at; make it first")
    if any(directory.iterdir()):
        raise RefusedError(f"{directory} has something in it, which a mount would hide; give an empty directory")


def mount(files: StoredFiles, directory: Path) -> None:
    """Show a checkpoint's files in ``directory`` until somebody unmounts it or this process gets SIGINT or SIGTERM.

    Raises:
        RefusedError, NotFoundError: as `check_mountable`.
        StorageError: the mount failed; libfuse has said why on stderr.
    """
    check_mountable(directory)
    import mfusepy

    try:
        mfusepy.FUSE(
            _Operations(files),
            str(directory.resolve()),
            foreground=True,
            fsname=f"cas:{str(files.tree.hash)[:16]}",
            ro=True,
            default_permissions=True,
            kernel_cache=True,
            entry_timeout=_FOREVER_S,
            attr_timeout=_FOREVER_S,
        )
    except RuntimeError as error:
        raise StorageError(f"cannot mount at {directory}: libfuse failed with code {error}") from error


class _Operations:
    """What libfuse asks, by the names that mfusepy has for it. What is not here is refused: the mount is read-only."""

    use_ns = True

    def __init__(self, files: StoredFiles) -> None:
        self._files = files
        self._owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}

    def getattr(self, path: str, handle: int | None = None) -> dict[str, int]:
        """Sizes and modes. A checkpoint has no times: all are the epoch."""
        entry = self._find(path)
        if entry is None:
            return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2, **self._owner}
        mode = stat.S_IFREG | (0o555 if entry.executable else 0o444)
        blocks = -(-entry.size_bytes // 512)
        return {"st_mode": mode, "st_nlink": 1, "st_size": entry.size_bytes, "st_blocks": blocks, **self._owner}

    def readdir(self, path: str, handle: int) -> Iterator[str]:
        """The names in a folder."""
        if self._find(path) is not None:
            raise OSError(errno.ENOTDIR, path)
        yield from (".", "..", *self._files.folders.inside(path.strip("/")))

    def open(self, path: str, flags: int) -> int:
        """Nothing to prepare: reads name the path."""
        if self._find(path) is None:
            raise OSError(errno.EISDIR, path)
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, path)
        return 0

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        """Some bytes, fewer at the end of the file."""
        try:
            ranges = self._files[path.strip("/")]
            return read_ranges(ranges, offset, max(min(size, ranges.size_bytes - offset), 0))
        except CasError as error:
            raise OSError(errno.EIO, str(error)) from error

    def statfs(self, path: str) -> dict[str, int]:
        """Full, and as large as the checkpoint."""
        blocks = -(-self._files.tree.size_bytes // _BLOCK_BYTES)
        return {"f_bsize": _BLOCK_BYTES, "f_frsize": _BLOCK_BYTES, "f_blocks": blocks, "f_files": len(self._files)}

    def _find(self, path: str) -> TreeEntry | None:
        """The file at a path; None for a folder."""
        inner = path.strip("/")
        if inner in self._files.folders:
            return None
        if (entry := self._files.tree.find(inner)) is None:
            raise OSError(errno.ENOENT, path)
        return entry

"""Shared materializations: one directory of a content for all of a node's readers, removed with the last.

Every reader holds a shared lock on the directory's lock file for as long as it reads, through a descriptor of its
own, so that threads, nested readers and processes all count. Whoever leaves tries to turn it into an exclusive one; it
gets that only if it is the last, and then removes the directory. The kernel gives up the locks of the dead:
what a killed process leaves behind is removed by whoever comes next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["shared_directory"]

_LOCK_SUFFIX = ".lock"
_UNFINISHED_SUFFIX = ".new"


@contextmanager
def shared_directory(name: str, write: Callable[[Path], None], root: Path | None = None) -> Iterator[Path]:
    """A directory that ``write`` filled, by this reader or another one that is still there.

    Args:
        name: what tells contents apart: equal names must have equal contents.
        write: fills an empty directory; called by one reader while the others wait.
        root: where such directories are; by default a folder of this user's in the system's temporary folder.
    """
    root = root or _own_root()
    _remove_abandoned(root)
    lock = _enter(root, name, write)
    try:
        yield root / name
    finally:
        try:
            _leave(root, name, lock)
        finally:
            os.close(lock)


def _own_root() -> Path:
    root = Path(tempfile.gettempdir()) / f"cas-views-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    status = root.lstat()
    if status.st_uid == os.getuid() and not status.st_mode & 0o022 and root.is_dir() and not root.is_symlink():
        return root
    # Somebody else made it first, where everybody may write: whatever is in it, it is not ours to trust.
    return Path(tempfile.mkdtemp(prefix="cas-views-"))


def _enter(root: Path, name: str, write: Callable[[Path], None]) -> int:
    """A descriptor that holds a shared lock on a directory that is whole."""
    directory, path = root / name, root / f"{name}{_LOCK_SUFFIX}"
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            # Turning one lock into the other lets go of it for a moment: each time look again.
            if _is_current(lock, path) and not directory.is_dir():
                fcntl.flock(lock, fcntl.LOCK_EX)
                if _is_current(lock, path) and not directory.is_dir():
                    _materialize(directory, write)
                fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_current(lock, path) and directory.is_dir():
                return lock
        except BaseException:
            with suppress(OSError):
                _leave(root, name, lock)
            os.close(lock)
            raise
        os.close(lock)


def _materialize(directory: Path, write: Callable[[Path], None]) -> None:
    unfinished = directory.with_name(directory.name + _UNFINISHED_SUFFIX)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    try:
        write(unfinished)
        os.rename(unfinished, directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _leave(root: Path, name: str, lock: int) -> None:
    path = root / f"{name}{_LOCK_SUFFIX}"
    try:
        # Of two that leave at once each gives its shared lock up before it asks, so the second gets this one.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if _is_current(lock, path):
        _remove(root, name)


def _remove(root: Path, name: str) -> None:
    """Remove a directory whose lock is held exclusively; the lock file goes last."""
    shutil.rmtree(root / name, ignore_errors=True)
    shutil.rmtree(root / f"{name}{_UNFINISHED_SUFFIX}", ignore_errors=True)
    with suppress(FileNotFoundError):
        os.unlink(root / f"{name}{_LOCK_SUFFIX}")


def _remove_abandoned(root: Path) -> None:
    """Remove what readers that were killed have left behind."""
    for path in root.glob(f"*{_LOCK_SUFFIX}"):
        try:
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(lock, path):
                _remove(root, path.name.removesuffix(_LOCK_SUFFIX))
        except OSError:
            pass  # somebody reads it
        finally:
            os.close(lock)


def _is_current(lock: int, path: Path) -> bool:
    """Whether the file that is locked is still the one that has this name."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False

"""Staging: where a restore keeps files until they are whole.

A directory at the top of the target, ``.cas-restore-`` and 16 hexadecimal digits,
held by a lock for as long as its restore lives. A process that is killed leaves the
directory behind and loses the lock, by which the next restore into the same target
knows that it may remove it. File systems without locks keep what was left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from contextlib import suppress
from types import TracebackType
from typing import Self

from cas.errors import ConflictError
from cas.format import Buffer
from cas.worktree.beneath import DIRECTORY_FLAGS
from cas.worktree.names import STAGING_PREFIX

__all__ = ["Staging", "remove_abandoned"]

_NAME = re.compile(re.escape(STAGING_PREFIX) + r"[0-9a-f]{16}")
_LOCK = STAGING_PREFIX + "lock"  # no file of a checkpoint has such a name: `names.check_not_reserved`
_LOCK_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_CLAIM_TRIES = 16
# What file systems without hard links (FAT, some network and FUSE ones) answer to link().
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


class Staging:
    """Unfinished files of one restore. Its methods raise plain OSErrors.

    `write` may be called from any thread until `close`; everything else from one.
    """

    def __init__(self, target: int) -> None:
        """Make a staging directory in the directory with the descriptor ``target``."""
        self._target = target
        self._name, self._directory, self._lock = _claim(target)

    def close(self) -> None:
        """Remove the directory and whatever is still in it. No `write` may be running."""
        os.close(self._lock)  # first, since NFS keeps files that are open in their directory
        with suppress(OSError):  # the target is gone or was made read-only: it stays for the next restore
            _remove(self._target, self._name, self._directory)
        os.close(self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, name: str, data: Buffer, offset: int, *, executable: bool) -> None:
        """Write a piece of a file, which need not exist; pieces may come in any order.

        Args:
            name: the unfinished file's name here.
            data: the piece.
            offset: where in the file it begins, in bytes.
            executable: whether the file, once made, may be executed by those whom the umask lets.
        """
        mode = 0o777 if executable else 0o666
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, mode, dir_fd=self._directory)
        try:
            view = memoryview(data).cast("B")
            while len(view):
                written = os.pwrite(descriptor, view, offset)
                offset += written
                view = view[written:]
        finally:
            os.close(descriptor)

    def publish(self, name: str, directory: int, final: bytes, *, replace: bool) -> None:
        """Give a finished file its place, whole.

        Args:
            name: the file here.
            directory: descriptor of the directory it belongs in.
            final: its name there.
            replace: whether to take the place of a file that is there.

        Raises:
            FileExistsError: the place is taken and ``replace`` is not set.
        """
        if not replace:
            try:
                # link() is the one call that never replaces, even if the place was taken a moment ago.
                os.link(name, final, src_dir_fd=self._directory, dst_dir_fd=directory)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if _exists(final, directory):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            else:
                os.unlink(name, dir_fd=self._directory)
                return
        os.rename(name, final, src_dir_fd=self._directory, dst_dir_fd=directory)

    def holds_one_file_for(self, first: bytes, second: bytes) -> bool:
        """Whether two names are one to this file system."""
        os.close(os.open(first, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._directory))
        try:
            return _exists(second, self._directory)
        finally:
            os.unlink(first, dir_fd=self._directory)


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def remove_abandoned(target: int) -> None:
    """Remove the staging directories that killed restores left in the directory ``target``.

    Those of restores that still run stay, and so does what cannot be removed: it is in nobody's way.
    """
    for name in os.listdir(target):
        if not _NAME.fullmatch(name):
            continue
        with suppress(OSError):
            directory = os.open(name, DIRECTORY_FLAGS, dir_fd=target)
            try:
                _remove_unlocked(target, name, directory)
            finally:
                os.close(directory)


def _remove_unlocked(target: int, name: str, directory: int) -> None:
    try:
        lock = os.open(_LOCK, _LOCK_FLAGS, dir_fd=directory)
    except FileNotFoundError:
        os.rmdir(name, dir_fd=target)  # died before it made its lock, so it is empty; else this fails
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(target, name, directory)
    finally:
        os.close(lock)


def _remove(target: int, name: str, directory: int) -> None:
    # The lock goes last: a directory without one must be empty.
    for file in sorted(os.listdir(directory), key=lambda name: name == _LOCK):
        os.unlink(file, dir_fd=directory)
    os.rmdir(name, dir_fd=target)


def _claim(target: int) -> tuple[str, int, int]:
    """Make and lock a staging directory; its name, its descriptor and its lock's."""
    for _ in range(_CLAIM_TRIES):
        name = STAGING_PREFIX + secrets.token_hex(8)
        os.mkdir(name, 0o700, dir_fd=target)
        # Until the lock is held, another restore may take the directory for an abandoned one and remove it.
        try:
            directory = os.open(name, DIRECTORY_FLAGS, dir_fd=target)
        except FileNotFoundError:
            continue
        if (lock := _lock(directory)) is not None:
            return name, directory, lock
        os.close(directory)
    raise ConflictError("other restores keep removing this one's unfinished files; try again when they are done")


def _lock(directory: int) -> int | None:
    """The descriptor of the lock of one's own staging directory, or None where another process was quicker."""
    try:
        lock = os.open(_LOCK, _LOCK_FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return lock  # without locks nobody can take this one for abandoned
    else:
        if os.fstat(lock).st_nlink:
            return lock
    os.close(lock)
    return None

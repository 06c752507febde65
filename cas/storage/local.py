"""A folder of this machine, or one that a network file system shows as such.

An object is written under a temporary name beside its own, synced, and only
then given its name: by a hard link where the name must be free, so that exactly
one of many racing writers wins on every POSIX file system, NFS included; by a
rename where it need not be. Then the folder is synced. Why not fsspec's own
local file system: docs/design/004-storage.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from cas.errors import CasError, ConflictError, CorruptError, FormatError, NotFoundError, RefusedError
from cas.format import Buffer
from cas.storage.base import ObjectInfo
from cas.storage.failures import local_failure
from cas.storage.folders import Folders
from cas.storage.keys import MAX_KEY_BYTES, check_key, check_prefix, check_range, check_within, is_name
from cas.storage.temporary import remove_temporaries, temporary_file, write_buffers
from cas.storage.upload import LocalUpload, Upload

__all__ = ["LocalStorage"]

# Non-blocking, so that opening a named pipe somebody put there cannot hang; regular files do not care.
_OPEN_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class LocalStorage:
    """Objects as files below ``path``; nothing is touched before the first call.

    Args:
        path: the folder. It and those above it are made by the first write. May itself be a symbolic
            link; nothing inside may.
    """

    exclusive_create = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = os.path.abspath(os.fspath(path))
        if "\0" in self._root:
            raise FormatError(f"path {self._root!r} has a NUL")
        self.folders = Folders(self._root)

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return self._root

    @property
    def local_path(self) -> str:
        """The folder's absolute path."""
        return self._root

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        with self._opened(key) as (descriptor, object_bytes):
            return self._read_exactly(descriptor, 0, object_bytes, key)

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """See `Storage.read_range`."""
        check_range(offset, size_bytes)
        with self._opened(key) as (descriptor, object_bytes):
            check_within(offset, size_bytes, object_bytes, self._path(key))
            return self._read_exactly(descriptor, offset, size_bytes, key)

    def read_tail(self, key: str, size_bytes: int) -> tuple[bytes, int]:
        """See `Storage.read_tail`."""
        check_range(0, size_bytes)
        with self._opened(key) as (descriptor, object_bytes):
            offset = max(object_bytes - size_bytes, 0)
            return self._read_exactly(descriptor, offset, object_bytes - offset, key), object_bytes

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.create`.

        Raises:
            RefusedError: the file system has no hard links.
        """
        parent, name = _split(key)
        with self.explained("write", key), self.folders.opened(parent, make=True) as folder:
            if _exists(folder, name):  # else a whole pack would be written before the link fails
                raise self._conflict(key)
            with temporary_file(folder) as (temporary, descriptor):
                write_buffers(descriptor, data)
                os.fsync(descriptor)
                self.publish(key, folder, temporary, descriptor)

    def upload(self, near: str) -> Upload:
        """See `Storage.upload`: bytes go to the disk as they come."""
        return LocalUpload(self, check_prefix(near).rstrip("/"))

    def publish(self, key: str, source: int, temporary: str, descriptor: int) -> None:
        """Give a synced file, ``temporary`` in the folder ``source``, the name of an object that is not there yet."""
        parent, name = _split(key)
        with self.folders.opened(parent, make=True) as folder:
            if not self._link(source, temporary, folder, name, descriptor):
                raise self._conflict(key)
            os.fsync(folder)

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.replace`."""
        parent, name = _split(key)
        with self.explained("write", key), self.folders.opened(parent, make=True) as folder:
            with temporary_file(folder) as (temporary, descriptor):
                write_buffers(descriptor, data)
                os.fsync(descriptor)
                try:
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                except IsADirectoryError:
                    raise self._conflict(key) from None
            os.fsync(folder)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. Whatever could not be a key's name is passed over.

        Raises:
            RefusedError: there is a symbolic link; passing over it could make live objects look unused.
        """
        check_prefix(prefix)
        return self._list(prefix)

    def delete(self, key: str) -> None:
        """See `Storage.delete`. Folders stay: another writer may be about to use them."""
        parent, name = _split(key)
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
            self.explained("delete", key),
            self.folders.opened(parent) as folder,
        ):
            os.unlink(name, dir_fd=folder)
            # Deletes come in an order too: a pack must not go before the ref that led to it.
            os.fsync(folder)

    def sweep(self, before_us: int) -> int:
        """See `Storage.sweep`."""
        removed, paths = 0, [""]
        while paths:
            path = paths.pop()
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                self.explained("sweep", path),
                self.folders.opened(path) as folder,
            ):
                removed += remove_temporaries(folder, before_us)
                inner = (name for name, _ in _entries(folder, path) if name.endswith("/"))
                paths.extend(f"{path}/{name}".strip("/") for name in inner)
        return removed

    def now_us(self) -> int:
        """See `Storage.now_us`: the time that the file system stamps a new file with."""
        with (
            self.explained("write", ""),
            self.folders.opened("", make=True) as folder,
            temporary_file(folder) as (_, descriptor),
        ):
            return os.fstat(descriptor).st_mtime_ns // 1000

    def close(self) -> None:
        """See `Storage.close`: there is nothing to give back."""

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _conflict(self, key: str) -> ConflictError:
        return ConflictError(f"{self._path(key)} exists already")

    @contextlib.contextmanager
    def explained(self, doing: str, key: str) -> Iterator[None]:
        """Turn the system's errors into cas's; which errors mean "there is none" is left to the caller."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if doing in ("read", "delete", "sweep"):
                raise
            if isinstance(error, NotADirectoryError) and os.path.isdir(self._root):
                raise ConflictError(f"{self._path(key)} cannot be: a part of its path is an object already") from error
            raise local_failure(error, doing, self._path(key)) from error
        except CasError:  # a StorageError is an OSError, too
            raise
        except OSError as error:
            raise local_failure(error, doing, self._path(key)) from error

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, int]]:
        """The object's descriptor and size."""
        parent, name = _split(key)
        try:
            with self.explained("read", key), self.folders.opened(parent) as folder:
                try:
                    descriptor = os.open(name, _OPEN_OBJECT, dir_fd=folder)
                except OSError as error:
                    if error.errno == errno.ELOOP:
                        raise self.folders.refuse_link(key) from None
                    raise
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"there is no {self._path(key)}") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotFoundError(f"there is no object {self._path(key)}: it is no regular file")
            yield descriptor, status.st_size
        finally:
            os.close(descriptor)

    def _read_exactly(self, descriptor: int, offset: int, size_bytes: int, key: str) -> bytes:
        with self.explained("read", key):
            data = os.pread(descriptor, size_bytes, offset)
            if len(data) == size_bytes:
                return data
            parts = [data]  # more than the 2 GiB that one call reads, or a file cut short meanwhile
            done = len(data)
            while done < size_bytes and (data := os.pread(descriptor, size_bytes - done, offset + done)):
                parts.append(data)
                done += len(data)
        if done < size_bytes:
            raise CorruptError(f"{size_bytes} bytes from {offset}", f"{done} bytes", self._path(key))
        return b"".join(parts)

    def _link(self, source: int, temporary: str, folder: int, name: str, descriptor: int) -> bool:
        """Give the temporary file its name; False if that is taken."""
        try:
            os.link(temporary, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            # A second link can only be ours: NFS may lose the answer, ask again and hear of our own success.
            return os.fstat(descriptor).st_nlink == 2
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise RefusedError(
                    f"the file system of {self._root} has no hard links, without which no two writers are safe.\n"
                    "Put the store on another, such as ext4, xfs, btrfs, APFS or NFS"
                ) from error
            raise
        return True

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        path = prefix.rstrip("/")
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            self.explained("read", path),
            self.folders.opened(path) as folder,
        ):
            # A folder sorts as its name and a slash do, because so do the keys below it.
            entries = sorted(_entries(folder, path), key=lambda pair: pair[0])
            for name, entry in entries:
                if entry.is_symlink():
                    raise self.folders.refuse_link(prefix + name)
                if name.endswith("/"):
                    yield from self._list(prefix + name)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        yield ObjectInfo(prefix + name, status.st_size, status.st_mtime_ns // 1000)


def _split(key: str) -> tuple[str, str]:
    parent, _, name = check_key(key).rpartition("/")
    return parent, name


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _entries(folder: int, path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What may be a part of a key in the folder at ``path``; a folder's name gets a slash at its end."""
    with os.scandir(folder) as found:
        for entry in found:
            if is_name(entry.name) and len(f"{path}/{entry.name}".encode()) <= MAX_KEY_BYTES:
                yield entry.name + "/" * entry.is_dir(follow_symlinks=False), entry

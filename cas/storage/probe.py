"""Whether a storage's exclusive create holds what it promises, found out by trying.

Some servers take ``If-None-Match: *`` and ignore it, others lose races. Trying
cannot prove a promise, but it finds the first kind by two requests, before a
store is made there, and the second within seconds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from cas.errors import ConflictError, RefusedError
from cas.storage.base import Storage

__all__ = ["PROBE_PREFIX", "probe_exclusive_create", "require_exclusive_create"]

PROBE_PREFIX = "probe-"  # and 16 hexadecimal digits: a folder for each probe, so that it is its own to remove


def require_exclusive_create(storage: Storage, *, prove: bool) -> None:
    """Refuse a storage that no names can be kept in.

    Args:
        storage: what a store is made in, or written to.
        prove: do not believe what a remote storage says of itself: create one key twice, and delete it.

    Raises:
        RefusedError: it does not promise that of many writers of one key one wins, or the second one did.
        StorageError: the storage failed, so nothing was found out.
    """
    if not storage.exclusive_create:
        raise RefusedError(
            f"{storage.url} is read-only or cannot create exclusively, so that names in it could be lost;\n"
            "keep the store in a folder or an S3 bucket, and see `cas doctor`"
        )
    if not prove or storage.local_path is not None:  # a folder's is the system's `link`, which needs no proof
        return
    with _folder(storage) as folder:
        key = f"{folder}/0000"
        try:
            if _create(storage, key, 0) and not _create(storage, key, 1):
                return
        finally:
            storage.delete(key)
    raise RefusedError(
        f"{storage.url} creates an object that is there already (it ignores If-None-Match), so that names could be "
        "lost;\nuse another server, or a newer version of this one"
    )


def probe_exclusive_create(storage: Storage, *, threads: int = 8, rounds: int = 20) -> bool:
    """Let ``threads`` writers race for one new key, ``rounds`` times; what was written is deleted again.

    Returns:
        True if each round had exactly one winner and its bytes are what is stored.

    Raises:
        StorageError: the storage failed, so nothing was found out.
    """
    barrier = threading.Barrier(threads)

    def race(key: str, writer: int) -> bool:
        barrier.wait()
        return _create(storage, key, writer)

    with _folder(storage) as folder, ThreadPoolExecutor(threads) as pool:
        for number in range(rounds):
            key = f"{folder}/{number:04d}"
            try:
                won = list(pool.map(race, [key] * threads, range(threads)))
                if won.count(True) != 1 or storage.read(key) != _content(won.index(True)):
                    return False
            finally:
                storage.delete(key)
    return True


@contextlib.contextmanager
def _folder(storage: Storage) -> Iterator[str]:
    """The key of a folder that nobody else uses; in a folder of this machine it is removed at the end."""
    folder = PROBE_PREFIX + secrets.token_hex(8)
    try:
        yield folder
    finally:
        if storage.local_path is not None:
            with contextlib.suppress(OSError):  # never made, or kept alive a moment longer by NFS
                os.rmdir(os.path.join(storage.local_path, folder))


def _create(storage: Storage, key: str, writer: int) -> bool:
    try:
        storage.create(key, [_content(writer)])
    except ConflictError:
        return False
    return True


def _content(writer: int) -> bytes:
    return b"writer %d" % writer

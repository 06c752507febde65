"""Whether a storage's exclusive create holds what it promises, found out by racing it.

Some servers take ``If-None-Match: *`` and ignore it, others lose races. Trying
cannot prove a promise, but it finds such servers within seconds.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

from cas.errors import ConflictError
from cas.storage.base import Storage

__all__ = ["probe_exclusive_create"]


def probe_exclusive_create(storage: Storage, *, threads: int = 8, rounds: int = 20) -> bool:
    """Let ``threads`` writers race for one new key, ``rounds`` times; what was written is deleted again.

    Returns:
        True if each round had exactly one winner and its bytes are what is stored.

    Raises:
        StorageError: the storage failed, so nothing was found out.
    """
    folder = f"probe/{secrets.token_hex(8)}"
    barrier = threading.Barrier(threads)

    def write(key: str, writer: int) -> bool:
        barrier.wait()
        try:
            storage.create(key, [b"writer ", str(writer).encode()])
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        for number in range(rounds):
            key = f"{folder}/{number:04d}"
            try:
                won = list(pool.map(write, [key] * threads, range(threads)))
                if won.count(True) != 1 or storage.read(key) != b"writer %d" % won.index(True):
                    return False
            finally:
                storage.delete(key)
    return True

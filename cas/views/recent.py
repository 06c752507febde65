"""The chunks that were decoded last, so that reading on does not decode them again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from cas.format import Buffer, Digest

__all__ = ["RECENT_BYTES", "RecentChunks"]

RECENT_BYTES = 64 << 20
_STRIPES = 16  # locks for all chunks: two that share one only wait for each other


class RecentChunks:
    """Raw chunks by digest, of at most ``limit_bytes`` together. Methods may be called from any thread."""

    def __init__(self, limit_bytes: int = RECENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._chunks: OrderedDict[Digest, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._fetching = [threading.Lock() for _ in range(_STRIPES)]

    def fetching(self, digest: Digest) -> threading.Lock:
        """What to hold while fetching ``digest``, so that who wants it at the same time waits and then finds it."""
        return self._fetching[digest.raw[0] % len(self._fetching)]

    def find(self, digest: Digest) -> bytes | None:
        """The chunk, if it was used lately."""
        with self._lock:
            if (raw := self._chunks.get(digest)) is not None:
                self._chunks.move_to_end(digest)
            return raw

    def add(self, digest: Digest, raw: Buffer) -> None:
        """Keep a chunk that was verified, and let the least recently used go."""
        kept = bytes(raw)  # a copy of what is a slice: it would keep alive all that was fetched with it
        with self._lock:
            if digest not in self._chunks:
                self._chunks[digest] = kept
                self._size_bytes += len(kept)
            while self._size_bytes > self._limit_bytes:
                _, gone = self._chunks.popitem(last=False)
                self._size_bytes -= len(gone)

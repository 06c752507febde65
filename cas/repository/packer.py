"""Packer: encoded chunks in, uploaded packs out.

Fills a pack, hashes and uploads it in a thread of its own while the next one
fills, and tells the index only once the object is durable. At most
`_UPLOADS_IN_FLIGHT` packs wait, so memory is bounded whatever the input.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from cas.format import Buffer, Digest, Location, PackBuilder, PackEntry
from cas.format.pack import NONCE_BYTES
from cas.repository.keys import PACKS, object_key
from cas.storage.base import Storage

__all__ = ["PACK_BYTES", "Packer"]

PACK_BYTES = 64 << 20
_UPLOADS_IN_FLIGHT = 2

Learn = Callable[[Digest, int, Sequence[PackEntry]], None]


class Packer:
    """Writes chunks into packs of about `PACK_BYTES`. Used from one thread."""

    def __init__(self, storage: Storage, learn: Learn) -> None:
        """``learn(pack, size_bytes, entries)`` is told of every pack that is durable."""
        self._storage, self._learn = storage, learn
        self._builder: PackBuilder | None = None
        self._uploads: deque[Future[list[Location]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cas-upload")
        self._done: list[Location] = []
        self.written_bytes = 0

    def add(self, digest: Digest, raw_bytes: int, codec: int, encoded: Buffer, base: Digest | None = None) -> None:
        """Put one encoded chunk into the pack being filled."""
        if self._builder is None:
            self._builder = PackBuilder(os.urandom(NONCE_BYTES))
        self._builder.add(digest, raw_bytes, codec, encoded, base)
        if self._builder.size_bytes >= PACK_BYTES:
            self._send()

    def finish(self) -> list[Location]:
        """Upload what is left; where every chunk added since the last call went."""
        self._send()
        while self._uploads:
            self._done += self._uploads.popleft().result()
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Drop what was not finished and stop the thread."""
        self._builder = None
        self._thread.shutdown(cancel_futures=True)
        self._uploads.clear()

    def _send(self) -> None:
        if self._builder is None:
            return
        builder, self._builder = self._builder, None
        while len(self._uploads) >= _UPLOADS_IN_FLIGHT:
            self._done += self._uploads.popleft().result()
        self._uploads.append(self._thread.submit(self._upload, builder))

    def _upload(self, builder: PackBuilder) -> list[Location]:
        pack = builder.finish()
        self._storage.create(object_key(PACKS, pack), builder.buffers)
        self._learn(pack, builder.size_bytes, builder.entries)
        self.written_bytes += builder.size_bytes
        return [Location(pack, entry) for entry in builder.entries]

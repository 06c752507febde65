"""Packer: encoded chunks in, durable packs out.

A thread of its own hashes and writes a pack while it fills, so that little is left
to wait for at its end, and tells the index only once the object is durable. What
was added and is not written yet stays below `_WAITING_BYTES`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from blake3 import blake3

from cas.errors import ConflictError
from cas.format import Buffer, Digest, Location, PackBuilder, PackEntry
from cas.format.pack import NONCE_BYTES
from cas.repository.keys import PACKS, object_key
from cas.storage.base import Storage

__all__ = ["PACK_BYTES", "Packer"]

PACK_BYTES = 64 << 20
_WRITE_BYTES = 4 << 20
_WAITING_BYTES = 64 << 20

Learn = Callable[[Digest, int, Sequence[PackEntry]], None]


class Packer:
    """Writes chunks into packs of about `PACK_BYTES`. Used from one thread."""

    def __init__(self, storage: Storage, learn: Learn) -> None:
        """``learn(pack, size_bytes, entries)`` is told of every pack that is durable."""
        self._storage, self._learn = storage, learn
        self._open: _OpenPack | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cas-pack")
        self._writes: deque[tuple[Future[None], int]] = deque()
        self._waiting_bytes = 0
        self._sealed: list[tuple[_OpenPack, Future[list[Location]]]] = []
        self.written_bytes = 0

    def add(self, digest: Digest, raw_bytes: int, codec: int, encoded: Buffer, base: Digest | None = None) -> None:
        """Put one encoded chunk into the pack being filled.

        Raises:
            StorageError: an earlier chunk could not be written.
        """
        if self._open is None:
            self._open = _OpenPack(self._storage)
        pack = self._open
        pack.builder.add(digest, raw_bytes, codec, encoded, base)
        if pack.builder.size_bytes - pack.sent_bytes >= _WRITE_BYTES:
            self._send(pack)
        if pack.builder.size_bytes >= PACK_BYTES:
            self._seal()

    def finish(self) -> list[Location]:
        """Make all that was added durable; where every chunk added since the last call went."""
        self._seal()
        sealed, self._sealed = self._sealed, []
        self._writes.clear()
        self._waiting_bytes = 0
        found: list[Location] = []
        for pack, future in sealed:
            found += future.result()
            self.written_bytes += pack.builder.size_bytes
        return found

    def drop(self) -> None:
        """Forget what was not finished, failures included; what is added from now on goes into new packs."""
        packs = [pack for pack, _ in self._sealed]
        for pack in [*packs, self._open] if self._open else packs:
            pack.give_up()
            self._thread.submit(pack.abort)
        self._open = None
        self._sealed = []
        self._writes.clear()
        self._waiting_bytes = 0

    def close(self) -> None:
        """Forget what was not finished, and stop the thread."""
        self.drop()
        self._thread.shutdown()

    def _send(self, pack: _OpenPack) -> None:
        """Hand what the pack has gathered to the thread; wait if that is too far behind."""
        size_bytes = pack.builder.size_bytes - pack.sent_bytes
        pack.sent_bytes = pack.builder.size_bytes
        self._writes.append((self._thread.submit(pack.write, pack.builder.take()), size_bytes))
        self._waiting_bytes += size_bytes
        while self._waiting_bytes > _WAITING_BYTES or self._writes[0][0].done():
            future, done_bytes = self._writes.popleft()
            self._waiting_bytes -= done_bytes
            try:
                future.result()
            except BaseException:
                self.drop()
                raise
            if not self._writes:
                return

    def _seal(self) -> None:
        if self._open is not None:
            pack, self._open = self._open, None
            pack.builder.seal()
            self._sealed.append((pack, self._thread.submit(pack.create, self._learn)))


class _OpenPack:
    """One pack in the making; `write` and `create` run in the packer's thread, in that order."""

    def __init__(self, storage: Storage) -> None:
        self.builder = PackBuilder(os.urandom(NONCE_BYTES))
        self.sent_bytes = 0
        self._upload = storage.upload(f"{PACKS}/")
        self._hasher = blake3()
        self._failure: BaseException | None = None

    def give_up(self) -> None:
        """Called from another thread: what is still to be written of this pack is not."""
        self._failure = self._failure or ConflictError("the put that this pack was made for has failed")

    def write(self, data: list[Buffer]) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            for buffer in data:
                self._hasher.update(buffer)
            self._upload.write(data)
        except BaseException as failure:
            # Whatever follows must not make a pack with a hole in it.
            self._failure = failure
            self.abort()
            raise

    def create(self, learn: Learn) -> list[Location]:
        try:
            self.write(self.builder.take())
            pack = Digest(self._hasher.digest())
            self._upload.create(object_key(PACKS, pack))
        finally:
            self.abort()
        learn(pack, self.builder.size_bytes, self.builder.entries)
        return [Location(pack, entry) for entry in self.builder.entries]

    def abort(self) -> None:
        self._upload.abort()

"""The reader: a digest in, verified bytes out.

Every byte that leaves was checked against its chunk's digest. Chunks that lie
near each other in a pack are fetched by one ranged read; a few threads fetch,
decode and verify ahead of the caller, in bounded memory, and results come in the
order that was asked for. Needs the storage alone: no index, no listing.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from blake3 import blake3

from cas.codecs import decode
from cas.errors import CasError, CorruptError, FormatError, NotFoundError
from cas.format import Buffer, ChunkRef, Commit, Digest, Location, Manifest, TreeEntry
from cas.repository.keys import COMMITS, MANIFESTS, PACKS, object_key
from cas.storage.base import Storage

__all__ = ["Reader"]

T = TypeVar("T")

_RUN_BYTES = 8 << 20  # raw bytes of one task: long enough to be worth a request, short enough to overlap
_GAP_BYTES = 64 << 10  # reading this much for nothing costs less than another request
_MAX_BASES = 64
_MANIFESTS_KEPT = 64

_Read = tuple[Location, T, Buffer, Buffer]  # where it lay, the caller's own, encoded bytes, raw bytes


class Reader:
    """Reads one store. Methods may be called from any thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = max(2, os.cpu_count() or 2)
        self._manifest = lru_cache(_MANIFESTS_KEPT)(self._read_manifest)

    def manifest(self, checkpoint: Digest) -> Manifest:
        """The manifest of a checkpoint.

        Raises:
            NotFoundError: the store has no such checkpoint.
            CorruptError: it has, and the bytes are not what was written.
        """
        return self._manifest(checkpoint)

    def commit(self, commit: Digest) -> Commit:
        """A commit. NotFoundError if the store has none of that id."""
        key = object_key(COMMITS, commit)
        return Commit.decode(self._storage.read(key), commit, key)

    def read_blob(self, manifest: Manifest, entry: TreeEntry) -> bytes:
        """A whole file in memory, checked against its blob digest."""
        return b"".join(self.iter_blob(manifest, entry))

    def iter_blob(self, manifest: Manifest, entry: TreeEntry) -> Iterator[Buffer]:
        """A file piece by piece. The last piece comes only after the whole matched the blob digest."""
        chunks = manifest.recipe(entry.blob).chunks
        whole = blake3()
        for number, (_, data) in enumerate(self.read_chunks(manifest, ((chunk, None) for chunk in chunks)), start=1):
            if len(chunks) > 1:
                whole.update(data)
            if number == len(chunks) > 1 and whole.digest() != entry.blob.raw:
                raise CorruptError(entry.blob, whole.hexdigest(), f"{entry.path} of checkpoint {manifest.tree.hash}")
            yield data

    def read_chunks(
        self,
        manifest: Manifest,
        work: Iterable[tuple[ChunkRef, T]],
        sink: Callable[[T, Buffer], None] | None = None,
    ) -> Iterator[tuple[T, Buffer]]:
        """The raw bytes of many chunks, verified.

        Args:
            manifest: says where they lie.
            work: chunks and whatever the caller wants back with each.
            sink: called in the thread that verified a chunk, right after it did.

        Yields:
            What came with each chunk, and its bytes, in the order of ``work``.
        """
        located = ((manifest.locations[chunk.digest], tag) for chunk, tag in work)
        for _, tag, _, raw in self._read(manifest, located, sink):
            yield tag, raw

    def read_encoded(self, manifest: Manifest, locations: Iterable[Location]) -> Iterator[tuple[Location, Buffer]]:
        """Chunks as they are stored, in order; each was decoded and held to its digest before it comes."""
        for location, _, encoded, _ in self._read(manifest, ((location, None) for location in locations), None):
            yield location, encoded

    def _read(
        self, manifest: Manifest, located: Iterable[tuple[Location, T]], sink: Callable[[T, Buffer], None] | None
    ) -> Iterator[_Read[T]]:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="cas-read") as pool:
            waiting: deque[Future[list[_Read[T]]]] = deque()
            try:
                for run in _runs(located):
                    waiting.append(pool.submit(self._read_run, manifest, run, sink))
                    if len(waiting) > self._threads + 1:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read_manifest(self, checkpoint: Digest) -> Manifest:
        key = object_key(MANIFESTS, checkpoint)
        try:
            data = self._storage.read(key)
        except NotFoundError as error:
            raise NotFoundError(f"no checkpoint {checkpoint} in {self._storage.url}") from error
        return Manifest.decode(data, checkpoint, key)

    def _read_run(
        self, manifest: Manifest, run: list[tuple[Location, T]], sink: Callable[[T, Buffer], None] | None
    ) -> list[_Read[T]]:
        first, last = run[0][0], run[-1][0]
        start = first.entry.offset
        data = memoryview(self._read_range(first, last.entry.end - start))
        done: list[_Read[T]] = []
        for location, tag in run:
            encoded = data[location.entry.offset - start : location.entry.end - start]
            raw = self._verify(manifest, location, encoded, _MAX_BASES)
            if sink is not None:
                sink(tag, raw)
            done.append((location, tag, encoded, raw))
        return done

    def _read_range(self, location: Location, size_bytes: int) -> bytes:
        return self._storage.read_range(object_key(PACKS, location.pack), location.entry.offset, size_bytes)

    def _verify(self, manifest: Manifest, location: Location, encoded: Buffer, bases_left: int) -> Buffer:
        entry = location.entry
        where = f"chunk {entry.digest} at {entry.offset} of {object_key(PACKS, location.pack)}"
        base: Buffer | None = None
        if entry.base is not None:
            if not bases_left:
                raise FormatError(f"{where} needs more than {_MAX_BASES} bases in a row")
            under = manifest.locations[entry.base]
            base = self._verify(manifest, under, self._read_range(under, under.entry.stored_bytes), bases_left - 1)
        try:
            raw = decode(entry.codec, encoded, entry.raw_bytes, base)
        except CorruptError as error:
            raise CorruptError(error.expected, error.actual, where) from error
        except CasError as error:
            raise type(error)(f"{where}: {error}") from error
        if (actual := Digest.of(raw)) != entry.digest:
            raise CorruptError(entry.digest, actual, where)
        return raw


def _runs(located: Iterable[tuple[Location, T]]) -> Iterator[list[tuple[Location, T]]]:
    """Split work, in its order, into runs that one ranged read of a pack can serve."""
    run: list[tuple[Location, T]] = []
    raw_bytes = 0
    for location, tag in located:
        if run:
            last = run[-1][0]
            gap = location.entry.offset - last.entry.end
            near = location.pack == last.pack and 0 <= gap <= _GAP_BYTES
            if not near or raw_bytes + location.entry.raw_bytes > _RUN_BYTES:
                yield run
                run, raw_bytes = [], 0
        run.append((location, tag))
        raw_bytes += location.entry.raw_bytes
    if run:
        yield run

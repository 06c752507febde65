"""The reader: a digest in, verified bytes out.

Every byte that leaves was checked against its chunk's digest. Chunks that lie
near each other in a pack are fetched by one ranged read; a few threads fetch,
decode and verify ahead of the caller, in bounded memory, and results come in the
order that was asked for. Needs the storage alone: no index, no listing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from typing import TypeVar

from blake3 import blake3

from cas.codecs import decode
from cas.errors import CasError, CorruptError, NotFoundError
from cas.format import Buffer, ChunkRef, Commit, Digest, Location, Manifest, TreeEntry
from cas.repository.ahead import WORKERS, ahead
from cas.repository.cache import ChunkCache
from cas.repository.keys import COMMITS, MANIFESTS, PACKS, object_key
from cas.storage.base import Storage

__all__ = ["Reader"]

T = TypeVar("T")
R = TypeVar("R")

# Raw bytes of one task: enough to be worth a request to a server; few enough for a core's caches on this machine.
_FAR_RUN_BYTES = 8 << 20
_NEAR_RUN_BYTES = 2 << 20
_GAP_BYTES = 64 << 10  # reading this much for nothing costs less than another request
_MANIFESTS_KEPT = 64

_Run = list[tuple[Location, T]]  # where chunks lie, in one range of one pack, and what the caller has with each


class Reader:
    """Reads one store. Methods may be called from any thread."""

    def __init__(self, storage: Storage, cache: ChunkCache | None = None) -> None:
        """Read ``storage``, and keep in ``cache`` what was fetched, and look there first."""
        self._storage, self._cache = storage, cache
        self._run_bytes = _FAR_RUN_BYTES if storage.local_path is None else _NEAR_RUN_BYTES
        self._manifest = lru_cache(_MANIFESTS_KEPT)(self._read_manifest)

    def manifest(self, checkpoint: Digest) -> Manifest:
        """The manifest of a checkpoint.

        Raises:
            NotFoundError: the store has no such checkpoint.
            CorruptError: it has, and the bytes are not what was written.
        """
        return self._manifest(checkpoint)

    def forget_manifests(self) -> None:
        """Read manifests anew from now on: one that was read before may have been collected."""
        self._manifest.cache_clear()

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
            What came with each chunk, and its bytes, in the order of ``work``. Once the iterator
            is closed or exhausted, no ``sink`` runs any more.
        """
        located = ((manifest.locations[chunk.digest], tag) for chunk, tag in work)
        return self._ahead(located, lambda run: self._raw_run(manifest, run, sink))

    def read_encoded(self, manifest: Manifest, locations: Iterable[Location]) -> Iterator[tuple[Location, Buffer]]:
        """Chunks as they are stored, in order; each was decoded and held to its digest before it comes."""

        def read(run: _Run[None]) -> list[tuple[Location, Buffer]]:
            return [(location, encoded) for location, _, encoded, _ in self._fetch_run(manifest, run)]

        return self._ahead(((location, None) for location in locations), read)

    def _ahead(self, located: Iterable[tuple[Location, T]], read: Callable[[_Run[T]], list[R]]) -> Iterator[R]:
        """``read`` of every run, by a few threads ahead of the caller, in order."""
        with closing(ahead(WORKERS, read, _runs(located, self._run_bytes))) as runs:
            for found in runs:
                yield from found

    def _raw_run(
        self, manifest: Manifest, run: _Run[T], sink: Callable[[T, Buffer], None] | None
    ) -> list[tuple[T, Buffer]]:
        """The chunks of a run, each handed to ``sink`` as soon as it was verified."""
        done = []
        for tag, raw in self._iter_run(manifest, run):
            if sink is not None:
                sink(tag, raw)
            done.append((tag, raw))
        return done

    def _iter_run(self, manifest: Manifest, run: _Run[T]) -> Iterator[tuple[T, Buffer]]:
        if self._cache is not None:
            yield from self._cached_run(self._cache, manifest, run)
        else:
            for _, tag, _, raw in self._fetch_run(manifest, run):
                yield tag, raw

    def _cached_run(self, cache: ChunkCache, manifest: Manifest, run: _Run[T]) -> Iterator[tuple[T, Buffer]]:
        """The chunks of a run from the node's cache, and those it lacks from the storage."""
        digests = [location.entry.digest for location, _ in run]
        found: dict[Digest, Buffer] = {}
        _look(cache, digests, found)
        if len(found) < len(set(digests)):
            # Whoever comes second finds what the first has fetched: a node downloads once.
            with cache.fetching(digests[0]):
                _look(cache, digests, found)
                lacking = [(location, None) for location, _ in run if location.entry.digest not in found]
                for part in _runs(lacking, self._run_bytes):
                    for location, _, _, raw in self._fetch_run(manifest, part):
                        cache.add(location.entry.digest, raw)
                        found[location.entry.digest] = raw
        for location, tag in run:
            yield tag, found[location.entry.digest]

    def _fetch_run(self, manifest: Manifest, run: _Run[T]) -> Iterator[tuple[Location, T, Buffer, Buffer]]:
        """The chunks of a run by one ranged read: where each lay, its tag, its encoded and its raw bytes, verified."""
        first, last = run[0][0], run[-1][0]
        start = first.entry.offset
        data = memoryview(self._read_range(first, last.entry.end - start))
        for location, tag in run:
            encoded = data[location.entry.offset - start : location.entry.end - start]
            yield location, tag, encoded, self._verify(manifest, location, encoded)

    def _read_range(self, location: Location, size_bytes: int) -> bytes:
        return self._storage.read_range(object_key(PACKS, location.pack), location.entry.offset, size_bytes)

    def _read_manifest(self, checkpoint: Digest) -> Manifest:
        key = object_key(MANIFESTS, checkpoint)
        try:
            data = self._storage.read(key)
        except NotFoundError as error:
            raise NotFoundError(f"no checkpoint {checkpoint} in {self._storage.url}") from error
        return Manifest.decode(data, checkpoint, key)

    def _verify(self, manifest: Manifest, location: Location, encoded: Buffer) -> Buffer:
        """Decode a chunk, its bases first, and hold it to its digest."""
        entry = location.entry
        where = f"chunk {entry.digest} at {entry.offset} of {object_key(PACKS, location.pack)}"
        base: Buffer | None = None
        if entry.base is not None:  # a manifest has checked that this ends
            under = manifest.locations[entry.base]
            base = self._verify(manifest, under, self._read_range(under, under.entry.stored_bytes))
        try:
            raw = decode(entry.codec, encoded, entry.raw_bytes, base)
        except CorruptError as error:
            raise CorruptError(error.expected, error.actual, where) from error
        except CasError as error:
            raise type(error)(f"{where}: {error}") from error
        if (actual := Digest.of(raw)) != entry.digest:
            raise CorruptError(entry.digest, actual, where)
        return raw


def _look(cache: ChunkCache, digests: Iterable[Digest], found: dict[Digest, Buffer]) -> None:
    for digest in digests:
        if digest not in found and (raw := cache.find(digest)) is not None:
            found[digest] = raw


def _runs(located: Iterable[tuple[Location, T]], run_bytes: int) -> Iterator[_Run[T]]:
    """Split work, in its order, into runs that one ranged read of a pack can serve."""
    run: _Run[T] = []
    raw_bytes = 0
    for location, tag in located:
        if run:
            last = run[-1][0]
            gap = location.entry.offset - last.entry.end
            near = location.pack == last.pack and 0 <= gap <= _GAP_BYTES
            if not near or raw_bytes + location.entry.raw_bytes > run_bytes:
                yield run
                run, raw_bytes = [], 0
        run.append((location, tag))
        raw_bytes += location.entry.raw_bytes
    if run:
        yield run

"""The writer: sources in, one tree and its manifest in the store.

Each file is read once, in chunks: the caller's thread reads and hashes the blob,
one thread hashes chunks, the others encode. A batch of chunks is looked up in
the index together; only what is new is encoded and packed. What is in flight is
bounded by `_IN_FLIGHT_BYTES`, whatever the input. Leaves before roots: packs are
durable before the manifest that names them is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from cas.chunkers import RawChunk, iter_chunks
from cas.codecs import Encoded, encode
from cas.errors import ConflictError, CorruptError, NotFoundError
from cas.format import EMPTY, Buffer, ChunkRef, Digest, Location, Manifest, PackEntry, Recipe, Tree, TreeEntry
from cas.layouts import find_layout
from cas.progress import SILENT, Progress
from cas.repository.ahead import WORKERS
from cas.repository.keys import MANIFESTS, PACKS, object_key
from cas.repository.leases import HeldLease
from cas.repository.packer import Packer
from cas.repository.reader import Reader
from cas.repository.source import Source
from cas.storage.base import Storage

if TYPE_CHECKING:
    from cas.index import Index

__all__ = ["Stored", "Writer"]

_BATCH_BYTES = 8 << 20
_BATCH_CHUNKS = 512
_IN_FLIGHT_BYTES = 96 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing a tree came to.

    Attributes:
        tree: the checkpoint; its hash is the result.
        new_bytes: raw bytes of chunks that the store did not have.
        stored_bytes: what was written to packs for them.
    """

    tree: Tree
    new_bytes: int
    stored_bytes: int


@dataclass(slots=True)
class _Hashed:
    """A chunk that was read, and its digest to come."""

    data: Buffer
    itemsize: int
    digest: Future[Digest]


@dataclass(slots=True)
class _Put:
    """The state of one put: what it has found and what is still on its way."""

    locations: dict[Digest, Location] = field(default_factory=dict)
    encoding: deque[tuple[Digest, int, Future[Encoded]]] = field(default_factory=deque)
    pending: set[Digest] = field(default_factory=set)
    batch: list[_Hashed] = field(default_factory=list)
    batch_bytes: int = 0
    in_flight_bytes: int = 0
    new_bytes: int = 0


class Writer:
    """Stores trees under one lease. Used by one thread at a time; its own threads are inside."""

    def __init__(self, storage: Storage, index: Index, reader: Reader, lease: HeldLease) -> None:
        """Write to ``storage`` under ``lease``, which is given up by `close`."""
        self._storage, self._index, self._reader, self._lease = storage, index, reader, lease
        self._vouched: set[Digest] = set()  # packs that were found or written under this lease
        self._reader.forget_manifests()
        self._encoders = ThreadPoolExecutor(WORKERS, thread_name_prefix="cas-encode")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="cas-hash")
        self._packer = Packer(storage, self._learn)

    def close(self) -> None:
        """Stop the threads and give the lease up."""
        self._encoders.shutdown(cancel_futures=True)
        self._hasher.shutdown(cancel_futures=True)
        self._packer.close()
        self._lease.release()

    def put(
        self, sources: Sequence[Source], empty_directories: Iterable[str] = (), progress: Progress = SILENT
    ) -> Stored:
        """Store a tree; its packs and manifest are durable on return.

        Args:
            sources: the files; their paths must form a tree.
            empty_directories: directories with nothing in them.
            progress: told of raw bytes as they are read.

        Raises:
            ConflictError: a file changed while it was read, twice.
        """
        self._renew()
        if (known := self._known_tree(sources, empty_directories)) is not None:
            return Stored(known, 0, 0)
        put = _Put()
        written_before = self._packer.written_bytes
        progress.begin("put", sum(source.size_bytes for source in sources))
        try:
            blobs = [self._store(source, put, progress) for source in sources]
            self._flush(put)
            self._collect(put, 0)
            for location in self._packer.finish():
                put.locations[location.entry.digest] = location
        except BaseException:
            self._packer.drop()  # else the next put would wait for these packs, and fail where they failed
            raise
        finally:
            progress.end()
        recipes = [
            Recipe(blob, tuple(ChunkRef(digest.result(), size) for digest, size in chunks)) for blob, chunks in blobs
        ]
        tree = Tree.of(
            (
                TreeEntry(source.path, recipe.size_bytes, source.executable, recipe.blob)
                for source, recipe in zip(sources, recipes, strict=True)
            ),
            empty_directories,
        )
        self.publish(Manifest.of(tree, recipes, put.locations.values()))
        return Stored(tree, put.new_bytes, self._packer.written_bytes - written_before)

    def add_encoded(self, entry: PackEntry, encoded: Buffer) -> None:
        """Take over a chunk that is encoded already and was verified; `finish_packs` says where it went."""
        self._packer.add(entry.digest, entry.raw_bytes, entry.codec, encoded, entry.base)

    def finish_packs(self) -> list[Location]:
        """Make what `add_encoded` took durable; where each chunk lies now."""
        return self._packer.finish()

    @property
    def generation(self) -> int:
        """The generation this writer deduplicates in."""
        return self._lease.generation

    def publish(self, manifest: Manifest) -> None:
        """Write a manifest whose chunks are all durable, and let the index know."""
        if self._lease.lapsed():
            self._renew()
        self._look_again(manifest)
        # The same content may have been published before, perhaps cut or packed otherwise: that one stays.
        if self._find_published(manifest.tree.hash) is not None:
            return
        try:
            self._storage.create(object_key(MANIFESTS, manifest.tree.hash), [manifest.encode()])
        except ConflictError:
            try:
                manifest = self._reader.manifest(manifest.tree.hash)
            except CorruptError:  # the whole one that is at hand mends it
                self._storage.replace(object_key(MANIFESTS, manifest.tree.hash), [manifest.encode()])
        self._index.add_checkpoint(manifest)

    # -- one put, in the order a byte travels

    def _known_tree(self, sources: Sequence[Source], empty_directories: Iterable[str]) -> Tree | None:
        """The tree, if nothing has to be read to know it and the store has it already."""
        entries = []
        for source in sources:
            if source.known_blob is None:
                return None
            entries.append(TreeEntry(source.path, source.size_bytes, source.executable, source.known_blob))
        tree = Tree.of(entries, empty_directories)
        manifest = self._find_published(tree.hash)
        return tree if manifest is not None and self._all_present(manifest) else None

    def _store(self, source: Source, put: _Put, progress: Progress) -> tuple[Digest, list[tuple[Future[Digest], int]]]:
        """Read a file, or find it known, and send its chunks on their way."""
        if source.known_blob is not None and (found := self._reuse(source.known_blob, put)) is not None:
            progress.advance(source.size_bytes)
            return source.known_blob, found
        try:
            return self._read(source, put, progress)
        except ConflictError:
            # Once more: it may have been a save that is over by now. The second time it is the caller's to know.
            return self._read(source, put, progress)

    def _read(self, source: Source, put: _Put, progress: Progress) -> tuple[Digest, list[tuple[Future[Digest], int]]]:
        chunks: list[tuple[Future[Digest], int]] = []
        blob = blake3()
        with source.open() as read_at:
            layout = find_layout(read_at, source.size_bytes) if source.size_bytes else None
            for chunk in iter_chunks(read_at, source.size_bytes, layout):
                size = len(chunk.data)
                digest = self._take(chunk, put)
                chunks.append((digest, size))
                if size != source.size_bytes:
                    blob.update(chunk.data)
                progress.advance(size)
        if not chunks:
            name = EMPTY
        elif len(chunks) == 1:
            name = chunks[0][0].result()
        else:
            name = Digest(blob.digest())
        source.settle(name)
        return name, chunks

    def _take(self, chunk: RawChunk, put: _Put) -> Future[Digest]:
        digest = self._hasher.submit(Digest.of, chunk.data)
        put.batch.append(_Hashed(chunk.data, chunk.itemsize, digest))
        put.batch_bytes += len(chunk.data)
        put.in_flight_bytes += len(chunk.data)
        if put.batch_bytes >= _BATCH_BYTES or len(put.batch) >= _BATCH_CHUNKS:
            self._flush(put)
        return digest

    def _flush(self, put: _Put) -> None:
        """Look a batch up and send what is new to the encoders."""
        batch, put.batch, put.batch_bytes = put.batch, [], 0
        digests = [hashed.digest.result() for hashed in batch]
        unknown = {digest for digest in digests if digest not in put.locations and digest not in put.pending}
        put.locations.update(self.find_chunks(unknown))
        for hashed, digest in zip(batch, digests, strict=True):
            size = len(hashed.data)
            if digest in put.locations or digest in put.pending:
                put.in_flight_bytes -= size
                continue
            put.pending.add(digest)
            put.new_bytes += size
            put.encoding.append((digest, size, self._encoders.submit(encode, hashed.data, hashed.itemsize)))
        self._collect(put, _IN_FLIGHT_BYTES)

    def _collect(self, put: _Put, limit_bytes: int) -> None:
        """Pack what is encoded, in order, until at most ``limit_bytes`` of raw bytes are in flight."""
        while put.encoding and (put.in_flight_bytes > limit_bytes or put.encoding[0][2].done()):
            digest, size, future = put.encoding.popleft()
            encoded = future.result()
            self._packer.add(digest, size, encoded.codec, encoded.data)
            put.in_flight_bytes -= size

    # -- what the store has already

    def find_chunks(self, digests: set[Digest]) -> dict[Digest, Location]:
        """Locations of known chunks, and of every base that reading them needs."""
        found = self._index.find_chunks(digests, self._lease.generation) if digests else {}
        bases = _missing_bases(found)
        while bases:
            more = self._index.find_chunks(bases, self._lease.generation)
            if lost := bases - more.keys():
                # A chunk whose base is gone cannot be read: it counts as unknown and is stored again.
                found = {digest: at for digest, at in found.items() if at.entry.base not in lost}
            found |= more
            bases = _missing_bases(found) - lost
        self._vouched.update(at.pack for at in found.values())
        return {digest: at for digest, at in found.items() if _readable(at, found)}

    def _find_published(self, checkpoint: Digest) -> Manifest | None:
        """The manifest that the store has, if the index has heard of it; else nothing is asked."""
        if not self._index.find_checkpoints_by_prefix(str(checkpoint)):
            return None
        try:
            return self._reader.manifest(checkpoint)
        except (NotFoundError, CorruptError):
            return None

    def _all_present(self, manifest: Manifest) -> bool:
        wanted = set(manifest.locations)
        return len(self._index.find_chunks(wanted, self._lease.generation)) == len(wanted)

    def _reuse(self, blob: Digest, put: _Put) -> list[tuple[Future[Digest], int]] | None:
        """The chunks of a blob that some checkpoint of this store has, if all are still there."""
        if blob == EMPTY:
            return []
        owner = self._index.find_blobs([blob]).get(blob)
        if owner is None:
            return None
        try:
            recipe = self._reader.manifest(owner).recipe(blob)
        except (NotFoundError, CorruptError):
            return None
        wanted = {chunk.digest for chunk in recipe.chunks}
        found = self.find_chunks(wanted)
        if not wanted <= found.keys():
            return None
        put.locations.update(found)
        return [(_resolved(chunk.digest), chunk.size_bytes) for chunk in recipe.chunks]

    def _renew(self) -> None:
        if self._lease.renew():
            self._vouched.clear()
            self._reader.forget_manifests()

    def _look_again(self, manifest: Manifest) -> None:
        """Every pack that was found under an earlier lease: does it still count as present, and is it there?"""
        packs = {location.pack for location in manifest.locations.values()} - self._vouched
        known = self._index.known_packs(packs, self._lease.generation) if packs else packs
        for pack in packs:
            try:
                if pack not in known:
                    raise NotFoundError(f"pack {pack} is not known in generation {self._lease.generation}")
                self._storage.read_tail(object_key(PACKS, pack), 1)
            except NotFoundError as error:
                raise ConflictError(
                    f"pack {pack} was collected, or may be, while this put took longer than its lease; put again"
                ) from error
        self._vouched |= packs

    def _learn(self, pack: Digest, size_bytes: int, entries: Sequence[PackEntry]) -> None:
        self._index.add_pack(pack, size_bytes, entries, self._lease.generation)
        self._vouched.add(pack)
        self._lease.extend()


def _resolved(digest: Digest) -> Future[Digest]:
    future: Future[Digest] = Future()
    future.set_result(digest)
    return future


def _missing_bases(found: dict[Digest, Location]) -> set[Digest]:
    return {at.entry.base for at in found.values() if at.entry.base is not None} - found.keys()


def _readable(at: Location, found: dict[Digest, Location]) -> bool:
    while (base := at.entry.base) is not None:
        if base not in found:
            return False
        at = found[base]
    return True

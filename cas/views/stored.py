"""The files of a checkpoint in a store, read chunk by chunk.

Only chunks that overlap what is read are fetched, neighbours together (`Reader.read_chunks`),
and each is verified. Those decoded last are kept, for all files of the checkpoint together.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

from cas.format import Buffer, ChunkRef, Digest, Tree, TreeEntry
from cas.repository import Reader, Repository
from cas.views.folders import Folders
from cas.views.ranges import check_range
from cas.views.recent import RecentChunks

__all__ = ["BlobRanges", "StoredFiles", "open_stored_files"]

_STRETCH_BYTES = 64 << 20  # what of one long read is in memory at once, besides what the reader has in flight


class StoredFiles(Mapping[str, "BlobRanges"]):
    """A checkpoint's files by path; nothing but its manifest is read before a file is."""

    def __init__(self, reader: Reader, checkpoint: Digest, recent: RecentChunks | None = None) -> None:
        """The files of a checkpoint.

        Args:
            reader: of the store that has it.
            checkpoint: its hash.
            recent: chunks to share with other checkpoints; its own by default.

        Raises:
            NotFoundError: the store has no such checkpoint.
        """
        self.reader = reader
        self.manifest = reader.manifest(checkpoint)
        self.recent = recent or RecentChunks()

    @property
    def tree(self) -> Tree:
        """What the checkpoint is."""
        return self.manifest.tree

    @cached_property
    def folders(self) -> Folders:
        """What is in which folder."""
        return Folders(self.tree)

    def __getitem__(self, path: str) -> BlobRanges:
        """One file. NotFoundError, which is a KeyError, names some that there are."""
        return BlobRanges(self, self.tree.entry(path))

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.tree.find(path) is not None

    def __iter__(self) -> Iterator[str]:
        return (entry.path for entry in self.tree.files)

    def __len__(self) -> int:
        return len(self.tree.files)


def open_stored_files(url: str, checkpoint: Digest) -> StoredFiles:
    """The files of a checkpoint in the store at ``url``, which is closed once nobody holds them or one of them.

    Raises:
        NotFoundError: there is no such store, or it has no such checkpoint.
    """
    repository = Repository.open(url)
    try:
        files = StoredFiles(repository.reader, checkpoint)
    except BaseException:
        repository.close()
        raise
    weakref.finalize(files, repository.close)
    return files


class BlobRanges:
    """One file of a stored checkpoint: `cas.views.Ranges`."""

    def __init__(self, files: StoredFiles, entry: TreeEntry) -> None:
        self._files, self.entry = files, entry

    @property
    def path(self) -> str:
        """Its path in the checkpoint."""
        return self.entry.path

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.entry.size_bytes

    @cached_property
    def _chunks(self) -> tuple[ChunkRef, ...]:
        return self._files.manifest.recipe(self.entry.blob).chunks

    @cached_property
    def _ends(self) -> list[int]:
        """Where each chunk ends in the file."""
        return list(accumulate(chunk.size_bytes for chunk in self._chunks))

    def near(self, offset: int) -> int:
        """Bytes from ``offset`` to the end of its chunk."""
        if offset >= self.size_bytes:
            return 0
        return self._ends[bisect_right(self._ends, offset)] - offset

    def iter_range(self, offset: int, size_bytes: int) -> Iterator[Buffer]:
        """Exactly those bytes, each chunk fetched once."""
        check_range(self, offset, size_bytes)
        if not size_bytes:
            return
        end = offset + size_bytes
        at, last = bisect_right(self._ends, offset), bisect_left(self._ends, end)
        while at <= last:
            start = self._ends[at] - self._chunks[at].size_bytes
            stop = min(max(bisect_right(self._ends, start + _STRETCH_BYTES), at + 1), last + 1)
            for data in self._iter_chunks(self._chunks[at:stop]):
                yield memoryview(data)[max(offset - start, 0) : end - start]
                start += len(data)
            at = stop

    def _iter_chunks(self, chunks: Sequence[ChunkRef]) -> Iterator[Buffer]:
        """The chunks in order; one that comes several times is fetched once."""
        if len(chunks) == 1:
            yield self._chunk(chunks[0])
            return
        recent = self._files.recent
        held: dict[Digest, Buffer] = {}
        lacking: dict[Digest, ChunkRef] = {}
        for chunk in chunks:
            if (known := recent.find(chunk.digest)) is not None:
                held[chunk.digest] = known
            else:
                lacking[chunk.digest] = chunk
        work = ((chunk, digest) for digest, chunk in lacking.items())
        fetched = self._files.reader.read_chunks(self._files.manifest, work)
        for chunk in chunks:
            while chunk.digest not in held:
                digest, raw = next(fetched)
                recent.add(digest, raw)
                held[digest] = raw
            yield held[chunk.digest]

    def _chunk(self, chunk: ChunkRef) -> Buffer:
        """One chunk, as small reads want it: whoever else wants it now waits, rather than fetch it as well."""
        recent = self._files.recent
        if (known := recent.find(chunk.digest)) is not None:
            return known
        with recent.fetching(chunk.digest):
            if (known := recent.find(chunk.digest)) is not None:
                return known
            ((_, raw),) = self._files.reader.read_chunks(self._files.manifest, [(chunk, None)])
            recent.add(chunk.digest, raw)
            return raw

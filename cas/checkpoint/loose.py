"""Loose content: files that are in no store, read as if they were.

A directory or a dict that nobody has asked the hash of is hashed in pieces, and
then read through the same two things that a store offers: a manifest, and a
reader of verified chunks. So a restore is one piece of code, wherever from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from blake3 import blake3

from cas.errors import ConflictError
from cas.format import EMPTY, Buffer, ChunkRef, Digest, Location, Manifest, PackEntry, Recipe, Tree, TreeEntry
from cas.format.pack import HEADER_BYTES, RECORD_BYTES
from cas.repository import Source

__all__ = ["LooseReader"]

T = TypeVar("T")

_PIECE_BYTES = 4 << 20
_NOWHERE = Digest(bytes(32))  # the pack that pieces would lie in, if there were one


class LooseReader:
    """Sources, hashed once on construction; `manifest` describes them, `read_chunks` reads them.

    Raises:
        ConflictError: from any method, when a source is no longer what was hashed.
    """

    def __init__(self, sources: Sequence[Source], empty_directories: Iterable[str]) -> None:
        self._pieces: dict[Digest, tuple[Source, int]] = {}
        locations: dict[Digest, Location] = {}
        entries, recipes = [], []
        for source in sources:
            chunks = []
            whole = blake3()
            with source.open() as read_at:
                for offset in range(0, source.size_bytes, _PIECE_BYTES):
                    piece = read_at(offset, min(_PIECE_BYTES, source.size_bytes - offset))
                    whole.update(piece)
                    chunk = ChunkRef(Digest.of(piece), len(piece))
                    chunks.append(chunk)
                    self._pieces[chunk.digest] = (source, offset)
                    locations[chunk.digest] = _unpacked(chunk)
            blob = Digest(whole.digest()) if chunks else EMPTY
            source.settle(blob)
            entries.append(TreeEntry(source.path, source.size_bytes, source.executable, blob))
            recipes.append(Recipe(blob, tuple(chunks)))
        self.manifest = Manifest.of(Tree.of(entries, empty_directories), recipes, locations.values())

    def read_chunks(
        self,
        manifest: Manifest,
        work: Iterable[tuple[ChunkRef, T]],
        sink: Callable[[T, Buffer], None] | None = None,
    ) -> Iterator[tuple[T, Buffer]]:
        """As `cas.repository.Reader.read_chunks`, in the caller's thread."""
        for chunk, tag in work:
            source, offset = self._pieces[chunk.digest]
            with source.open() as read_at:
                data = read_at(offset, chunk.size_bytes)
            if Digest.of(data) != chunk.digest:
                raise ConflictError(f"{source.path} changed after it was hashed; start again when nobody writes to it")
            if sink is not None:
                sink(tag, data)
            yield tag, data

    def iter_file(self, entry: TreeEntry) -> Iterator[Buffer]:
        """One file's bytes, in pieces."""
        for _, data in self.read_chunks(self.manifest, ((c, None) for c in self.manifest.recipe(entry.blob).chunks)):
            yield data


def _unpacked(chunk: ChunkRef) -> Location:
    entry = PackEntry(chunk.digest, HEADER_BYTES + RECORD_BYTES, chunk.size_bytes, chunk.size_bytes, codec=0)
    return Location(_NOWHERE, entry)

"""Restoring: a checkpoint from a store, or from wherever its files are, into a directory.

How files get there is `cas.worktree.writing`'s; here is where their bytes come
from, and that every file is held against its blob digest before it appears.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from blake3 import blake3

from cas.errors import ConflictError, CorruptError
from cas.format import EMPTY, Buffer, ChunkRef, Digest, Manifest, Tree, TreeEntry
from cas.progress import SILENT, Progress
from cas.repository import Source
from cas.worktree.writing import Piece, RestoreResult, StagedFile, write_tree

__all__ = ["ChunkReader", "hash_sources", "iter_source", "restore", "write_sources"]

T = TypeVar("T")
_Pieces = Generator[tuple[Piece, Buffer], None, None]

_PIECE_BYTES = 4 << 20


class ChunkReader(Protocol):
    """What a restore needs of `cas.repository.Reader`."""

    def read_chunks(
        self,
        manifest: Manifest,
        work: Iterable[tuple[ChunkRef, T]],
        sink: Callable[[T, Buffer], None] | None = None,
    ) -> Iterator[tuple[T, Buffer]]:
        """Verified chunks in the order of ``work``, each after ``sink`` took it in some other thread.

        Closing the iterator returns once no ``sink`` runs any more.
        """


def restore(
    reader: ChunkReader, manifest: Manifest, target: Path, *, overwrite: bool = False, progress: Progress = SILENT
) -> RestoreResult:
    """Write a stored checkpoint's files into a directory.

    Interrupted anywhere, it can be run again and finishes: files that are whole stay.

    Args:
        reader: the store it is in.
        manifest: the checkpoint.
        target: the directory; made if it is not there. Whatever it has besides stays.
        overwrite: replace files that are there and differ.
        progress: told of raw bytes as they are written.

    Raises:
        ConflictError: a file is there, differs, and ``overwrite`` is not set. Nothing was written.
        RefusedError: something is in the way, a name is reserved, or two names are one to the
            target's file system. Nothing was written.
        CorruptError: the store's bytes are not the checkpoint's. Such a file never appears.
        StorageError: the target cannot be read or written, or is full. Whole files stay.
    """

    def read(files: Sequence[StagedFile], sink: Callable[[Piece, Buffer], None]) -> _Pieces:
        return _from_store(reader, manifest, files, sink)

    return write_tree(manifest.tree, target, read, overwrite=overwrite, progress=progress)


def write_sources(
    sources: Iterable[Source],
    empty_directories: Iterable[str],
    target: Path,
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> RestoreResult:
    """Write files that are in no store into a directory, as `restore` does.

    They are read twice, once to know what they are: a ``target`` that has them already is left alone.

    Raises:
        ConflictError: also where a source changed while it was read.
        CasError: as `restore` does.
    """
    sources = list(sources)
    tree = hash_sources(sources, empty_directories)
    by_path = {source.path: source for source in sources}

    def read(files: Sequence[StagedFile], sink: Callable[[Piece, Buffer], None]) -> _Pieces:
        return _from_sources(by_path, files, sink)

    return write_tree(tree, target, read, overwrite=overwrite, progress=progress)


def hash_sources(sources: Iterable[Source], empty_directories: Iterable[str]) -> Tree:
    """The tree of files that are in no store. Each is read once, unless its content is known.

    Raises:
        ConflictError: a source changed while it was read.
    """
    # The blob first: only a source that was read knows its size and mode for certain.
    found = [(_blob(source), source) for source in sources]
    return Tree.of(
        (TreeEntry(source.path, source.size_bytes, source.executable, blob) for blob, source in found),
        empty_directories,
    )


def iter_source(source: Source, blob: Digest) -> Iterator[Buffer]:
    """A source's bytes in pieces, the last of which comes only if all of them hash to ``blob``.

    Raises:
        ConflictError: they do not, because the source changed.
    """
    hasher = blake3()
    with source.open() as read_at:
        for offset in range(0, source.size_bytes, _PIECE_BYTES):
            size_bytes = min(_PIECE_BYTES, source.size_bytes - offset)
            data = read_at(offset, size_bytes)
            hasher.update(data)
            if offset + size_bytes == source.size_bytes and hasher.digest() != blob.raw:
                raise ConflictError(f"{source.path!r} changed while it was being read; try again")
            yield data


def _from_store(
    reader: ChunkReader, manifest: Manifest, files: Sequence[StagedFile], sink: Callable[[Piece, Buffer], None]
) -> _Pieces:
    hasher = blake3()
    chunks = reader.read_chunks(manifest, _chunk_pieces(manifest, files), sink)
    try:
        for piece, data in chunks:
            if not piece.is_whole:  # else the chunk's digest, which was verified, is the blob's
                hasher.update(data)
                if piece.is_last:
                    entry = piece.file.entry
                    if (actual := Digest(hasher.digest())) != entry.blob:
                        raise CorruptError(entry.blob, actual, f"{entry.path} of checkpoint {manifest.tree.hash}")
                    hasher.reset()
            yield piece, data
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


def _chunk_pieces(manifest: Manifest, files: Iterable[StagedFile]) -> Iterator[tuple[ChunkRef, Piece]]:
    for file in files:
        offset = 0
        for chunk in manifest.recipe(file.entry.blob).chunks:
            yield chunk, Piece(file, offset, chunk.size_bytes)
            offset += chunk.size_bytes


def _from_sources(
    sources: dict[str, Source], files: Sequence[StagedFile], sink: Callable[[Piece, Buffer], None]
) -> _Pieces:
    for file in files:
        offset = 0
        for data in iter_source(sources[file.entry.path], file.entry.blob):
            piece = Piece(file, offset, len(data))
            offset += len(data)
            sink(piece, data)
            yield piece, data


def _blob(source: Source) -> Digest:
    if source.known_blob is not None:
        return source.known_blob
    hasher = blake3()
    with source.open() as read_at:
        for offset in range(0, source.size_bytes, _PIECE_BYTES):
            hasher.update(read_at(offset, min(_PIECE_BYTES, source.size_bytes - offset)))
    blob = Digest(hasher.digest()) if source.size_bytes else EMPTY
    source.settle(blob)
    return blob

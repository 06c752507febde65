"""Contents: where a Checkpoint's bytes are at the moment.

In a local directory, in memory, or in a store. All answer the same few
questions, so that a view need not know which it looks at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cas.errors import FormatError, NotFoundError
from cas.format import Buffer, Digest, Tree, TreeEntry
from cas.repository import BytesSource, Repository, Source
from cas.views import Ranges, SourceRanges, open_stored_files
from cas.worktree import directory_sources, hash_sources, iter_source, restore, write_sources

__all__ = ["Content", "DirectoryContent", "LooseContent", "MemoryContent", "StoredContent"]


class Content(Protocol):
    """What every content can do."""

    def tree(self) -> Tree:
        """The files, with their digests."""

    def iter_file(self, entry: TreeEntry) -> Iterator[Buffer]:
        """One file's bytes, in pieces."""

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """The files as a writer takes them, and the empty directories."""

    def ranges(self) -> Mapping[str, Ranges]:
        """The files by path, to be read by position."""

    def write(self, target: Path, *, overwrite: bool) -> None:
        """Write the files into a directory."""

    def describe(self) -> str:
        """A few words for a repr."""


class LooseContent(ABC):
    """A content that is in no store: it is hashed and read through its sources."""

    @abstractmethod
    def sources(self) -> tuple[list[Source], tuple[str, ...]]: ...

    def tree(self) -> Tree:
        return hash_sources(*self.sources())

    def iter_file(self, entry: TreeEntry) -> Iterator[Buffer]:
        sources, _ = self.sources()
        for source in sources:
            if source.path == entry.path:
                return iter_source(source, entry.blob)
        raise NotFoundError(f"{entry.path!r} is not there any more")

    def ranges(self) -> Mapping[str, Ranges]:
        sources, _ = self.sources()
        return {source.path: SourceRanges(source) for source in sources}

    def write(self, target: Path, *, overwrite: bool) -> None:
        write_sources(*self.sources(), target, overwrite=overwrite)


@dataclass(frozen=True, slots=True)
class DirectoryContent(LooseContent):
    """The files of a local directory, as they are when they are read."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> DirectoryContent:
        """A directory that exists. NotFoundError or FormatError if it does not, or is a file."""
        if path.is_dir():
            return cls(path.absolute())
        if path.exists():
            raise FormatError(f"{path} is a file; give the directory that holds the checkpoint")
        raise NotFoundError(f"no directory {path}")

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """The directory's files, scanned now."""
        return directory_sources(self.path)

    def describe(self) -> str:
        """Its path."""
        return f"path={str(self.path)[-80:]!r}"


@dataclass(frozen=True, slots=True)
class MemoryContent(LooseContent):
    """Files in memory that nobody else can change.

    Attributes:
        files: content by path.
        executables: the paths of those that are executable.
        empty_directories: directories with nothing in them.
    """

    files: Mapping[str, Buffer]
    executables: frozenset[str] = frozenset()
    empty_directories: tuple[str, ...] = ()

    @classmethod
    def of_tree(cls, tree: Tree, files: Mapping[str, Buffer]) -> MemoryContent:
        """The files of ``tree``, whose content is at hand."""
        return cls(files, frozenset(e.path for e in tree.files if e.executable), tree.empty_directories)

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """One source a file."""
        found: list[Source] = [
            BytesSource(path, data, path in self.executables) for path, data in sorted(self.files.items())
        ]
        return found, self.empty_directories

    def describe(self) -> str:
        """How many files and bytes."""
        return f"files={len(self.files)}, size_bytes={sum(len(data) for data in self.files.values())}"


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A checkpoint in a store, by hash; the store is opened when something is read."""

    digest: Digest
    url: str

    def tree(self) -> Tree:
        """From the manifest."""
        with Repository.open(self.url) as repository:
            return repository.reader.manifest(self.digest).tree

    def iter_file(self, entry: TreeEntry) -> Iterator[Buffer]:
        """Chunk by chunk, verified."""
        with Repository.open(self.url) as repository:
            yield from repository.reader.iter_blob(repository.reader.manifest(self.digest), entry)

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """The whole content in memory: for a move into another store `Store.push` is cheaper."""
        tree = self.tree()
        files = {entry.path: b"".join(self.iter_file(entry)) for entry in tree.files}
        return MemoryContent.of_tree(tree, files).sources()

    def ranges(self) -> Mapping[str, Ranges]:
        """The files, of which only chunks that are read are fetched. The store is open while somebody holds them."""
        return open_stored_files(self.url, self.digest)

    def write(self, target: Path, *, overwrite: bool) -> None:
        """Restore from the store."""
        with Repository.open(self.url) as repository:
            restore(repository.reader, repository.reader.manifest(self.digest), target, overwrite=overwrite)

    def describe(self) -> str:
        """Its hash, shortened, and its store."""
        return f"hash='{str(self.digest)[:16]}…', store={self.url[-60:]!r}"

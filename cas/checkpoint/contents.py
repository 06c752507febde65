"""Contents: where a Checkpoint's bytes are at the moment.

In a local directory, in memory, or in a store. All answer the same few
questions, so that a view need not know which it looks at.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cas.errors import FormatError, NotFoundError, StorageError
from cas.format import Buffer, Digest, Tree, TreeEntry
from cas.repository import BytesSource, ReadAt, Repository, Source
from cas.storage import redact
from cas.views import BlobRanges, Ranges, SourceRanges, open_stored_files, read_ranges
from cas.worktree import directory_sources, hash_sources, iter_source, restore, write_sources

__all__ = ["STORE_PREFIX", "Content", "DirectoryContent", "LooseContent", "MemoryContent", "StoredContent"]

STORE_PREFIX = "cas+"
"""Stands before a store's URL in the URI of a checkpoint in it."""


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

    def find_file(self, path: str) -> Buffer | None:
        """A small file's content, or None; also None where the content itself is not there."""

    def write(self, target: Path, *, overwrite: bool) -> None:
        """Write the files into a directory."""

    @property
    def uri(self) -> str | None:
        """The URI that `cas.checkpoint.uri` takes for it; None if it is nowhere but in memory."""

    def name(self) -> str:
        """A file name that only equal contents share: its hash, unless that costs reading all of it."""

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

    def find_file(self, path: str) -> Buffer | None:
        try:
            found = self.ranges().get(path)
        except NotFoundError:
            return None
        return None if found is None else read_ranges(found, 0, found.size_bytes)

    def write(self, target: Path, *, overwrite: bool) -> None:
        write_sources(*self.sources(), target, overwrite=overwrite)

    @property
    def uri(self) -> str | None:
        return None

    def name(self) -> str:
        return str(self.tree().hash)


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

    def find_file(self, path: str) -> Buffer | None:
        """Without a scan of all the others."""
        try:
            return (self.path / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.path / path}: {error.strerror}") from error

    @property
    def uri(self) -> str:
        """``file://`` and its path."""
        return self.path.as_uri()

    def describe(self) -> str:
        """Its path."""
        return f"path={str(self.path)[-70:]!r}"


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
    url: str = field(repr=False)  # as it was opened, perhaps with a password

    @classmethod
    def at(cls, digest: Digest, url: str) -> StoredContent:
        """In the store at ``url``; a path is made absolute, so that it means the same after a change of directory."""
        return cls(digest, url if "://" in url else os.path.abspath(url))

    @property
    def public_url(self) -> str:
        """The store's URL, without secrets."""
        return redact(self.url)

    def tree(self) -> Tree:
        """From the manifest."""
        with Repository.open(self.url) as repository:
            return repository.reader.manifest(self.digest).tree

    def iter_file(self, entry: TreeEntry) -> Iterator[Buffer]:
        """Chunk by chunk, verified."""
        with Repository.open(self.url) as repository:
            yield from repository.reader.iter_blob(repository.reader.manifest(self.digest), entry)

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """Files whose content is known, read by ranges where somebody lacks it."""
        files = open_stored_files(self.url, self.digest)
        return [_StoredSource(files[path]) for path in files], files.tree.empty_directories

    def find_file(self, path: str) -> Buffer | None:
        """By its manifest. NotFoundError where the store has no such checkpoint."""
        found = self.ranges().get(path)
        return None if found is None else read_ranges(found, 0, found.size_bytes)

    def ranges(self) -> Mapping[str, Ranges]:
        """The files, of which only chunks that are read are fetched. The store is open while somebody holds them."""
        return open_stored_files(self.url, self.digest)

    def write(self, target: Path, *, overwrite: bool) -> None:
        """Restore from the store."""
        with Repository.open(self.url) as repository:
            restore(repository.reader, repository.reader.manifest(self.digest), target, overwrite=overwrite)

    @property
    def uri(self) -> str:
        """``cas+``, the store's URL, and the hash."""
        url = self.public_url if "://" in self.url else Path(self.url).as_uri()
        return f"{STORE_PREFIX}{url}#{self.digest}"

    def name(self) -> str:
        """Its hash."""
        return str(self.digest)

    def describe(self) -> str:
        """Its hash, shortened, and its store."""
        return f"hash='{str(self.digest)[:16]}…', store={self.public_url[-50:]!r}"


class _StoredSource:
    """One file of a checkpoint in a store; a `cas.repository.Source`."""

    def __init__(self, ranges: BlobRanges) -> None:
        self._ranges = ranges
        self.path, self.size_bytes = ranges.path, ranges.size_bytes
        self.executable, self.known_blob = ranges.entry.executable, ranges.entry.blob

    def open(self) -> AbstractContextManager[ReadAt]:
        """Read by ranges; every chunk is verified."""
        return nullcontext(lambda offset, size_bytes: read_ranges(self._ranges, offset, size_bytes))

    def settle(self, blob: Digest) -> None:
        """What is in a store does not change."""

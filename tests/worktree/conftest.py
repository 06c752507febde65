"""A store in memory, and directories that are described by dicts."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from cas.format import EMPTY, Buffer, ChunkRef, Digest, Location, Manifest, PackEntry, Recipe, Tree, TreeEntry
from cas.repository import Source

T = TypeVar("T")

_PACK = Digest.of(b"a pack")
_FIRST_OFFSET = 4096


@dataclass
class MemoryStore:
    """The few promises of a repository that a working directory relies on, kept in the simplest way.

    Attributes:
        chunk_bytes: where files are cut.
        chunks: raw bytes by digest.
        on_chunk: called with a running number before each chunk is handed over.
        on_write: called with a running number before each chunk is written, in the writing thread.
    """

    chunk_bytes: int = 1 << 20
    chunks: dict[Digest, bytes] = field(default_factory=dict)
    on_chunk: Callable[[int], None] = lambda number: None
    on_write: Callable[[int], None] = lambda number: None

    def put(self, sources: Sequence[Source], empty_directories: Iterable[str] = ()) -> Manifest:
        """Read every source, and say what it was."""
        entries, recipes = [], []
        for source in sources:
            with source.open() as read_at:
                size = source.size_bytes
                data = b"".join(
                    read_at(at, min(self.chunk_bytes, size - at)) for at in range(0, size, self.chunk_bytes)
                )
            blob = Digest.of(data) if data else EMPTY
            source.settle(blob)
            pieces = [data[at : at + self.chunk_bytes] for at in range(0, size, self.chunk_bytes)]
            refs = [ChunkRef(Digest.of(piece), len(piece)) for piece in pieces]
            self.chunks.update({ref.digest: piece for ref, piece in zip(refs, pieces, strict=True)})
            entries.append(TreeEntry(source.path, size, source.executable, blob))
            recipes.append(Recipe(blob, tuple(refs)))
        return self.manifest(entries, recipes, empty_directories)

    def manifest(
        self, entries: Iterable[TreeEntry], recipes: Iterable[Recipe] = (), empty_directories: Iterable[str] = ()
    ) -> Manifest:
        """The manifest of files whose chunks are here."""
        locations = [
            Location(_PACK, PackEntry(digest, _FIRST_OFFSET, len(data), len(data), 0))
            for digest, data in self.chunks.items()
        ]
        return Manifest.of(Tree.of(entries, empty_directories), recipes, locations)

    def put_files(self, files: Mapping[str, bytes], empty_directories: Iterable[str] = ()) -> Manifest:
        """A checkpoint of one-chunk files that were in no directory; their names may be bad ones."""
        self.chunks.update({Digest.of(data): data for data in files.values() if data})
        entries = [TreeEntry(path, len(data), False, Digest.of(data)) for path, data in files.items()]
        return self.manifest(entries, (), empty_directories)

    def read_chunks(
        self,
        manifest: Manifest,
        work: Iterable[tuple[ChunkRef, T]],
        sink: Callable[[T, Buffer], None] | None = None,
    ) -> Iterator[tuple[T, Buffer]]:
        """As `cas.repository.Reader` does: two threads, a bounded number of chunks ahead, in order."""

        def fetch(number: int, chunk: ChunkRef, tag: T) -> tuple[T, bytes]:
            data = self.chunks[chunk.digest]
            self.on_write(number)
            if sink is not None:
                sink(tag, memoryview(data))
            return tag, data

        with ThreadPoolExecutor(2) as pool:
            waiting: deque[Future[tuple[T, bytes]]] = deque()
            given = 0
            for number, (chunk, tag) in enumerate(work):
                waiting.append(pool.submit(fetch, number, chunk, tag))
                if len(waiting) > 4:
                    self.on_chunk(given)
                    given += 1
                    yield waiting.popleft().result()
            while waiting:
                self.on_chunk(given)
                given += 1
                yield waiting.popleft().result()


@pytest.fixture
def store() -> MemoryStore:
    """An empty store in memory."""
    return MemoryStore()


@pytest.fixture(scope="session")
def make_store() -> type[MemoryStore]:
    """For tests that need several stores, or one that misbehaves."""
    return MemoryStore


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CAS_CACHE_DIR", str(folder))
    return folder


def make_directory(root: Path, content: Mapping[str, bytes | None], executables: Iterable[str] = ()) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for path, data in content.items():
        if data is None:
            (root / path).mkdir(parents=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    for path in executables:
        (root / path).chmod(0o755)
    return root


def read_directory(root: Path) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = path.read_bytes()
        if not folders and not files and folder != str(root):
            found[str(Path(folder).relative_to(root))] = None
    return found


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """``make(root, {path: bytes, or None for an empty directory}, executables)`` makes a directory."""
    return make_directory


@pytest.fixture(scope="session")
def read() -> Callable[[Path], dict[str, bytes | None]]:
    """``read(root)`` is the dict that `make` would make it from."""
    return read_directory


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    yield from _mounted(tmp_path / "disk", "size=1m")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system on which nothing can be written, with the file ``kept`` (``kept``) on it."""
    for folder in _mounted(tmp_path / "disk", "size=1m"):
        (folder / "kept").write_bytes(b"kept")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield folder


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    if os.name != "posix" or shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "cas-test", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory that belongs to a user without privileges, who the test is for its length."""
    folder = Path(tempfile.gettempdir()) / f"cas-test-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o755)
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        shutil.rmtree(folder)

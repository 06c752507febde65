"""Any directory survives the way into a checkpoint and out again; a large one quickly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.errors import ConflictError
from cas.format import Digest
from cas.repository import Repository
from cas.worktree import directory_sources, restore, scan

Make = Callable[..., Path]
Read = Callable[[Path], dict[str, bytes | None]]

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..") and not name.casefold().startswith(".cas")
)


@st.composite
def directories(draw: st.DrawFn) -> tuple[dict[str, bytes | None], list[str]]:
    """Files and empty directories by path, and which files are executable."""
    found: dict[str, bytes | None] = {}
    taken: set[str] = set()
    for parts in draw(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=6)):
        path = "/".join(parts)
        above = {"/".join(parts[:n]) for n in range(1, len(parts))}
        if path not in taken and not above & found.keys():
            found[path] = draw(st.one_of(st.none(), st.binary(max_size=300)))
            taken |= above | {path}
    files = [path for path, data in found.items() if data is not None]
    return found, draw(st.lists(st.sampled_from(files), unique=True)) if files else []


def executables(root: Path) -> list[str]:
    return [file.path for file in scan(root).files if file.executable]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(directory=directories(), chunk_bytes=st.integers(1, 200))
def test_a_directory_comes_back_as_it_was(
    directory: tuple[dict[str, bytes | None], list[str]],
    chunk_bytes: int,
    tmp_path_factory: pytest.TempPathFactory,
    make_store: Any,
    make: Make,
    read: Read,
) -> None:
    """Names, bytes, executables and empty directories; wherever files are cut, the hash is the same."""
    content, executable = directory
    folder = tmp_path_factory.mktemp("r")
    origin = make(folder / "origin", content, executable)
    store = make_store(chunk_bytes=chunk_bytes)

    manifest = store.put(*directory_sources(origin))
    restore(store, manifest, folder / "t")

    assert read(folder / "t") == content
    assert executables(folder / "t") == sorted(executable)
    assert make_store().put(*directory_sources(folder / "t")).tree.hash == manifest.tree.hash


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A real one, in a folder."""
    with Repository.init(str(tmp_path / "store")) as found:
        yield found


def test_a_real_store_gives_it_back(repository: Repository, tmp_path: Path, make: Make, read: Read) -> None:
    """The same through the real writer and reader, with a file of many chunks; and again without reading."""
    content = {"a": b"1", "d/empty": b"", "large": Digest.of(b"").raw * 1_000_000, "hollow": None, "run": b"#!"}
    origin = make(tmp_path / "origin", content, ["run"])
    time.sleep(0.03)

    first = repository.put(*directory_sources(origin))
    sources, empty = directory_sources(origin)
    second = repository.put(sources, empty)
    result = restore(repository.reader, repository.reader.manifest(first.checkpoint), tmp_path / "t")

    assert None not in [source.known_blob for source in sources]
    assert second.checkpoint == first.checkpoint == result.checkpoint
    assert read(tmp_path / "t") == content
    assert executables(tmp_path / "t") == ["run"]


class Saving:
    """A progress that saves a file again whenever bytes of it were read, ``times`` times."""

    def __init__(self, file: Path, times: int) -> None:
        self.file, self.times, self.saved = file, times, b""

    def begin(self, what: str, total_bytes: int | None) -> None:
        return

    def advance(self, raw_bytes: int, stored_bytes: int = 0) -> None:
        if self.times:
            self.times -= 1
            self.saved = b"after" * (self.times + 2)
            self.file.write_bytes(self.saved)

    def end(self) -> None:
        return


def test_a_file_that_is_saved_while_it_is_put_is_read_again(repository: Repository, tmp_path: Path, make: Make) -> None:
    """Detected, and retried once: the checkpoint has what the save left, not a mixture."""
    origin = make(tmp_path / "origin", {"f": b"before"})
    saving = Saving(origin / "f", times=1)
    result = repository.put(*directory_sources(origin), progress=saving)
    (entry,) = repository.reader.manifest(result.checkpoint).tree.files
    assert entry.blob == Digest.of(saving.saved)


def test_a_file_that_is_saved_again_and_again_is_refused(repository: Repository, tmp_path: Path, make: Make) -> None:
    """The error names it, and no checkpoint comes of it."""
    origin = make(tmp_path / "origin", {"f": b"before"})
    with pytest.raises(ConflictError, match=r"'f' in .* changed while it was being read"):
        repository.put(*directory_sources(origin), progress=Saving(origin / "f", times=9))
    assert [found.key for prefix in ("manifests/", "refs/") for found in repository.storage.list(prefix)] == []


@pytest.mark.slow
def test_ten_thousand_files(make_store: Any, tmp_path: Path, make: Make, read: Read) -> None:
    """There and back, known without reading, and in little time."""
    content: dict[str, bytes | None] = {f"d{n % 100:02}/e{n % 7}/file-{n:05}": b"%d" % n for n in range(10_000)}
    origin = make(tmp_path / "origin", content)
    store = make_store()
    time.sleep(0.03)

    manifest = store.put(*directory_sources(origin))
    began_s = time.perf_counter()
    sources, _ = directory_sources(origin)
    looked_s = time.perf_counter() - began_s
    restore(store, manifest, tmp_path / "t")

    assert all(source.known_blob is not None for source in sources)
    assert looked_s < 10
    assert read(tmp_path / "t") == content
    assert restore(store, manifest, tmp_path / "t").written_files == 0

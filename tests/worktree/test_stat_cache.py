"""When a file counts as known without being read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.format import Digest
from cas.worktree import StatCache, directory_sources
from cas.worktree.file_stat import FileStat
from cas.worktree.stat_cache import MAX_DIRECTORIES

Make = Callable[..., Path]

SECOND_NS = 1_000_000_000
BLOB = Digest.of(b"content")


def let_the_clock_tick() -> None:
    """Until a change would have a later time stamp than any before."""
    time.sleep(0.03)


def known(root: Path) -> dict[str, Digest | None]:
    return {source.path: source.known_blob for source in directory_sources(root)[0]}


def read_all(root: Path) -> None:
    """What a put does with the files that it does not know."""
    for source in directory_sources(root)[0]:
        if source.known_blob is None:
            with source.open() as read_at:
                blob = Digest.of(bytes(read_at(0, source.size_bytes)))
            source.settle(blob)


@contextmanager
def nothing_written(folder: Path) -> Iterator[None]:
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    yield
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before


def test_an_unchanged_directory_is_known_without_reading(tmp_path: Path, make: Make, cache_folder: Path) -> None:
    """The second look knows every file, and has nothing to write."""
    root = make(tmp_path / "r", {"a": b"1", "d/b": b"", "d/c": b"3"}, executables=["d/c"])
    let_the_clock_tick()
    read_all(root)

    with nothing_written(cache_folder):
        assert known(root) == {"a": Digest.of(b"1"), "d/b": Digest.of(b""), "d/c": Digest.of(b"3")}
        read_all(root)


def touch_inode(path: Path) -> None:
    path.chmod(0o600)


def rewrite_with_old_times(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_with_old_times(path: Path) -> None:
    status = path.stat()
    new = path.with_name("new")
    new.write_bytes(b"2")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(new, path)


@pytest.mark.parametrize("change", [touch_inode, rewrite_with_old_times, replace_with_old_times])
def test_a_changed_file_is_not_known(change: Callable[[Path], None], tmp_path: Path, make: Make) -> None:
    """Not even where size and mtime were put back: ctime and inode tell."""
    root = make(tmp_path / "r", {"a": b"1", "b": b"1"})
    let_the_clock_tick()
    read_all(root)
    change(root / "a")
    assert known(root) == {"a": None, "b": Digest.of(b"1")}


def test_a_file_read_in_the_tick_it_was_written_in_is_read_again(tmp_path: Path) -> None:
    """git's racily clean case: a change of equal size in that same tick would be invisible."""
    (tmp_path / "f").write_bytes(b"1")
    status = FileStat.of((tmp_path / "f").stat())
    looked_ns = status.ctime_ns + 1_000_000
    cache = StatCache.read(tmp_path)

    cache.remember("f", status, BLOB, looked_ns)
    assert cache.find("f", status) is None

    cache.remember("f", status, BLOB, looked_ns + SECOND_NS)
    assert cache.find("f", status) == BLOB


@given(
    mtime_ns=st.integers(0, 4 * SECOND_NS),
    ctime_ns=st.integers(0, 4 * SECOND_NS),
    coarse=st.booleans(),
    age_ns=st.integers(-SECOND_NS, 4 * SECOND_NS),
)
def test_a_look_is_proof_once_the_file_systems_clock_has_ticked(
    mtime_ns: int, ctime_ns: int, coarse: bool, age_ns: int
) -> None:
    """Never in the tick of the last change or before it, always two seconds later."""
    if coarse:
        mtime_ns, ctime_ns = mtime_ns // SECOND_NS * SECOND_NS, ctime_ns // SECOND_NS * SECOND_NS
    newest_ns = max(mtime_ns, ctime_ns)
    proof = FileStat(1, mtime_ns, ctime_ns, 1, 1).is_proof(newest_ns + age_ns)
    if age_ns <= (SECOND_NS if coarse else 10_000_000):
        assert not proof
    if age_ns > 2 * SECOND_NS:
        assert proof


@pytest.mark.parametrize("field", ["size_bytes", "mtime_ns", "ctime_ns", "inode", "device"])
def test_every_part_of_a_look_counts(field: str, tmp_path: Path) -> None:
    """A file that differs in any of them is another file."""
    parts = {"size_bytes": 1, "mtime_ns": 2, "ctime_ns": 3, "inode": 4, "device": 5}
    cache = StatCache.read(tmp_path)
    cache.remember("f", FileStat(**parts), BLOB, 9 * SECOND_NS)
    assert cache.find("f", FileStat(**parts)) == BLOB
    assert cache.find("f", FileStat(**(parts | {field: 6}))) is None
    assert cache.find("g", FileStat(**parts)) is None


@given(
    rows=st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        st.tuples(st.integers(0, 2**62), st.integers(-(2**40), 2**62), st.integers(-(2**40), 2**62)),
        max_size=5,
    )
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Any]) -> None:
    """Any names, any times."""
    root = tmp_path_factory.mktemp("r")
    cache = StatCache.read(root)
    stats = {path: FileStat(*row, inode=2**64 - 1, device=0) for path, row in rows.items()}
    for path, stat in stats.items():
        cache.remember(path, stat, Digest.of(path.encode()), 2**63)
    cache.write()

    again = StatCache.read(root)
    assert {path: again.find(path, stat) for path, stat in stats.items()} == {
        path: Digest.of(path.encode()) for path in rows
    }


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "of another directory"])
def test_a_bad_cache_counts_as_empty(damage: str, tmp_path: Path, make: Make, cache_folder: Path) -> None:
    """It is ignored without a word, and the next write mends it."""
    root, other = make(tmp_path / "r", {"a": b"1"}), make(tmp_path / "other", {"a": b"2"})
    let_the_clock_tick()
    read_all(root)
    (file,) = (cache_folder / "stat").iterdir()
    data = file.read_bytes()
    if damage == "of another directory":
        read_all(other)
        (foreign,) = set((cache_folder / "stat").iterdir()) - {file}
        file.write_bytes(foreign.read_bytes())
    else:
        bad = {
            "flip": data[:40] + bytes([data[40] ^ 1]) + data[41:],
            "truncate": data[:-1],
            "empty": b"",
            "foreign": b"{}",
        }
        file.write_bytes(bad[damage])

    assert known(root) == {"a": None}
    read_all(root)
    assert known(root) == {"a": Digest.of(b"1")}


def test_files_that_are_gone_are_forgotten(tmp_path: Path, make: Make, cache_folder: Path) -> None:
    """The cache is no larger than the directory."""
    root = make(tmp_path / "r", {f"f{n}": b"1" for n in range(50)})
    let_the_clock_tick()
    read_all(root)
    (file,) = (cache_folder / "stat").iterdir()
    large = file.stat().st_size
    for n in range(49):
        (root / f"f{n}").unlink()
    (root / "new").write_bytes(b"2")
    let_the_clock_tick()
    read_all(root)
    assert file.stat().st_size < large / 5


def test_a_cache_that_cannot_be_kept_costs_time_and_nothing_else(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that is read-only, or that is a file, does not stop a put."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CAS_CACHE_DIR", str(tmp_path / "file"))
    root = make(tmp_path / "r", {"a": b"1"})
    let_the_clock_tick()
    read_all(root)
    assert known(root) == {"a": None}


def test_the_directory_is_known_by_any_name(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to it or a relative path is the same directory."""
    root = make(tmp_path / "r", {"a": b"1"})
    (tmp_path / "link").symlink_to("r")
    let_the_clock_tick()
    read_all(root)
    monkeypatch.chdir(tmp_path)
    assert known(tmp_path / "link") == known(Path("r")) == {"a": Digest.of(b"1")}


def test_what_a_link_ends_at_is_read_once(tmp_path: Path, make: Make) -> None:
    """Rows are kept by where a file lies, so that its other names know it as well."""
    root = make(tmp_path / "r", {"v1/w": b"1"})
    let_the_clock_tick()
    read_all(root)
    (root / "latest").symlink_to("v1")
    sources, _ = directory_sources(root, follow_symlinks=True)
    assert {source.path: source.known_blob for source in sources} == {
        "latest/w": Digest.of(b"1"), "v1/w": Digest.of(b"1"),
    }  # fmt: skip


def test_only_so_many_directories_are_remembered(tmp_path: Path, cache_folder: Path) -> None:
    """Those not used for the longest time make room; a read counts as use."""
    stat = FileStat(1, 1, 1, 1, 1)
    folder = cache_folder / "stat"
    for number in range(MAX_DIRECTORIES + 1):
        cache = StatCache.read(tmp_path / str(number))
        cache.remember("f", stat, BLOB, 9 * SECOND_NS)
        cache.write()
        if number < 10:
            for file in folder.iterdir():
                os.utime(file, ns=(0, 0))
    assert len(list(folder.iterdir())) <= MAX_DIRECTORIES
    assert StatCache.read(tmp_path / "0").find("f", stat) is None
    assert StatCache.read(tmp_path / str(MAX_DIRECTORIES)).find("f", stat) == BLOB

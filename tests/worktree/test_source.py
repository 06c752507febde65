"""Reading a file that somebody else may be writing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import ConflictError, StorageError
from cas.format import Digest
from cas.repository import Source
from cas.worktree import directory_sources

Make = Callable[..., Path]


def only_source(root: Path) -> Source:
    sources, _ = directory_sources(root)
    assert len(sources) == 1
    return sources[0]


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=300), cuts=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5))
def test_any_range_is_exactly_those_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[tuple[int, int]]
) -> None:
    """A range inside the file is given whole; one that reaches over its end is an error, never fewer bytes."""
    root = tmp_path_factory.mktemp("r")
    (root / "f").write_bytes(data)
    source = only_source(root)
    with source.open() as read_at:
        for offset, size in cuts:
            if offset + size <= len(data):
                assert read_at(offset, size) == data[offset : offset + size]
            elif size:
                with pytest.raises(ConflictError, match="became shorter"):
                    read_at(offset, size)
    source.settle(Digest.of(data))
    assert source.size_bytes == len(data)


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def overwrite_in_place(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"X")


def replace(path: Path) -> None:
    (path.parent.parent / "new").write_bytes(path.read_bytes())
    os.replace(path.parent.parent / "new", path)


def become_a_link(path: Path) -> None:
    path.rename(path.parent.parent / "moved")
    path.symlink_to("../moved")


@pytest.mark.parametrize("change", [append, overwrite_in_place, replace, become_a_link, Path.unlink])
def test_a_change_while_reading_is_detected(change: Callable[[Path], None], tmp_path: Path, make: Make) -> None:
    """Whether it grows, shrinks, keeps its size, is replaced or removed: what was read is not trusted."""
    root = make(tmp_path / "r", {"f": b"content"})
    source = only_source(root)
    with source.open() as read_at:
        data = read_at(0, 7)
        change(root / "f")
    with pytest.raises(ConflictError, match=r"'f' in .* while it was being read"):
        source.settle(Digest.of(bytes(data)))


def test_a_file_that_is_cut_short_while_reading_is_an_error_not_a_crash(tmp_path: Path, make: Make) -> None:
    """A mapped file would kill the process with SIGBUS."""
    root = make(tmp_path / "r", {"f": b"x" * 100_000})
    with only_source(root).open() as read_at:
        os.truncate(root / "f", 10)
        with pytest.raises(ConflictError, match="became shorter"):
            read_at(50_000, 50_000)


def test_a_second_try_sees_the_file_as_it_is_now(tmp_path: Path, make: Make) -> None:
    """A save that was under way the first time is over the second time: the new content is read, whole."""
    root = make(tmp_path / "r", {"f": b"old"})
    source = only_source(root)
    with source.open() as read_at:
        read_at(0, 3)
        (root / "f").write_bytes(b"longer than before")
        (root / "f").chmod(0o755)
    with pytest.raises(ConflictError):
        source.settle(Digest.of(b"old"))

    with source.open() as read_at:
        data = bytes(read_at(0, source.size_bytes))
    source.settle(Digest.of(data))

    assert data == b"longer than before"
    assert source.executable


def test_a_change_between_scan_and_open_is_simply_read(tmp_path: Path, make: Make) -> None:
    """Sizes and bits are those of the file that was opened."""
    root = make(tmp_path / "r", {"f": b"old"})
    source = only_source(root)
    (root / "f").write_bytes(b"new content")
    with source.open() as read_at:
        assert read_at(0, source.size_bytes) == b"new content"
    source.settle(Digest.of(b"new content"))
    assert source.size_bytes == 11


def test_a_directory_that_became_a_link_is_not_read_through(tmp_path: Path, make: Make) -> None:
    """Between scan and open somebody points a directory at another place with the same names."""
    root = make(tmp_path / "r", {"d/f": b"mine"})
    make(tmp_path / "secret", {"f": b"not mine"})
    source = only_source(root)
    (root / "d").rename(tmp_path / "moved")
    (root / "d").symlink_to(tmp_path / "secret")
    with pytest.raises(ConflictError, match="went away"), source.open():
        raise AssertionError("opened through a link")


@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "nothing"])
def test_something_else_in_a_files_place_is_not_opened(kind: str, tmp_path: Path, make: Make) -> None:
    """And opening never waits, as it would on a named pipe."""
    root = make(tmp_path / "r", {"f": b"1"})
    source = only_source(root)
    (root / "f").unlink()
    if kind == "pipe":
        os.mkfifo(root / "f")
    elif kind == "link":
        (tmp_path / "other").write_bytes(b"1")
        (root / "f").symlink_to("../other")
    elif kind == "directory":
        (root / "f").mkdir()
    with pytest.raises(ConflictError, match=r"'f' in .* went away"), source.open():
        raise AssertionError("opened something else")


def test_a_file_without_permission_is_named(as_nobody: Path, make: Make) -> None:
    """That is for the user to mend: trying again would not help."""
    make(as_nobody, {"f": b"1"})
    source = only_source(as_nobody)
    (as_nobody / "f").chmod(0)
    with pytest.raises(StorageError, match=r"cannot read 'f' in .*: Permission denied"), source.open():
        raise AssertionError("opened without permission")


def test_threads_may_read_one_source(tmp_path: Path, make: Make) -> None:
    """Reads say where: they share no position."""
    data = bytes(range(256)) * 400
    root = make(tmp_path / "r", {"f": data})
    wrong: list[int] = []
    with only_source(root).open() as read_at:

        def check(start: int) -> None:
            wrong.extend(at for at in range(start, len(data) - 64, 640) if read_at(at, 64) != data[at : at + 64])

        threads = [threading.Thread(target=check, args=(start * 64,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []

"""A checkpoint's files in a directory: what appears, what is left alone, what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cas.errors import ConflictError, CorruptError, FormatError, RefusedError, StorageError
from cas.format import ChunkRef, Digest, Manifest, Recipe, TreeEntry
from cas.repository import BytesSource
from cas.worktree import directory_sources, restore, write_sources

Make = Callable[..., Path]
Read = Callable[[Path], dict[str, bytes | None]]

CONTENT: dict[str, bytes | None] = {
    "empty": b"", "one": b"1", "d/e/run": b"#!", "d/many": bytes(range(256)) * 10, "hollow/x": None,
}  # fmt: skip


@pytest.fixture
def manifest(store: Any, make: Make, tmp_path: Path) -> Manifest:
    """A checkpoint of `CONTENT`; ``d/many`` has several chunks and ``d/e/run`` is executable."""
    store.chunk_bytes = 100
    found: Manifest = store.put(*directory_sources(make(tmp_path / "origin", CONTENT, ["d/e/run"])))
    return found


class Counted:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.done_bytes = 0

    def begin(self, what: str, total_bytes: int | None) -> None:
        self.log.append((what, total_bytes))

    def advance(self, raw_bytes: int, stored_bytes: int = 0) -> None:
        self.done_bytes += raw_bytes

    def end(self) -> None:
        self.log.append("end")


def test_everything_comes_back(store: Any, manifest: Manifest, tmp_path: Path, read: Read) -> None:
    """Files, empty files, executables, empty directories; nothing else is left behind, and all of it is counted."""
    progress = Counted()
    result = restore(store, manifest, tmp_path / "new" / "target", progress=progress)

    assert read(tmp_path / "new/target") == CONTENT
    assert os.access(tmp_path / "new/target/d/e/run", os.X_OK)
    assert not (tmp_path / "new/target/one").stat().st_mode & 0o111
    assert (result.checkpoint, result.files, result.written_files) == (manifest.tree.hash, 4, 4)
    assert result.logical_bytes == result.written_bytes == progress.done_bytes == 2563
    assert progress.log == [("restore", 2563), "end"]


def test_modes_are_what_the_umask_allows(store: Any, manifest: Manifest, tmp_path: Path) -> None:
    """As for any file that the user makes."""
    before = os.umask(0o027)
    try:
        restore(store, manifest, tmp_path / "t")
    finally:
        os.umask(before)
    modes = {path: (tmp_path / "t" / path).stat().st_mode & 0o777 for path in ("one", "d/e/run", "d", "hollow/x")}
    assert modes == {"one": 0o640, "d/e/run": 0o750, "d": 0o750, "hollow/x": 0o750}


def test_files_that_are_there_are_not_touched(store: Any, manifest: Manifest, tmp_path: Path) -> None:
    """A second restore writes nothing at all: inodes and times stay."""
    restore(store, manifest, tmp_path / "t")
    before = {path: path.stat() for path in (tmp_path / "t").rglob("*")}
    result = restore(store, manifest, tmp_path / "t")
    assert (result.written_files, result.written_bytes, result.files) == (0, 0, 4)
    assert {path: path.stat().st_ctime_ns for path in (tmp_path / "t").rglob("*")} == {
        path: status.st_ctime_ns for path, status in before.items()
    }


def test_other_files_stay(store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read) -> None:
    """What is not in the checkpoint is nobody's business, in its directories as well."""
    make(tmp_path / "t", {"mine": b"m", "d/mine": b"m", "hollow/x/mine": b"m"})
    restore(store, manifest, tmp_path / "t", overwrite=True)
    kept = {"mine": b"m", "d/mine": b"m", "hollow/x/mine": b"m"}
    assert read(tmp_path / "t") == {path: data for path, data in CONTENT.items() if data is not None} | kept


def test_a_file_that_differs_is_not_overwritten(
    store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """The error names it, says how to go on, and comes before anything was written."""
    make(tmp_path / "t", {"one": b"2", "d/many": b"x"})
    with pytest.raises(ConflictError, match=r"'d/many' and 1 more in .* would be overwritten; give --force"):
        restore(store, manifest, tmp_path / "t")
    assert read(tmp_path / "t") == {"one": b"2", "d/many": b"x"}


def test_overwrite_replaces_what_differs(
    store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """Only that: a file with the same bytes keeps its inode, and gets the right mode."""
    make(tmp_path / "t", {"one": b"2", "d/many": b"x", "d/e/run": b"#!"})
    kept = (tmp_path / "t/d/e/run").stat().st_ino
    result = restore(store, manifest, tmp_path / "t", overwrite=True)
    assert read(tmp_path / "t") == CONTENT
    assert result.written_files == 3
    assert (tmp_path / "t/d/e/run").stat().st_ino == kept
    assert os.access(tmp_path / "t/d/e/run", os.X_OK)


def test_a_reader_of_the_old_file_keeps_it(store: Any, manifest: Manifest, tmp_path: Path, make: Make) -> None:
    """A replaced file is a new one: whoever has the old one open or linked reads on undisturbed."""
    make(tmp_path / "t", {"one": b"old"})
    os.link(tmp_path / "t/one", tmp_path / "backup")
    with (tmp_path / "t/one").open("rb") as stream:
        restore(store, manifest, tmp_path / "t", overwrite=True)
        assert stream.read() == (tmp_path / "backup").read_bytes() == b"old"
    assert (tmp_path / "t/one").read_bytes() == b"1"


def test_executable_bits_follow_the_tree(store: Any, manifest: Manifest, tmp_path: Path, make: Make) -> None:
    """Where only the bit differs nothing is lost by setting it."""
    make(tmp_path / "t", {"one": b"1", "d/e/run": b"#!"}, ["one"])
    restore(store, manifest, tmp_path / "t")
    assert not os.access(tmp_path / "t/one", os.X_OK)
    assert os.access(tmp_path / "t/d/e/run", os.X_OK)


# -- what is in the way


def test_a_target_that_is_a_file_is_refused(store: Any, manifest: Manifest, tmp_path: Path) -> None:
    """Also where the file is further up."""
    (tmp_path / "t").write_bytes(b"keep")
    for target in (tmp_path / "t", tmp_path / "t" / "below"):
        with pytest.raises(RefusedError, match="is a file; pull into a directory"):
            restore(store, manifest, target)
    assert (tmp_path / "t").read_bytes() == b"keep"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("path", ["d", "hollow", "hollow/x"])
def test_a_file_where_a_directory_is_due_is_refused(
    path: str, overwrite: bool, store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """Overwriting is for files: no option removes what stands in the way of a directory."""
    make(tmp_path / "t", {path: b"keep"})
    with pytest.raises(RefusedError, match=f"'{path}' is to be a directory .* move it away"):
        restore(store, manifest, tmp_path / "t", overwrite=overwrite)
    assert read(tmp_path / "t") == {path: b"keep"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_where_a_file_is_due_is_refused(
    overwrite: bool, store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """Overwriting a file never removes a directory."""
    make(tmp_path / "t", {"one/keep": b"keep"})
    with pytest.raises(RefusedError, match=r"'one' is to be a file .* move it away"):
        restore(store, manifest, tmp_path / "t", overwrite=overwrite)
    assert read(tmp_path / "t") == {"one/keep": b"keep"}


@pytest.mark.parametrize("link", ["d", "d/e", "hollow"])
def test_nothing_is_written_through_a_link(
    link: str, store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """A directory of the checkpoint that is a link in the target is refused, wherever it leads."""
    make(tmp_path / "outside", {"keep": b"k"})
    make(tmp_path / "t", {f"{link}/x": None})
    (tmp_path / "t" / link / "x").rmdir()
    (tmp_path / "t" / link).rmdir()
    (tmp_path / "t" / link).symlink_to(tmp_path / "outside")
    with pytest.raises(RefusedError, match=f"'{link}' is to be a directory"):
        restore(store, manifest, tmp_path / "t", overwrite=True)
    assert read(tmp_path / "outside") == {"keep": b"k"}


def test_a_link_in_a_files_place_is_replaced_not_followed(
    store: Any, manifest: Manifest, tmp_path: Path, make: Make
) -> None:
    """Only with overwrite, and what it pointed to stays; a link to the very same bytes is no such file."""
    make(tmp_path / "t", {})
    (tmp_path / "outside").write_bytes(b"1")
    (tmp_path / "t/one").symlink_to("../outside")
    with pytest.raises(ConflictError, match="'one'"):
        restore(store, manifest, tmp_path / "t")
    restore(store, manifest, tmp_path / "t", overwrite=True)
    assert not (tmp_path / "t/one").is_symlink()
    assert (tmp_path / "outside").stat().st_nlink == 1


def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(
    store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """After everything was looked at, somebody swaps a directory for a link to a place outside."""
    make(tmp_path / "outside", {"keep": b"k"})
    make(tmp_path / "t", {"d/e/x": b""})

    def swap(number: int) -> None:
        if number == 0:
            (tmp_path / "t/d").rename(tmp_path / "moved")
            (tmp_path / "t/d").symlink_to(tmp_path / "outside")

    store.on_chunk = swap
    with pytest.raises(RefusedError, match="was changed while files were written there"):
        restore(store, manifest, tmp_path / "t", overwrite=True)
    assert read(tmp_path / "outside") == {"keep": b"k"}
    assert not [name for name in os.listdir(tmp_path / "t") if name.startswith(".cas")]


def test_a_link_that_appears_instead_of_a_missing_directory_is_not_followed(
    store: Any, manifest: Manifest, tmp_path: Path, make: Make, read: Read
) -> None:
    """The directory was to be made, and there is a link by then."""
    make(tmp_path / "outside", {"keep": b"k"})
    store.on_chunk = lambda number: (tmp_path / "t/d").symlink_to(tmp_path / "outside") if number == 0 else None
    with pytest.raises(RefusedError, match="was changed while files were written there"):
        restore(store, manifest, tmp_path / "t")
    assert read(tmp_path / "outside") == {"keep": b"k"}


def test_a_file_that_appears_meanwhile_is_not_overwritten(store: Any, manifest: Manifest, tmp_path: Path) -> None:
    """It was not there when the target was looked at, and is not replaced for that."""
    store.on_chunk = lambda number: (tmp_path / "t/one").write_bytes(b"mine") if number == 0 else None
    with pytest.raises(ConflictError, match=r"'one' in .* would be overwritten"):
        restore(store, manifest, tmp_path / "t")
    assert (tmp_path / "t/one").read_bytes() == b"mine"


def test_two_restores_at_once_both_succeed(make_store: Any, tmp_path: Path, read: Read) -> None:
    """As when every process of a job pulls the same checkpoint to the same place."""
    content = {f"d{n % 3}/f{n}": bytes([n]) * 50 for n in range(20)}
    outer, inner = make_store(), make_store()
    manifest = outer.put_files(content)
    inner.put_files(content)
    results: list[int] = []

    def meanwhile(number: int) -> None:
        if number == 10:
            results.append(restore(inner, manifest, tmp_path / "t").written_files)

    outer.on_chunk = meanwhile
    restore(outer, manifest, tmp_path / "t")
    assert read(tmp_path / "t") == content
    assert results[0] < 20


# -- names


@pytest.mark.parametrize("path", [".cas/format.json", "d/.CAS/x", ".cas-restore-0123456789abcdef/0"])
def test_a_checkpoint_cannot_reach_into_a_store(path: str, store: Any, tmp_path: Path) -> None:
    """Pulled into a project's directory it would change, or plant, the store there."""
    with pytest.raises(RefusedError, match="belong"):
        restore(store, store.put_files({path: b"x"}), tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("names", [("README", "readme"), ("D/x", "d/y"), ("\u00e9", "e\u0301"), ("lock", "LOCK")])
def test_names_that_collide_are_refused_where_they_are_one(
    names: tuple[str, str], store: Any, tmp_path: Path, read: Read
) -> None:
    """Where case is kept apart both are restored; where it is not, neither is, since one would be lost."""
    (tmp_path / "probe").write_bytes(b"")
    content: dict[str, bytes | None] = {name: name.encode() for name in names}
    manifest = store.put_files(content)
    if (tmp_path / "PROBE").exists():
        with pytest.raises(RefusedError, match="are one name to the file system"):
            restore(store, manifest, tmp_path / "t")
        assert read(tmp_path / "t") == {}
    else:
        restore(store, manifest, tmp_path / "t")
        restore(store, manifest, tmp_path / "t")
        assert read(tmp_path / "t") == content


def test_the_longest_names_and_the_deepest_trees_come_back(store: Any, tmp_path: Path, make: Make) -> None:
    """Names of 255 bytes, and paths of 4096: longer, with the target's, than the system takes in one call."""
    wide = "é" * 127 + "x"
    deep = "/".join(["d"] * 2047) + "/ff"
    assert len(wide.encode()) == 255
    assert len(deep) == 4096
    manifest = store.put_files({f"{wide}/{wide}": b"1", deep: b"2"}, ["deeper/" + "/".join(["e"] * 2000)])
    try:
        restore(store, manifest, tmp_path / "t")
        sources, empty = directory_sources(tmp_path / "t")

        assert store.put(sources, empty).tree == manifest.tree
        assert restore(store, manifest, tmp_path / "t").written_files == 0
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "t"], check=True)  # Python cannot: shutil.rmtree recurses


# -- what goes wrong


def test_a_file_that_does_not_hash_to_its_name_never_appears(store: Any, tmp_path: Path) -> None:
    """Good chunks in a wrong recipe: each chunk is what it says, the file is not."""
    chunks = [b"a" * 10, b"b" * 10]
    store.chunks = {Digest.of(chunk): chunk for chunk in chunks}
    refs = tuple(ChunkRef(Digest.of(chunk), 10) for chunk in chunks)
    blob = Digest.of(b"".join(chunks))
    entry = TreeEntry("w", 20, False, blob)
    manifest = store.manifest([entry], [Recipe(blob, tuple(reversed(refs)))])
    with pytest.raises(CorruptError, match="w of checkpoint"):
        restore(store, manifest, tmp_path / "t")
    assert os.listdir(tmp_path / "t") == []


def test_a_full_disk_is_reported_and_nothing_half_is_left(
    make_store: Any, small_disk: Path, tmp_path: Path, read: Read
) -> None:
    """Whole files stay, unfinished ones go; with room again the same call finishes."""
    content = {f"f{n}": bytes([n]) * 300_000 for n in range(8)}
    store = make_store(chunk_bytes=100_000)
    manifest = store.put([BytesSource(path, data) for path, data in content.items()])
    with pytest.raises(StorageError, match=r"cannot write 'f\d' in .*: No space left on device") as raised:
        restore(store, manifest, small_disk / "t")
    assert not raised.value.transient
    there = read(small_disk / "t")
    assert 0 < len(there) < 8
    assert there == {path: content[path] for path in there}

    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    result = restore(store, manifest, small_disk / "t")
    assert result.written_files == 8 - len(there)
    assert read(small_disk / "t") == content


def test_a_read_only_target_is_reported(store: Any, manifest: Manifest, read_only_disk: Path) -> None:
    """By name, and also where the target itself would have to be made."""
    for target in (read_only_disk, read_only_disk / "new"):
        with pytest.raises(StorageError, match="Read-only file system"):
            restore(store, manifest, target)


def test_a_read_only_target_that_has_everything_is_fine(store: Any, read_only_disk: Path) -> None:
    """There is nothing to write."""
    assert restore(store, store.put_files({"kept": b"kept"}), read_only_disk).written_files == 0


def test_a_target_without_permission_is_reported(store: Any, as_nobody: Path) -> None:
    """Nothing is written elsewhere instead."""
    manifest = store.put_files({"d/f": b"1"})
    (as_nobody / "d").mkdir(mode=0o555)
    with pytest.raises(StorageError, match=r"cannot write 'd/f' in .*: Permission denied"):
        restore(store, manifest, as_nobody)
    assert os.listdir(as_nobody) == ["d"]


def test_a_directory_of_another_file_system_is_refused(store: Any, small_disk: Path) -> None:
    """A finished file cannot be renamed into it, so that is said before anything is written."""
    manifest = store.put_files({f"{small_disk.name}/f": b"1", "a": b"2"})
    with pytest.raises(RefusedError, match="is another file system's"):
        restore(store, manifest, small_disk.parent)
    assert os.listdir(small_disk) == []


# -- files that are in no store


def test_sources_are_written_as_a_restore_would(tmp_path: Path, make: Make, read: Read) -> None:
    """From a directory to another, without a store; again, and nothing is written."""
    origin = make(tmp_path / "origin", CONTENT, ["d/e/run"])
    first = write_sources(*directory_sources(origin), tmp_path / "t")
    again = write_sources(*directory_sources(origin), tmp_path / "t")
    assert read(tmp_path / "t") == CONTENT
    assert os.access(tmp_path / "t/d/e/run", os.X_OK)
    assert (first.written_files, again.written_files) == (4, 0)
    assert first.checkpoint == again.checkpoint


def test_sources_in_memory_are_written_in_pieces(tmp_path: Path, read: Read) -> None:
    """Larger than one piece, and empty."""
    large = os.urandom(1000) * 9000
    write_sources([BytesSource("large", large), BytesSource("empty", b"")], ["d"], tmp_path / "t")
    assert read(tmp_path / "t") == {"large": large, "empty": b"", "d": None}


def test_two_sources_of_one_path_are_refused(tmp_path: Path) -> None:
    """One of them would be lost."""
    with pytest.raises(FormatError, match="distinct"):
        write_sources([BytesSource("f", b"1"), BytesSource("f", b"2")], (), tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_source_that_changes_between_its_two_readings_never_appears(tmp_path: Path) -> None:
    """What was announced and what was copied must be the same bytes."""

    class Changing(BytesSource):
        def open(self) -> Any:
            found = super().open()
            object.__setattr__(self, "data", b"second")
            return found

    with pytest.raises(ConflictError, match="'f' changed while it was being read"):
        write_sources([Changing("f", b"first!")], (), tmp_path / "t")
    assert os.listdir(tmp_path / "t") == []

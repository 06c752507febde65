"""What a folder adds to the promises of every storage: durability, other processes, full disks, foreign files."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cas.errors import CasError, ConflictError, CorruptError, FormatError, NotFoundError, RefusedError, StorageError
from cas.storage import LocalStorage, Storage, probe_exclusive_create

RACER = """
import sys, time
from cas.errors import ConflictError
from cas.storage import LocalStorage

storage, writer, start = LocalStorage(sys.argv[1]), sys.argv[2], float(sys.argv[3])
for number in range(60):
    time.sleep(max(0, start + number / 100 - time.time()))
    try:
        storage.create(f"race/{number:02d}", [b"writer ", writer.encode() * 1000])
        print(number)
    except ConflictError:
        pass
"""


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte, unmounted afterwards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def every_write(storage: Storage, data: bytes = b"x") -> list[Callable[[], object]]:
    return [lambda: storage.create("new", [data]), lambda: storage.replace("old", [data]), storage.now_us]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_opening_and_reading_make_nothing(tmp_path):
    """A mistyped path does not leave a folder behind; only writing makes one."""
    storage = LocalStorage(tmp_path / "a" / "b")
    assert list(storage.list("")) == []
    storage.delete("k")
    assert storage.sweep(2**62) == 0
    with pytest.raises(NotFoundError):
        storage.read("k")
    storage.close()
    assert list(tmp_path.iterdir()) == []

    storage.create("k", [b"x"])
    assert (tmp_path / "a" / "b" / "k").read_bytes() == b"x"


def test_a_relative_path_is_fixed_when_opened(tmp_path, monkeypatch):
    """Changing the working directory later does not change which store is meant."""
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage("store")
    monkeypatch.chdir("/")
    storage.create("k", [b"x"])

    assert storage.url == storage.local_path == str(tmp_path / "store")
    assert files(tmp_path) == ["store/k"]


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_the_umask_decides_who_may_read(storage, umask, file_mode, folder_mode):
    """A private user's store is private, a team's is the team's."""
    before = os.umask(umask)
    try:
        storage.create("a/b", [b"x"])
        storage.replace("a/c", [b"x"])
    finally:
        os.umask(before)
    root = Path(storage.local_path)

    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("a/b", "a/c")] == [file_mode] * 2
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("", "a")] == [folder_mode] * 2


@pytest.mark.slow
def test_processes_that_race_have_one_winner_each_time(storage):
    """Four processes create the same sixty keys at the same moments: each key is won once, by whom it says."""
    start = str(time.time() + 1.0)
    command = [sys.executable, "-c", RACER, storage.local_path]
    racers = [subprocess.Popen([*command, writer, start], stdout=subprocess.PIPE) for writer in "abcd"]
    won = {writer: racer.communicate()[0].split() for writer, racer in zip("abcd", racers, strict=True)}

    assert [racer.returncode for racer in racers] == [0] * 4
    assert sorted(int(number) for numbers in won.values() for number in numbers) == list(range(60))
    for writer, numbers in won.items():
        for number in numbers:
            assert storage.read(f"race/{int(number):02d}") == b"writer " + writer.encode() * 1000
    assert len(files(Path(storage.local_path))) == 60


def test_two_storages_of_one_folder_race_like_one(storage):
    """Exclusion does not rest on anything inside one object or process."""
    others = [LocalStorage(storage.local_path) for _ in range(4)]
    barrier = threading.Barrier(4)
    won: list[int] = []

    def race(number: int) -> None:
        barrier.wait()
        try:
            others[number].create("k", [b"%d" % number])
        except ConflictError:
            return
        won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("k") == b"%d" % won[0]
    assert probe_exclusive_create(storage, threads=16, rounds=30)


def test_everything_is_synced_before_it_counts(storage, monkeypatch):
    """First the bytes, then their name; and the names of new folders in those above them."""
    synced: list[str] = []
    kept = os.fsync

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}").replace(storage.local_path, "ROOT")
        exists = os.path.exists(os.path.join(storage.local_path, "packs/ab/k"))
        synced.append(f"{'bytes' if '.new-' in path else path}, {'named' if exists else 'unnamed'}")
        kept(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.create("packs/ab/k", [b"x"])
    parent = os.path.dirname(storage.local_path)
    assert synced == [
        *(f"{parent}, unnamed", "ROOT, unnamed", "ROOT/packs, unnamed"),
        *("bytes, unnamed", "ROOT/packs/ab, named"),
    ]

    synced.clear()
    storage.replace("packs/ab/k", [b"y"])
    storage.delete("packs/ab/k")
    assert synced == ["bytes, named", "ROOT/packs/ab, named", "ROOT/packs/ab, unnamed"]


def test_a_folder_found_is_synced_as_well(storage, monkeypatch):
    """Another writer may have made it a moment ago and not have synced it; that is made good once."""
    os.makedirs(os.path.join(storage.local_path, "packs", "ab"))
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    storage.create("packs/ab/k", [b"x"])
    storage.create("packs/ab/l", [b"x"])

    assert synced.count(storage.local_path) == 1
    assert synced.count(os.path.join(storage.local_path, "packs")) == 1


def test_a_full_disk_is_said_and_leaves_nothing_behind(small_disk):
    """No half-written object, no temporary file; what was there stays, and there is room again after a delete."""
    storage = LocalStorage(small_disk / "store")
    storage.create("old", [b"o" * 300_000])
    for act in every_write(storage, b"x" * 900_000)[:2]:
        with pytest.raises(StorageError, match=rf"cannot write {small_disk}/store/\w+: no space left") as caught:
            act()
        assert not caught.value.transient
        assert files(small_disk) == ["store/old"]
    assert storage.read("old") == b"o" * 300_000

    storage.delete("old")
    storage.create("new", [b"x" * 900_000])
    assert storage.read_tail("new", 1) == (b"x", 900_000)


def test_a_read_only_disk_is_said_and_can_be_read(small_disk):
    """Writing fails with the reason; reading and listing go on."""
    storage = LocalStorage(small_disk / "store")
    storage.create("old", [b"o"])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    for act in (*every_write(storage), lambda: storage.delete("old"), lambda: LocalStorage(small_disk / "b").now_us()):
        with pytest.raises(StorageError, match="read-only: remount it for writing") as caught:
            act()
        assert not caught.value.transient
    assert storage.read("old") == b"o"
    assert [info.key for info in storage.list("")] == ["old"]


def test_a_folder_that_may_not_be_written_is_said(public_folder):
    """As it is for a user who lacks the permission."""
    store = public_folder / "store"
    store.mkdir()
    (store / "old").write_bytes(b"o")
    store.chmod(0o555)
    code = (
        "import os, sys; from cas.storage import LocalStorage; os.geteuid() or os.setuid(65534)\n"
        "s = LocalStorage(sys.argv[1])\n"
        "for act in (lambda: s.create('new', [b'x']), lambda: s.replace('old', [b'x']), lambda: s.delete('old')):\n"
        "    try: act()\n"
        "    except Exception as error: print(type(error).__name__, error.transient, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, store], capture_output=True, text=True, check=False)

    assert ran.stdout.splitlines() == [
        f"StorageError False cannot {verb} {store}/{key}: permission denied: check the owner and mode of "
        "the folder and of what it lies in"
        for verb, key in (("write", "new"), ("write", "old"), ("delete", "old"))
    ], ran.stderr
    assert files(store) == ["old"]
    store.chmod(0o755)


def test_a_file_where_the_store_should_be_is_said(tmp_path):
    """Nothing is overwritten, and nothing is found in it."""
    (tmp_path / "store").write_bytes(b"mine")
    storage = LocalStorage(tmp_path / "store")

    for act in every_write(storage):
        with pytest.raises(StorageError, match="a file is where a folder is due"):
            act()
    with pytest.raises(NotFoundError):
        storage.read("k")
    assert (tmp_path / "store").read_bytes() == b"mine"


def test_no_object_lies_below_another(storage):
    """Where a file system cannot have both ``a`` and ``a/b``, the second is a conflict."""
    storage.create("a", [b"x"])
    storage.create("b/c", [b"x"])

    for act in (storage.create, storage.replace):
        with pytest.raises(ConflictError):
            act("a/b", [b"y"])
        with pytest.raises(ConflictError):
            act("b", [b"y"])
    assert [info.key for info in storage.list("")] == ["a", "b/c"]


def test_a_path_with_a_nul_is_refused():
    """It could never be a folder."""
    with pytest.raises(FormatError):
        LocalStorage("a\0b")


def test_links_cannot_lead_out_of_the_store(storage, tmp_path):
    """Whoever may write in a shared store cannot make another user's cas read, write or delete elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"private")
    storage.create("refs/one", [b"x"])
    root = Path(storage.local_path)
    (root / "refs" / "folder").symlink_to(outside)
    (root / "refs" / "object").symlink_to(outside / "file")

    for act in (
        lambda: storage.read("refs/folder/file"),
        lambda: storage.read("refs/object"),
        lambda: storage.create("refs/folder/new", [b"x"]),
        lambda: storage.replace("refs/folder/file", [b"x"]),
        lambda: storage.delete("refs/folder/file"),
        lambda: list(storage.list("")),
        lambda: list(storage.list("refs/folder/")),
    ):
        with pytest.raises(RefusedError, match=f"{root}/refs/(folder|object) is a symbolic link"):
            act()
    storage.replace("refs/object", [b"now an object"])
    assert storage.sweep(2**62) == 0
    assert files(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"private"


def test_the_store_itself_may_be_a_link(tmp_path):
    """Its owner made it, and means what it points to."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    LocalStorage(tmp_path / "store").create("a/b", [b"x"])

    assert files(tmp_path / "disk") == ["a/b"]


def test_foreign_files_are_no_objects(storage):
    """Hidden files, pipes and names that no key has are not listed; a pipe is not waited for."""
    storage.create("d/real", [b"x"])
    folder = Path(storage.local_path) / "d"
    for name in (b".DS_Store", b".nfs0001", b"not\xffutf8", b"new\nline", b"back\\slash", b"co:lon"):
        (Path(os.fsdecode(bytes(folder) + b"/" + name))).write_bytes(b"")
    os.mkfifo(folder / "pipe")
    (folder / ".snapshot").mkdir()
    (folder / ".snapshot" / "real").write_bytes(b"x")

    assert [info.key for info in storage.list("")] == ["d/real"]
    with pytest.raises(NotFoundError):
        storage.read("d/pipe")


def test_a_folder_deeper_than_any_key_is_passed_over(storage):
    """A listing ends, whatever somebody put into the folder."""
    storage.create("real", [b"x"])
    before = os.getcwd()
    os.chdir(storage.local_path)
    try:
        for _ in range(10):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
            Path("file").write_bytes(b"")
    finally:
        os.chdir(before)

    assert [info.key.rpartition("/")[2] for info in storage.list("")] == ["file"] * 3 + ["real"]
    assert storage.sweep(2**62) == 0


def test_what_dead_writers_left_is_swept_and_nothing_else(storage):
    """Half-written files are in no listing and in nobody's way, and go once they are old."""
    code = (
        "import os, sys; from cas.storage import LocalStorage, local\n"
        "os.link = os.rename = lambda *args, **options: os._exit(9)\n"
        "LocalStorage(sys.argv[1]).create('packs/ab/k', [b'half'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, storage.local_path], check=False)
    assert ran.returncode == 9
    (left,) = files(Path(storage.local_path))
    assert left.startswith("packs/ab/.new-")
    assert list(storage.list("")) == []

    storage.create("packs/ab/k", [b"whole"])
    assert storage.sweep(storage.now_us() - 60_000_000) == 0
    assert storage.sweep(storage.now_us() + 1) == 1
    assert files(Path(storage.local_path)) == ["packs/ab/k"]


def test_a_writer_swept_too_early_fails_and_says_so(storage, monkeypatch):
    """It does not report success for an object that is not there."""
    kept = os.link

    def late(*args: object, **options: object) -> None:
        storage.sweep(2**62)
        kept(*args, **options)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(StorageError):
        storage.create("k", [b"x"])
    assert list(storage.list("")) == []


def test_without_hard_links_nothing_is_created(storage, monkeypatch):
    """No weaker way of creating is tried in their place."""

    def no_links(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(RefusedError, match="has no hard links"):
        storage.create("k", [b"x"])
    assert files(Path(storage.local_path)) == []


def test_a_link_whose_answer_was_lost_is_ours(storage, monkeypatch):
    """As over NFS, which repeats the request and then hears that the name is taken."""
    kept = os.link

    def told_twice(*args: object, **options: object) -> None:
        kept(*args, **options)
        kept(*args, **options)

    monkeypatch.setattr(os, "link", told_twice)
    storage.create("k", [b"x"])
    assert storage.read("k") == b"x"
    with pytest.raises(ConflictError):
        storage.create("k", [b"x"])


@pytest.mark.parametrize(
    ("number", "transient"), [(errno.EIO, False), (errno.ESTALE, True), (errno.EDQUOT, False), (errno.EMFILE, True)]
)
def test_errors_of_the_disk_are_told_apart(storage, monkeypatch, number, transient):
    """A stale NFS handle may be gone the next time; a broken disk or a used-up quota is not."""

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    for act in (*every_write(storage)[:2], lambda: storage.create("a/b/c", [b"x"])):
        with pytest.raises(StorageError, match=f"cannot write {storage.local_path}") as caught:
            act()
        assert caught.value.transient is transient
    monkeypatch.undo()
    assert list(storage.list("")) == []


def test_a_file_cut_short_while_it_is_read_is_corrupt(storage, monkeypatch):
    """Fewer bytes than the file had when it was opened are never given."""
    storage.create("k", [b"x" * 100])
    kept = os.pread

    def shrinking(descriptor: int, size_bytes: int, offset: int) -> bytes:
        os.truncate(os.path.join(storage.local_path, "k"), 60)
        return kept(descriptor, size_bytes, offset)

    monkeypatch.setattr(os, "pread", shrinking)
    for read in (lambda: storage.read("k"), lambda: storage.read_tail("k", 90)):
        os.truncate(os.path.join(storage.local_path, "k"), 100)
        with pytest.raises(CorruptError, match="k is corrupt"):
            read()


def test_reads_larger_than_one_call_are_put_together(storage, monkeypatch):
    """The system reads 2 GiB at a time at most, and may read less."""
    data = bytes(range(200))
    storage.create("k", [data])
    kept = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: kept(descriptor, min(size, 7), offset))

    assert storage.read("k") == data
    assert storage.read_range("k", 3, 150) == data[3:153]


def test_partial_writes_are_continued(storage, monkeypatch):
    """The system may take less than it is given."""
    kept = os.writev

    def stingy(descriptor: int, buffers: list[memoryview]) -> int:
        return kept(descriptor, [buffers[0][:5], *buffers[1:2]] if len(buffers[0]) < 5 else [buffers[0][:5]])

    monkeypatch.setattr(os, "writev", stingy)
    storage.create("k", [b"0123456789ab", b"", b"cd", b"efg", b"hijklmnop"])
    assert storage.read("k") == b"0123456789abcdefghijklmnop"


def test_descriptors_are_given_back(storage):
    """Neither success nor failure leaves one open, nor does a listing that is not read to its end."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        storage.create(f"a/b/{number}", [b"x"])
        for act in (
            lambda number=number: storage.create(f"a/b/{number}", [b"x"]),
            lambda: storage.read("nothing/here"),
            lambda: storage.create("a/b", [b"x"]),
        ):
            with pytest.raises(CasError):
                act()
        next(storage.list(""))
    assert len(os.listdir("/proc/self/fd")) == before

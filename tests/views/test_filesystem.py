"""cas:// for fsspec: checkpoints as folders, read-only."""

from __future__ import annotations

import errno
import io
import os
import pickle
import subprocess
import sys
import threading

import fsspec
import numpy as np
import pytest
import torch

import cas
from cas.errors import CorruptError, NotFoundError
from cas.format import Digest
from cas.views.filesystem import CasFileSystem

NOISE = np.random.default_rng(3).bytes(3 << 20)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.csv").write_text("x,y\n1,2\n3,4\n")
    (folder / "sub" / "b.txt").write_text("b")
    (folder / "sub" / "deep" / "noise").write_bytes(NOISE)
    (folder / "sub" / "deep" / "noise").chmod(0o755)
    return folder


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "store"))
    return str(tmp_path / "store")


@pytest.fixture
def rev(folder, url):
    """The hash of the folder, which is also ``main`` and ``runs/a``."""
    with cas.open(url, create=True) as store:
        store.put(folder, ref="main")
        return str(store.put(folder, ref="runs/a").checkpoint)


@pytest.fixture
def fs(rev):
    yield fsspec.filesystem("cas")
    CasFileSystem.clear_instance_cache()


def test_fsspec_knows_the_protocol(fs, rev):
    """By the entry point, in a process that never imported cas."""
    code = f"import fsspec; print(fsspec.open('cas://{rev[:10]}/sub/b.txt', 'r').open().read())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "b\n"


def test_a_checkpoint_is_a_folder(fs, rev):
    """By hash, prefix and ref, with and without the protocol."""
    for base in (rev, rev[:8], "main", "runs/a", "main~0"):
        assert fs.ls(f"cas://{base}", detail=False) == [f"{base}/{name}" for name in ("a.csv", "empty", "sub")]
        assert fs.find(base) == [f"{base}/{path}" for path in ("a.csv", "sub/b.txt", "sub/deep/noise")]
        assert fs.cat_file(f"{base}/sub/b.txt") == b"b"
    assert fs.glob("main/**/*e") == ["main/sub/deep/noise"]
    assert fs.glob("cas://runs/*/*.csv") == ["runs/a/a.csv"]
    assert [(path, dirs, files) for path, dirs, files in fs.walk("main")] == [
        ("main", ["empty", "sub"], ["a.csv"]), ("main/empty", [], []), ("main/sub", ["deep"], ["b.txt"]),
        ("main/sub/deep", [], ["noise"]),
    ]  # fmt: skip
    assert fs.du("main") == 12 + 1 + len(NOISE)


def test_the_root_lists_refs(fs):
    """As folders: those that are refs and those that refs' names begin with."""
    assert fs.ls("cas://", detail=False) == ["main", "runs"]
    assert fs.ls("runs", detail=False) == ["runs/a"]
    assert fs.isdir("cas://")
    assert fs.isdir("runs")
    assert fs.isdir("main")
    assert not fs.exists("detached")


def test_find_honours_its_options(fs):
    """Depth, folders, details; the base comes back as it was given."""
    assert fs.find("main", maxdepth=1) == ["main/a.csv"]
    assert fs.find("main", maxdepth=2) == ["main/a.csv", "main/sub/b.txt"]
    assert fs.find("main/sub", maxdepth=1, withdirs=True) == ["main/sub", "main/sub/b.txt", "main/sub/deep"]
    assert fs.find("/main/sub", maxdepth=1) == ["/main/sub/b.txt"]
    assert fs.find("main/a.csv") == ["main/a.csv"]
    assert fs.find("main/nothing") == fs.find("nothing") == []
    assert fs.find("main/sub", detail=True)["main/sub/b.txt"]["size"] == 1
    assert fs.find("") == [
        f"{base}/{p}" for base in ("main", "runs/a") for p in ("a.csv", "sub/b.txt", "sub/deep/noise")
    ]


def test_info_tells_what_a_tree_knows(fs, rev):
    """And the checkpoint that it is from, to come back to."""
    assert fs.info("main/sub/deep/noise") == {
        "name": "main/sub/deep/noise", "size": len(NOISE), "type": "file", "blob": str(Digest.of(NOISE)),
        "executable": True, "checkpoint": rev,
    }  # fmt: skip
    assert fs.info("cas://main/sub") == {"name": "main/sub", "size": 0, "type": "directory", "checkpoint": rev}
    assert fs.info(f"{rev}/empty")["type"] == "directory"
    assert fs.ls("main/a.csv") == [fs.info("main/a.csv")]
    assert (fs.isfile("main/a.csv"), fs.isfile("main/sub"), fs.isfile("main/q")) == (True, False, False)
    assert (fs.isdir("main/a.csv"), fs.isdir("main/sub"), fs.isdir("q")) == (False, True, False)
    assert (fs.exists("main/a.csv"), fs.exists("main/a.csv/b"), fs.exists("q/r")) == (True, False, False)


def test_keys_are_digests(fs, rev):
    """Equal where content is equal, wherever it is."""
    assert fs.ukey("main/a.csv") == fs.ukey(f"{rev}/a.csv") == fs.info("main/a.csv")["blob"]
    assert fs.checksum("main/a.csv") == int(fs.ukey("main/a.csv"), 16)
    assert fs.ukey("main/sub") != fs.ukey("main")


def test_ranges_are_slices(fs):
    """Of one file and of several."""
    for start, end in ((None, None), (5, 10), (-7, None), (-7, -3), (10, 5), (0, 1 << 40), (1 << 40, None)):
        assert fs.cat_file("main/sub/deep/noise", start, end) == NOISE[start:end]
    path = "main/sub/deep/noise"
    starts, ends = [0, 1 << 20, len(NOISE) - 5], [10, (1 << 20) + 3, len(NOISE)]
    assert fs.cat_ranges([path] * 3, starts, ends) == [NOISE[a:b] for a, b in zip(starts, ends, strict=True)]
    assert isinstance(fs.cat_ranges(["main/q"], 0, 1)[0], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["main/q"], 0, 1, on_error="raise")
    assert fs.cat("main/*.csv") == {"main/a.csv": b"x,y\n1,2\n3,4\n"}
    assert fs.read_text("main/sub/b.txt") == "b"
    assert fs.head("main/sub/deep/noise", 3) == NOISE[:3]
    assert fs.tail("main/sub/deep/noise", 3) == NOISE[-3:]


def test_ranges_of_one_chunk_fetch_it_once(fs, rev, tmp_path):
    """Damage done to the pack after the first does not reach the second."""
    path = f"{rev}/sub/deep/noise"
    assert fs.cat_file(path, 0, 10) == NOISE[:10]
    for pack in (tmp_path / "store" / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    assert fs.cat_ranges([path] * 100, list(range(100)), list(range(50, 150))) == [
        NOISE[n : n + 50] for n in range(100)
    ]
    with pytest.raises(NotFoundError, match="packs/"):  # the file is there, so this is no FileNotFoundError
        fs.cat_file(path, len(NOISE) - 10, None)


def test_files_open_as_files(fs):
    """Seekable, binary and text."""
    with fs.open("cas://main/sub/deep/noise") as file:
        assert file.size == len(NOISE)
        file.seek(1 << 20)
        assert file.read(5) == NOISE[1 << 20 : (1 << 20) + 5]
    with fs.open("main/a.csv", "r") as text:
        assert text.readline() == "x,y\n"


def test_what_is_not_there_is_said_as_python_says_it(fs):
    """And a folder is no file."""
    for path in ("main/q", "q/r", "main/a.csv/x"):
        for call in (fs.open, fs.info, fs.ls, fs.cat_file, fs.checksum):
            with pytest.raises(FileNotFoundError) as error:
                call(path)
            assert error.value.errno == errno.ENOENT
    with pytest.raises(IsADirectoryError):
        fs.open("main/sub")
    with pytest.raises(FileNotFoundError):
        fs.get("main/q", "here")


def test_nothing_can_be_written(fs, rev):
    """Every way that fsspec has is refused as a read-only disk refuses it, and nothing is different afterwards."""
    writes = {
        "open": lambda: fs.open("main/a.csv", "wb"), "append": lambda: fs.open("main/a.csv", "ab"),
        "exclusive": lambda: fs.open("main/new", "xb"), "text": lambda: fs.write_text("main/new", "x"),
        "bytes": lambda: fs.write_bytes("main/new", b"x"), "pipe": lambda: fs.pipe({"main/new": b"x"}),
        "pipe_file": lambda: fs.pipe_file("main/new", b"x"), "put": lambda: fs.put(__file__, "main/new"),
        "put_file": lambda: fs.put_file(__file__, "main/new"), "touch": lambda: fs.touch("main/new"),
        "rm": lambda: fs.rm("main", recursive=True), "rm_file": lambda: fs.rm_file("main/a.csv"),
        "rmdir": lambda: fs.rmdir("main/empty"), "mkdir": lambda: fs.mkdir("main/new"),
        "makedirs": lambda: fs.makedirs("main/new"), "mv": lambda: fs.mv("main/a.csv", "main/b"),
        "copy": lambda: fs.copy("main/a.csv", "main/b"), "cp_file": lambda: fs.cp_file("main/a.csv", "main/b"),
        "rename": lambda: fs.rename("main/a.csv", "main/b"), "delete": lambda: fs.delete("main/a.csv"),
    }  # fmt: skip
    for write in writes.values():
        with pytest.raises(OSError, match="read-only") as error:
            write()
        assert error.value.errno == errno.EROFS
    assert fs.info("main")["checkpoint"] == rev


def test_get_brings_whole_verified_files(fs, tmp_path, folder):
    """A tree, and with what progress callbacks want to know."""
    fs.get("cas://main/", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "sub" / "deep" / "noise").read_bytes() == NOISE
    callback = fsspec.callbacks.Callback()
    fs.get_file("main/sub/deep/noise", tmp_path / "one", callback=callback)
    assert (callback.size, callback.value) == (len(NOISE), len(NOISE))
    into = io.BytesIO()
    fs.get_file("main/a.csv", into)
    assert into.getvalue() == b"x,y\n1,2\n3,4\n"


def test_a_damaged_file_never_appears(fs, rev, url, tmp_path):
    """Neither under its name nor beside it; and damage is not absence."""
    for path in (tmp_path / "store" / "packs").rglob("*"):
        if path.is_file() and path.stat().st_size > 1 << 20:
            path.chmod(0o644)
            data = bytearray(path.read_bytes())
            data[2 << 20] ^= 1
            path.write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(CorruptError):
        fs.get_file("main/sub/deep/noise", out / "noise")
    assert list(out.iterdir()) == []
    with pytest.raises(CorruptError):
        fs.cat_file("main/sub/deep/noise")


def test_a_failure_is_no_absence(fs, tmp_path):
    """``exists`` must not say no because there is no store, or a damaged one."""
    with pytest.raises(NotFoundError, match="cas init"):
        fsspec.filesystem("cas", store=str(tmp_path / "nothing")).exists("main/a.csv")
    (manifest,) = (path for path in (tmp_path / "store" / "manifests").rglob("*") if path.is_file())
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes()[:-1])
    for ask in (fs.exists, fs.isfile, fs.isdir):
        with pytest.raises(CorruptError):
            ask("main/a.csv")


def test_a_ref_is_looked_up_with_every_call(fs, folder, url):
    """So no cache has to be emptied."""
    assert fs.exists("main/a.csv")
    (folder / "a.csv").unlink()
    with cas.open(url) as store:
        store.put(folder, ref="main")
    assert not fs.exists("main/a.csv")
    assert fs.exists("main~1/a.csv")


def test_one_get_sees_one_checkpoint(fs, folder, url, tmp_path):
    """Though the ref moves between its files."""
    moved = []

    class Mover(fsspec.callbacks.Callback):
        def relative_update(self, inc: int = 1) -> None:
            if not moved:
                (folder / "sub" / "b.txt").write_text("later")
                (folder / "a.csv").write_text("later")
                with cas.open(url) as store:
                    moved.append(store.put(folder, ref="main"))

        def branched(self, path_1: str, path_2: str, **options: object) -> fsspec.callbacks.Callback:
            return self

    fs.get("main/", str(tmp_path / "out"), recursive=True, callback=Mover())
    assert moved
    assert (tmp_path / "out" / "sub" / "b.txt").read_text() == "b"
    assert (tmp_path / "out" / "a.csv").read_text() == "x,y\n1,2\n3,4\n"
    assert fs.cat_file("main/a.csv") == b"later"


def test_an_instance_belongs_to_one_store(fs, url, tmp_path, monkeypatch):
    """Also where the environment named it, which may name another by and by."""
    assert fs is fsspec.filesystem("cas")
    assert fs is fsspec.filesystem("cas", store=url)
    assert fs.storage_options == {"store": url}
    other = tmp_path / "other"
    with cas.open(other, create=True) as store:
        store.put({"a": 1}, ref="mine")
    monkeypatch.setenv("CAS_STORE", str(other))
    assert fsspec.filesystem("cas") is not fs
    assert fsspec.filesystem("cas").ls("", detail=False) == ["mine"]
    assert fs.ls("", detail=False) == ["main", "runs"]
    assert fs.fsid != fsspec.filesystem("cas").fsid
    monkeypatch.chdir(tmp_path)
    assert fsspec.filesystem("cas", store="store") == fs


def test_fsspecs_configuration_may_name_the_store(rev, url, tmp_path, monkeypatch):
    """As for any file system of fsspec; what the caller names goes before."""
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "nothing"))
    monkeypatch.setitem(fsspec.config.conf, "cas", {"store": url})
    assert fsspec.filesystem("cas").exists(f"{rev}/a.csv")
    assert fsspec.filesystem("cas", store=str(tmp_path / "other")).storage_options["store"] == str(tmp_path / "other")


def test_it_travels_to_workers(fs, rev, monkeypatch):
    """Pickled, and in a process with another environment and directory, it is still the same store."""
    assert pickle.loads(pickle.dumps(fs)) is fs
    code = "import sys, pickle; fs = pickle.load(sys.stdin.buffer); print(fs.cat_file('main/sub/b.txt').decode())"
    monkeypatch.delenv("CAS_STORE")
    out = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(fs), capture_output=True, check=True, cwd="/")
    assert out.stdout == b"b\n"
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()) == fs


def test_threads_share_it(fs):
    """With refs that each call looks up for itself."""
    wrong: list[bytes] = []

    def read() -> None:
        for offset in range(0, len(NOISE), 100_003):
            if (data := fs.cat_file("main/sub/deep/noise", offset, offset + 50)) != NOISE[offset : offset + 50]:
                wrong.append(data)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_it_works_on_in_a_forked_worker(fs):
    """As PyTorch's DataLoader has them."""
    assert fs.exists("main")
    code = (
        "import os, fsspec; fs = fsspec.filesystem('cas'); fs.exists('main'); pid = os.fork()\n"
        "if not pid: os._exit(0 if fs.cat_file('main/sub/b.txt') == b'b' else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "0\n"


def test_torch_loads_through_it(url):
    """Without the permission to run code."""
    state = {"w": torch.randn(300, 1000), "epoch": 3}
    file = io.BytesIO()
    torch.save(state, file)
    with cas.open(url, create=True) as store:
        store.put({"cas.files": {"model.pt": file.getvalue()}}, ref="trained")
    with fsspec.open("cas://trained/model.pt") as lazy:
        loaded = torch.load(lazy, weights_only=True)
    assert torch.equal(loaded["w"], state["w"])
    assert loaded["epoch"] == 3


def test_pandas_reads_through_it(fs):
    """By URL alone."""
    pandas = pytest.importorskip("pandas")
    assert pandas.read_csv("cas://main/a.csv").to_dict("list") == {"x": [1, 3], "y": [2, 4]}


def test_pyarrow_reads_through_it(url, tmp_path):
    """Single tables and data sets."""
    pyarrow = pytest.importorskip("pyarrow")
    dataset, parquet = pytest.importorskip("pyarrow.dataset"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"a": list(range(1000)), "b": [str(n) for n in range(1000)]})
    for part in range(3):
        (tmp_path / "data" / f"part={part}").mkdir(parents=True)
        parquet.write_table(table, tmp_path / "data" / f"part={part}" / "t.parquet")
    with cas.open(url, create=True) as store:
        store.put(tmp_path / "data", ref="data")
    fs = fsspec.filesystem("cas")
    assert parquet.read_table("data/part=1/t.parquet", filesystem=fs, partitioning=None).equals(table)
    parts = dataset.dataset("data", filesystem=fs, partitioning="hive")
    assert parts.count_rows() == 3000
    assert parts.to_table(filter=dataset.field("part") == 2).num_rows == 1000


@pytest.mark.slow
@pytest.mark.server
def test_a_store_on_s3_is_read_as_any_other(s3_store, folder):
    """The file system of a file system: the store's own goes by fsspec too."""
    with cas.open(s3_store, create=True) as store:
        rev = str(store.put(folder, ref="runs/far").checkpoint)
    fs = fsspec.filesystem("cas", store=s3_store)
    assert fs.find("runs/far") == [f"runs/far/{path}" for path in ("a.csv", "sub/b.txt", "sub/deep/noise")]
    with fsspec.open(f"cas://{rev}/sub/deep/noise", store=s3_store) as file:
        file.seek(-100, os.SEEK_END)
        assert file.read() == NOISE[-100:]
    assert fs.cat_file("runs/far/sub/deep/noise") == NOISE
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_csv("cas://runs/far/a.csv", storage_options={"store": s3_store})) == 2
    CasFileSystem.clear_instance_cache()

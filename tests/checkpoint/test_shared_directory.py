"""as_directory: one directory for all of a node's readers, gone with the last."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cas
from cas.checkpoint import Checkpoint
from cas.checkpoint.shared_directory import shared_directory

READER = """
import sys, time
from pathlib import Path
from cas.checkpoint.shared_directory import shared_directory

root, log = Path(sys.argv[1]), Path(sys.argv[2])

def write(path):
    with open(log, "a") as file:
        file.write("written\\n")
    time.sleep(0.05)
    (path / "file").write_text("content")

with shared_directory("name", write, root) as path:
    assert (path / "file").read_text() == "content"
    print(path, flush=True)
    sys.stdin.readline()
    assert (path / "file").read_text() == "content"
"""


def fill(path: Path) -> None:
    (path / "file").write_text("content")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_nested_readers_share_one(tmp_path):
    """The inner one leaves without taking it from the outer."""
    calls = []
    with shared_directory("name", lambda path: (calls.append(path), fill(path)), tmp_path) as outer:
        with shared_directory("name", fill, tmp_path) as inner:
            assert inner == outer
        assert (outer / "file").read_text() == "content"
    assert len(calls) == 1
    assert list(tmp_path.glob("name*")) == []


def test_an_exception_removes_it(tmp_path):
    """The reader's own, and the writer's."""
    with pytest.raises(ZeroDivisionError), shared_directory("name", fill, tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.glob("name*")) == []
    with pytest.raises(ZeroDivisionError), shared_directory("name", lambda path: 1 / 0, tmp_path):
        pass
    assert list(tmp_path.glob("name*")) == []


def test_threads_share_one(tmp_path):
    """However they come and go, it is there for whoever is inside."""

    def read(_: int) -> str:
        with shared_directory("name", fill, tmp_path) as path:
            return (path / "file").read_text()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(200))) == {"content"}
    assert list(tmp_path.glob("name*")) == []


def test_processes_share_one_and_the_dead_hold_nothing(tmp_path):
    """Three at once write it once; one that is killed does not keep it, and the last one out removes it."""
    log = tmp_path / "log"
    root = tmp_path / "root"
    root.mkdir()
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(root), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert {reader.stdout.readline().strip() for reader in readers} == {str(root / "name")}
    assert log.read_text() == "written\n"
    readers[0].kill()
    readers[0].wait()
    assert (root / "name" / "file").exists()
    for reader in readers[1:]:
        reader.communicate("\n")
        assert reader.returncode == 0
    readers[0].communicate()
    assert list(root.iterdir()) == []


def test_what_a_killed_reader_left_is_removed_by_the_next(tmp_path):
    """Whatever that one reads."""
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path), str(tmp_path / "log")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    reader.stdout.readline()
    reader.kill()
    reader.communicate()
    assert (tmp_path / "name").is_dir()
    with shared_directory("another", fill, tmp_path):
        assert not (tmp_path / "name").exists()


def test_a_local_directory_is_yielded_itself(tmp_path):
    """And is still there afterwards."""
    (tmp_path / "file").write_text("content")
    with Checkpoint.from_directory(tmp_path).as_directory() as path:
        assert path == str(tmp_path)
    assert (tmp_path / "file").exists()


def test_equal_checkpoints_share_one(tmp_path, monkeypatch):
    """Whether they come from memory or from a store."""
    cas.Store.init(tmp_path / "store").close()
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "store"))
    made = Checkpoint.from_dict({"a": 1})
    with made.as_directory() as one, Checkpoint.from_hash(made.hash).as_directory() as other:
        assert one == other
        assert os.path.basename(one) == made.hash
    assert not os.path.exists(one)

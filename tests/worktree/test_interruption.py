"""A restore that dies can be run again and finishes, wherever it died."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cas.errors import RefusedError
from cas.worktree import directory_sources, restore, scan

Read = Callable[[Path], dict[str, bytes | None]]

CONTENT = {f"d{n % 2}/f{n}": bytes([n]) * (n * 40) for n in range(8)}


class Crash(BaseException):
    """Stands for KeyboardInterrupt, and is not mistaken for the user's own."""


@pytest.fixture
def filled(make_store: Any, make: Any, tmp_path: Path) -> tuple[Any, Any]:
    """A store, and the manifest of `CONTENT` in it, most files in several chunks."""
    store = make_store(chunk_bytes=100)
    return store, store.put(*directory_sources(make(tmp_path / "origin", CONTENT)))


@pytest.mark.parametrize("where", ["on_chunk", "on_write"])
@pytest.mark.parametrize("error", [Crash, KeyboardInterrupt, OSError])
def test_it_finishes_after_an_exception_at_any_chunk(
    where: str, error: type[BaseException], filled: Any, tmp_path: Path, read: Read
) -> None:
    """Raised in the main thread or in a writing one: only whole files and no temporary ones are left."""
    store, manifest = filled

    for step in count():
        target = tmp_path / f"t{step}"

        def crash(number: int, step: int = step) -> None:
            if number == step:
                raise error

        setattr(store, where, crash)
        try:
            restore(store, manifest, target)
            break
        except (error, OSError):
            pass
        left = read(target)
        assert left == {path: CONTENT[path] for path in left}

        setattr(store, where, lambda number: None)
        result = restore(store, manifest, target)
        assert result.written_files == len(CONTENT) - len(left)
        assert read(target) == CONTENT
    assert step > len(CONTENT)


_CHILD = """
import os, runpy, signal, sys
from pathlib import Path
from cas.repository import BytesSource
from cas.worktree import restore

conftest, target, step, where = sys.argv[1:]
store = runpy.run_path(conftest)["MemoryStore"](chunk_bytes=100)
content = {f"d{n % 2}/f{n}": bytes([n]) * (n * 40) for n in range(8)}
manifest = store.put([BytesSource(path, data) for path, data in sorted(content.items())])

def die(number):
    if number == int(step):
        os.kill(os.getpid(), signal.SIGKILL)

setattr(store, where, die)
restore(store, manifest, Path(target))
"""


@pytest.mark.parametrize(("step", "where"), [(0, "on_write"), (9, "on_write"), (11, "on_chunk")])
def test_it_finishes_after_a_kill(step: int, where: str, filled: Any, tmp_path: Path, read: Read) -> None:
    """SIGKILL leaves a staging directory that is recognised, kept out of checkpoints, and removed by the next run."""
    store, manifest = filled
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, Path(__file__).with_name("conftest.py"), tmp_path / "t", str(step), where]
    )
    assert child.returncode == -signal.SIGKILL
    left = read(tmp_path / "t")
    # A folder whose first file did not make it is empty, which is None here: it is no half-written file.
    whole = {path: data for path, data in left.items() if data is not None and not path.startswith(".cas-restore-")}
    assert whole == {path: CONTENT[path] for path in whole}
    assert len(whole) < len(left)
    with pytest.raises(RefusedError, match="finish the pull that was interrupted there, or remove it"):
        scan(tmp_path / "t")

    result = restore(store, manifest, tmp_path / "t")

    assert result.written_files == len(CONTENT) - len(whole)
    assert read(tmp_path / "t") == CONTENT


def test_what_is_left_goes_even_if_nothing_is_to_be_written(filled: Any, tmp_path: Path, read: Read) -> None:
    """Killed after the last file had its place, or before its staging directory had a lock."""
    store, manifest = filled
    restore(store, manifest, tmp_path / "t")
    for name, files in {
        ".cas-restore-00000000000000aa": ["0", ".cas-restore-lock"],
        ".cas-restore-00000000000000bb": [],
    }.items():
        (tmp_path / "t" / name).mkdir()
        for file in files:
            (tmp_path / "t" / name / file).write_bytes(b"")
    restore(store, manifest, tmp_path / "t")
    assert read(tmp_path / "t") == CONTENT


def test_a_restore_that_still_runs_keeps_its_files(filled: Any, tmp_path: Path) -> None:
    """Its lock is held: another restore into the same directory leaves it alone."""
    store, manifest = filled
    staging = tmp_path / "t" / ".cas-restore-00000000000000aa"
    staging.mkdir(parents=True)
    (staging / "0").write_bytes(b"unfinished")
    with (staging / ".cas-restore-lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        restore(store, manifest, tmp_path / "t")
        assert (staging / "0").read_bytes() == b"unfinished"
    restore(store, manifest, tmp_path / "t")
    assert not staging.exists()


def test_only_what_a_restore_made_is_removed(filled: Any, tmp_path: Path) -> None:
    """A name that is not quite one of its own, a file, a link or a directory with directories in it stays."""
    store, manifest = filled
    target = tmp_path / "t"
    (target / ".cas-restore-mine").mkdir(parents=True)
    (target / ".cas-restore-00000000000000aa" / "sub").mkdir(parents=True)
    (target / ".cas-restore-00000000000000bb").write_bytes(b"a file")
    (target / ".cas-restore-00000000000000cc").symlink_to(tmp_path / "origin")
    restore(store, manifest, target)
    assert sorted(name for name in os.listdir(target) if name.startswith(".cas")) == [
        ".cas-restore-00000000000000aa",
        ".cas-restore-00000000000000bb",
        ".cas-restore-00000000000000cc",
        ".cas-restore-mine",
    ]
    assert (tmp_path / "origin").is_dir()

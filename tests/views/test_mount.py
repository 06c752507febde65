"""A mounted checkpoint: the kernel's own view of it, in a process of its own."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cas
from cas.errors import NotFoundError, RefusedError
from cas.views.mount import check_mountable

NOISE = np.random.default_rng(5).bytes(5 << 20)


def why_not() -> str:
    """What keeps this machine from mounting; empty if nothing does."""
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError, AttributeError) as error:
        return f"mfusepy or libfuse is missing: {error}"
    return "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "/dev/fuse cannot be opened"


needs_fuse = pytest.mark.skipif(bool(why_not()), reason=why_not() or "mounts here")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory whose checkpoint is ``main``."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "sub" / "noise").write_bytes(NOISE)
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o755)
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "store"))
    with cas.open(create=True) as store:
        store.put(folder, ref="main")
    return folder


@pytest.fixture
def mounted(folder, tmp_path):
    """A mount of ``main``, and the process that keeps it."""
    here = tmp_path / "mounted"
    here.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "cas", "mount", "main", str(here)], stderr=subprocess.PIPE, text=True
    )
    deadline_s = time.monotonic() + 30
    while not os.path.ismount(here):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline_s, "it did not mount in time"
        time.sleep(0.02)
    yield here, process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=20)
    finally:
        subprocess.run(["umount", "-l", str(here)], capture_output=True, check=False)
        process.kill()


@needs_fuse
@pytest.mark.slow
@pytest.mark.server
def test_a_mount_shows_the_files_and_no_way_to_change_them(mounted, folder):
    """Names, bytes and executable bits; and every write is refused as by a read-only disk."""
    here, _ = mounted
    assert sorted(os.listdir(here)) == ["empty", "run.sh", "sub"]
    assert (here / "sub" / "noise").read_bytes() == NOISE
    assert (here / "sub" / "noise").stat().st_size == len(NOISE)
    assert not os.access(here / "sub" / "noise", os.X_OK)
    assert subprocess.run([here / "run.sh"], capture_output=True, check=True).stdout == b"ran\n"
    with open(here / "sub" / "noise", "rb") as file:
        file.seek(3 << 20)
        assert file.read(100) == NOISE[3 << 20 : (3 << 20) + 100]
    assert np.array_equal(np.memmap(here / "sub" / "noise", mode="r"), np.frombuffer(NOISE, np.uint8))
    with pytest.raises(FileNotFoundError):
        (here / "nothing").stat()
    for write in (
        lambda: (here / "new").write_text("x"),
        lambda: (here / "run.sh").unlink(),
        lambda: (here / "run.sh").write_text("x"),
        lambda: (here / "new").mkdir(),
        lambda: (here / "run.sh").rename(here / "other"),
    ):
        with pytest.raises(OSError, match="Read-only") as error:
            write()
        assert error.value.errno == errno.EROFS


@needs_fuse
@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("end", ["interrupt", "terminate", "unmount"])
def test_a_mount_ends_cleanly(mounted, end):
    """By Ctrl-C, by SIGTERM, by umount: the folder is empty again, and the exit code says that all is well."""
    here, process = mounted
    if end == "unmount":
        subprocess.run(["umount", str(here)], check=True)
    else:
        process.send_signal(signal.SIGINT if end == "interrupt" else signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "umount" in err
    assert not os.path.ismount(here)
    assert os.listdir(here) == []


@needs_fuse
def test_where_nothing_can_be_mounted_it_says_why(tmp_path):
    """A folder that is missing, a file, and one with something in it that would be hidden."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(RefusedError, match="full"):
        check_mountable(tmp_path / "full")
    for path in (tmp_path / "nothing", tmp_path / "full" / "file"):
        with pytest.raises(NotFoundError, match="make it first"):
            check_mountable(path)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    """Or the missing device, whichever comes first."""
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    with pytest.raises(RefusedError, match=r"cas\[mount\]|/dev/fuse"):
        check_mountable(tmp_path)

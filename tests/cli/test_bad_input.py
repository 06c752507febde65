"""Bad input: one or two lines that name the thing and the way out, the right exit code, nothing lost."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def health(cas, store):
    """Whatever a test runs, what it leaves is a whole store; a test that damages it says so here."""
    health = SimpleNamespace(fsck_code=0)
    yield health
    assert cas("fsck", "--read-data", "--store", store).code == health.fsck_code


def expect_complaint(result, code: int, *words: str) -> None:
    assert result.code == code, result.err
    assert result.out == ""
    assert 1 <= len(result.err.strip().splitlines()) <= 2
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


def test_missing_path(cas, store, tmp_path):
    """Named as it was given."""
    expect_complaint(cas("put", tmp_path / "nowhere"), 3, "nowhere")


def test_file_where_a_directory_is_due(cas, store, tmp_path):
    """To put and to pull alike."""
    (tmp_path / "file").write_text("x")
    expect_complaint(cas("put", tmp_path / "file"), 4, "file", "directory")


def test_pull_into_a_file(cas, store, model, tmp_path):
    """The file stays."""
    (tmp_path / "file").write_text("x")
    rev = cas("put", model).out.strip()
    result = cas("pull", rev, tmp_path / "file")
    assert result.code in (4, 6, 7)
    assert "file" in result.err
    assert (tmp_path / "file").read_text() == "x"


def test_unknown_hash(cas, store):
    """Whole, prefix and name."""
    for rev in ("0" * 64, "01234567", "nobody"):
        expect_complaint(cas("pull", rev, "out"), 3, rev)


def test_too_short_prefix(cas, store):
    """Says how many digits are needed."""
    expect_complaint(cas("show", "abc"), 4, "8")


def test_not_a_store(cas, tmp_path):
    """Says how to make one."""
    expect_complaint(cas("log", "--store", tmp_path / "nothing"), 3, "cas init")


def test_a_directory_that_is_something_else_is_not_made_a_store(cas, model):
    """`cas init` in a folder of files would bury them."""
    expect_complaint(cas("init", model), 7, "config.json")


def test_newer_format_version(cas, store):
    """Refused, and left alone."""
    from cas.format import StoreFormat

    path = store / "format.json"
    path.chmod(0o644)
    newer = StoreFormat("0" * 32, 1, version=2).encode()
    whole = path.read_bytes()
    path.write_bytes(newer)
    expect_complaint(cas("log"), 4, "version 2", "upgrade")
    assert path.read_bytes() == newer
    path.write_bytes(whole)


def test_unknown_mandatory_feature(cas, store):
    """A store that needs more than this version knows is not touched."""
    from cas.format import StoreFormat

    path = store / "format.json"
    path.chmod(0o644)
    whole = path.read_bytes()
    path.write_bytes(StoreFormat("0" * 32, 1, mandatory=("time-travel",)).encode())
    expect_complaint(cas("log"), 4, "time-travel", "upgrade")
    path.write_bytes(whole)


def test_truncated_pack(cas, store, model, health):
    """Pull says corrupt, and writes no wrong byte."""
    health.fsck_code = 5
    rev = cas("put", model).out.strip()
    (pack,) = [path for path in (store / "packs").rglob("*") if path.is_file()]
    os.truncate(pack, pack.stat().st_size // 2)
    result = cas("pull", rev, "out")
    expect_complaint(result, 5, pack.name)


def test_flipped_bit(cas, store, model, health):
    """The same for one bit of a chunk."""
    health.fsck_code = 5
    rev = cas("put", model).out.strip()
    (pack,) = [path for path in (store / "packs").rglob("*") if path.is_file()]
    data = bytearray(pack.read_bytes())
    data[200] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    expect_complaint(cas("pull", rev, "out"), 5, pack.name)
    assert not os.path.exists("out") or not any(files for _, _, files in os.walk("out") if "weights.npy" in files)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, really full when it is full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("cannot mount a tmpfs here: needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_while_writing(cas, small_disk, tmp_path):
    """The put fails and says why; what was there stays whole, and a smaller put still works."""
    url = small_disk / "store"
    cas("init", url)
    small, big = tmp_path / "small", tmp_path / "big"
    for folder, size in ((small, 1000), (big, 3 << 20)):
        folder.mkdir()
        (folder / "x").write_bytes(os.urandom(size))
    first = cas("put", small, "--store", url).out.strip()
    expect_complaint(cas("put", big, "--store", url), 8, "space")

    assert cas("fsck", "--read-data", "--store", url).code == 0
    assert cas("pull", first, tmp_path / "out", "--store", url).code == 0
    (small / "y").write_bytes(b"y")
    assert cas("put", small, "--store", url).code == 0


def test_full_disk_while_pulling(cas, store, small_disk, tmp_path):
    """No half-written file is left under its name."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "x").write_bytes(os.urandom(3 << 20))
    rev = cas("put", folder).out.strip()
    expect_complaint(cas("pull", rev, small_disk / "out"), 8, "space")
    assert not (small_disk / "out" / "x").exists()


def test_read_only_store(cas, store, model, tmp_path):
    """Reading works; writing says what is wrong."""
    rev = cas("put", model, "--ref", "main").out.strip()
    made = subprocess.run(["mount", "--bind", str(store), str(store)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("cannot bind-mount here: needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
        assert cas("pull", "main", tmp_path / "out").out.strip() == rev
        assert cas("log", "--json").json["commits"][0]["checkpoint"] == rev
        (model / "new").write_text("x")
        expect_complaint(cas("put", model), 8, "read-only")
    finally:
        subprocess.run(["umount", str(store)], check=True)


def test_a_name_that_is_not_utf8(cas, store, model):
    """Refused by name, escaped so that it can be printed."""
    with open(os.fsencode(str(model)) + b"/bad\xff", "w"):
        pass
    expect_complaint(cas("put", model), 4, "bad", "UTF-8")


@pytest.mark.parametrize("kind", ["symlink", "fifo", "socket"])
def test_what_is_no_file_is_refused_by_name(cas, store, model, kind):
    """Symlinks, pipes and sockets have no content to hash."""
    place = model / "odd"
    if kind == "symlink":
        place.symlink_to("config.json")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        import socket

        server = socket.socket(socket.AF_UNIX)
        os.chdir(model)
        server.bind("odd")
        server.close()
    expect_complaint(cas("put", model), 7, "odd")
    if kind == "symlink":
        assert cas("put", model, "--follow-symlinks").code == 0


def test_bad_options_are_usage_errors(cas, store, model):
    """Exit code 2, as every command line has it."""
    assert cas("put", model, "--metric", "loss").code == 2
    assert cas("put", model, "--metric", "loss=low").code == 2
    assert cas("cat", "main").code == 2
    assert cas("pull", "main").code == 2
    assert cas("nonsense").code == 2


def test_a_password_with_a_slash_is_not_remembered_and_not_shown(cas, store):
    """Every other AWS key has one; the store's file of remotes is no place for it."""
    refused = cas("remote", "add", "origin", "s3://AKIAX:wJal/K7M/bPx@bucket/p")
    expect_complaint(refused, 7, "s3://bucket/p")
    for url in ("s3://AKIAX:wJal/K7M/bPx@bucket/p", "https://ada:wJal/K7M/bPx@127.0.0.1:9/p"):
        told = cas("log", "--store", url)
        assert told.code != 0
        for secret in ("AKIAX", "ada", "wJal", "K7M", "bPx"):
            assert secret not in refused.err + told.err
    assert not (store / "remotes.json").exists()

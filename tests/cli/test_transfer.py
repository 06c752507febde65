"""push, pull, clone and remote on the command line: what they print, and what they refuse."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest


@pytest.fixture
def other(cas, tmp_path):
    """Another store, empty."""
    assert cas("init", tmp_path / "other").code == 0
    return tmp_path / "other"


def test_push_all_and_again(cas, store, model, other):
    """The shape of the figures; the second time they are zero."""
    rev = cas("put", model, "--ref", "main").out.strip()
    cas("put", model)
    first = cas("push", "--all", other, "--json").json
    assert first.keys() == {"refs", "moved_refs", "commits", "logical_bytes", "new_bytes", "moved_bytes"}
    assert (first["refs"], first["moved_refs"], first["commits"]) == (2, 2, 2)
    assert first["new_bytes"] < first["logical_bytes"]

    again = cas("--json", "push", other, "--all").json
    assert (again["moved_refs"], again["commits"], again["moved_bytes"]) == (0, 0, 0)
    assert cas("ls", rev, "--store", other).code == 0
    assert "2 of 2 moved" not in cas("push", "--all", other).out


def test_push_needs_one_or_all(cas, store, other):
    """Not both, not neither: a usage error."""
    for arguments in (["main", other, "--all"], [other], ["--all"], []):
        assert cas("push", *arguments).code == 2


def test_a_diverged_ref_is_named(cas, store, model, other, tmp_path):
    """With the conflict's exit code and the way out; --force moves it, both ways."""
    cas("put", model, "--ref", "main")
    cas("push", "main", other)
    cas("put", model, "--ref", "main", "-m", "ours")
    cas("put", model, "--ref", "main", "-m", "theirs", "--store", other)
    for arguments in (["push", "main", other], ["push", "--all", other], ["pull", "main", "--from", other]):
        refused = cas(*arguments)
        assert refused.code == 6
        assert "'main'" in refused.err
        assert "--force" in refused.err
        assert len(refused.err.strip().splitlines()) <= 2
        assert refused.out == ""
    assert cas("push", "--all", other, "--force").code == 0
    assert cas("log", "main", "--store", other, "--json").json == cas("log", "main", "--json").json
    assert cas("pull", "main", "--from", other).code == 0


def test_clone_and_origin(cas, store, model, tmp_path):
    """A whole store, which knows where it came from; cloning again goes on where it stopped."""
    rev = cas("put", model, "--ref", "main").out.strip()
    copy = tmp_path / "copy"
    cloned = cas("clone", store, copy, "--json").json
    assert cloned["url"] == str(copy)
    assert cloned["commits"] == 1
    assert cas("remote", "list", "--store", copy, "--json").json == {"remotes": [{"name": "origin", "url": str(store)}]}
    assert cas("clone", store, copy, "--json").json["moved_refs"] == 0

    newer = cas("put", model, "--ref", "main", "-m", "newer", "--json").json["commit"]
    assert cas("pull", "main", "--from", "origin", "--store", copy).out.strip() == rev
    assert cas("log", "main", "-n", "1", "--store", copy, "--json").json["commits"][0]["commit"] == newer
    assert cas("pull", rev, tmp_path / "out", "--from", "origin", "--store", copy).code == 0
    assert (tmp_path / "out" / "config.json").read_text() == (model / "config.json").read_text()


def test_clone_is_to_dot_cas(cas, store, model, tmp_path, monkeypatch):
    """Where nothing is said."""
    cas("put", model, "--ref", "main")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert cas("clone", store, "--json").json["url"] == str(tmp_path / "project" / ".cas")


def test_what_cannot_be_cloned(cas, store, model, tmp_path, other):
    """No store there: nothing is made here. Another origin: it stays."""
    assert cas("clone", tmp_path / "nothing", tmp_path / "new").code == 3
    assert not (tmp_path / "new").exists()
    cas("clone", store, tmp_path / "copy")
    refused = cas("clone", other, tmp_path / "copy")
    assert refused.code == 6
    assert "origin" in refused.err


def test_remotes(cas, store, other, model):
    """Added, listed, used, removed."""
    assert cas("remote", "list").out == ""
    assert cas("remote", "add", "backup", other, "--json").json == {"name": "backup", "url": str(other)}
    assert cas("remote", "list").out == f"backup  {other}\n"
    cas("put", model, "--ref", "main")
    assert cas("push", "main", "backup").code == 0
    assert cas("push", "--all", "backup").code == 0
    assert cas("remote", "add", "backup", "s3://elsewhere/x").code == 6
    refused = cas("remote", "add", "secret", "https://me:password@host/store")
    assert refused.code == 7
    assert "password@" not in refused.err
    assert cas("remote", "remove", "backup", "--json").json == {"name": "backup", "url": None}
    assert cas("remote", "remove", "backup").code == 3
    assert cas("push", "main", "backup").code == 3  # a folder of that name, where no store is


def test_a_pull_needs_no_store_of_its_own(cas, store, model, tmp_path, monkeypatch):
    """With DEST and --from, nothing is made or opened but the store that is named."""
    rev = cas("put", model).out.strip()
    monkeypatch.delenv("CAS_STORE")
    assert cas("pull", rev, tmp_path / "out", "--from", store).code == 0
    assert not (tmp_path / "home").exists()


def test_figures_for_people_go_to_stderr(cas, store, model, other):
    """What moved, how fast, and what was saved: with -v, or on a terminal."""
    cas("put", model, "--ref", "main")
    first = cas("push", "main", other, "-v")
    assert "moved" in first.err
    assert "saved 0 B that were there already" in first.err
    assert len(first.out.strip()) == 64
    assert cas("push", "main", other).err == ""
    assert "moved 0 B" in cas("push", "main", other, "-v").err


@pytest.mark.slow
def test_a_terminal_sees_bytes_rate_and_what_was_saved(cas, store, model, other):
    """On stderr; stdout has the hash alone all the same."""
    cas("put", model, "--ref", "main")
    terminal, side = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cas", "push", "main", str(other)], stdout=subprocess.PIPE, stderr=side, check=True
        )
        shown = os.read(terminal, 1 << 16).decode()
    finally:
        os.close(terminal)
        os.close(side)
    assert len(done.stdout.strip()) == 64
    for word in ("transfer", "moved", "there already", "/s"):
        assert word in shown

"""doctor finds out what a storage promises, and sweeps a store, and only a store."""

from __future__ import annotations

import os
import time

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cas.maintenance.doctor import examine
from cas.repository import BytesSource, Repository

DAY_S = 86_400


def found(url) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.ok, check.detail) for check in examine(str(url))}


@pytest.fixture
def leftovers(tmp_path):
    """A folder with unfinished files, of yesterday and of now, in it and below."""
    paths = []
    for inner in ("", "packs/ab"):
        folder = tmp_path / "folder" / inner
        folder.mkdir(parents=True, exist_ok=True)
        for name, age_s in ((".new-0123456789abcdef", DAY_S + 60), (".new-fedcba9876543210", DAY_S - 60)):
            paths.append(folder / name)
            paths[-1].write_bytes(b"half")
            os.utime(paths[-1], (time.time() - age_s,) * 2)
    return tmp_path / "folder", paths


def test_what_dead_writers_left_a_day_ago_is_swept(leftovers):
    """A younger file may be a live writer's."""
    url, paths = leftovers
    notes = paths[2].with_name(".new-notes")
    notes.write_text("mine")
    os.utime(notes, (0, 0))
    with Repository.open(str(url.parent / "other"), create=True) as repository:
        (url / "format.json").write_bytes(repository.storage.read("format.json"))

    assert found(url)["leftovers"] == (True, "2 unfinished files of dead writers, a day old or more, removed")
    assert [path.exists() for path in paths] == [False, True, False, True]
    assert notes.exists()
    assert found(url)["leftovers"] == (True, "none")


def test_a_folder_that_is_no_store_is_left_as_it_is(leftovers):
    """Whatever lies there, it is not cas's to remove."""
    url, paths = leftovers
    assert "leftovers" not in found(url)
    assert all(path.exists() for path in paths)
    assert sorted(path.name for path in url.iterdir()) == [paths[0].name, paths[1].name, "packs"]


def test_a_whole_store_passes(tmp_path):
    """Every check, and nothing is left behind."""
    url = tmp_path / "store"
    with Repository.init(str(url)) as repository:
        repository.put([BytesSource("a", b"x")], ref="main")
    before = sorted(path for path in url.rglob("*"))

    checks = found(url)
    assert all(ok for ok, _ in checks.values()), checks
    assert checks["exclusive create"] == (True, "one winner of every race")
    assert sorted(path for path in url.rglob("*")) == before


class UnknownFileSystem(MemoryFileSystem):
    protocol = "unknown"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("unknown://"))


def test_a_storage_that_promises_nothing_fails_though_it_wins_every_race(monkeypatch):
    """The check says what cas does there, not what luck the races had."""
    fsspec.register_implementation("unknown", UnknownFileSystem, clobber=True)
    monkeypatch.setattr(UnknownFileSystem, "store", {})
    ok, detail = found("unknown://a")["exclusive create"]
    assert not ok
    assert "names could be lost" in detail or "not promised" in detail


def test_a_server_that_nobody_can_reach_is_a_failed_check():
    """Also where the client connects as soon as it is made."""
    ok, detail = found("ftp://ada:hidden@127.0.0.1:9/store")["storage"]
    assert not ok
    assert "ftp://127.0.0.1:9" in detail
    assert "hidden" not in detail

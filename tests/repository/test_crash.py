"""Dying between any two calls leaves garbage, never a name that points at nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from cas.errors import NotFoundError, StorageError
from cas.format import StoreFormat
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.storage import Storage, open_storage
from cas.testing.faults import Crash, CrashAt, FailAt

OLD = {"weights": b"old" * 1000, "state": b"1"}
NEW = {"weights": b"new" * 1000, "state": b"2"}


def put(repository: Repository, files: dict[str, bytes]) -> str:
    sources = [BytesSource(path, data) for path, data in sorted(files.items())]
    return str(repository.put(sources, ref="main").checkpoint)


@contextmanager
def opened_on(storage: Storage) -> Iterator[Repository]:
    """A repository whose storage misbehaves from its first call on."""
    declared = StoreFormat.decode(Path(storage.local_path, "format.json").read_bytes(), "format.json")
    with Repository(storage, declared) as repository:
        yield repository


def read(repository: Repository) -> dict[str, bytes]:
    manifest = repository.reader.manifest(repository.resolve("main").checkpoint)
    return {entry.path: repository.reader.read_blob(manifest, entry) for entry in manifest.tree.files}


@pytest.mark.parametrize("lose_index", [pytest.param(False, marks=pytest.mark.slow), True])
def test_put_is_atomic_at_every_crash_point(lose_index, tmp_path):
    """Whichever write put dies on, before or after, the ref is old or new, fsck is clean and the next put works."""
    outcomes = []
    for step in count():
        url = tmp_path / str(step)
        with Repository.init(str(url)) as repository:
            put(repository, OLD)
        crashing = CrashAt(step, open_storage(str(url)))
        with suppress(Crash), opened_on(crashing) as broken:
            put(broken, NEW)
        if lose_index:
            for path in url.glob("index.sqlite*"):
                path.unlink()

        with Repository.open(str(url)) as repository:
            assert fsck(repository, read_data=True).problems == []
            found = read(repository)
            assert found in (OLD, NEW)
            outcomes.append(found == NEW)
            put(repository, NEW)
            assert read(repository) == NEW
            assert fsck(repository, read_data=True).problems == []
        if not crashing.crashed:
            break
    # Before and after each of lease, pack, manifest, commit, ref and the lease's end; new from the ref on.
    assert len(outcomes) == 13
    assert outcomes == [False] * 9 + [True] * 4


def test_a_failure_at_any_call_loses_nothing(tmp_path):
    """Disk full, permission gone: the caller learns of it, the old checkpoint stands, the next put works."""
    for step in count():
        url = str(tmp_path / str(step))
        with Repository.init(url) as repository:
            put(repository, OLD)
        failing = FailAt(step, open_storage(url), StorageError("no space left on device"))
        with suppress(StorageError), opened_on(failing) as broken:
            put(broken, NEW)

        with Repository.open(url) as repository:
            assert fsck(repository, read_data=True).problems == []
            assert read(repository) in (OLD, NEW)
            put(repository, NEW)
            assert read(repository) == NEW
        if not failing.failed:
            break
    assert step > 10


def test_a_name_never_points_at_nothing(tmp_path):
    """Until the ref is written, the commit and its content are not to be found by name."""
    with Repository.init(str(tmp_path / "store")) as repository:
        stored = repository.store_tree([BytesSource("a", b"1")])
        with pytest.raises(NotFoundError):
            repository.resolve("main")
        repository.commit(stored.tree.hash, ref="main")
        assert repository.resolve("main").checkpoint == stored.tree.hash

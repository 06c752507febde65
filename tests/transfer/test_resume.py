"""A transfer that was cut short goes on: what arrived is not sent again."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import count

import numpy as np
import pytest

from cas.errors import StorageError
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.storage import open_storage
from cas.testing.faults import CountingStorage, Crash, CrashAt, FailAt
from cas.transfer import mirror, transfer

PACK_BYTES = 1 << 20
OVERHEAD_BYTES = 64 << 10  # headers, tables of contents, manifest, commit, ref
CHUNK_BYTES = 64 << 10
NOISE = np.random.default_rng(0).bytes(8 * PACK_BYTES)
FILES = [
    BytesSource(f"{start:08}", NOISE[start : start + CHUNK_BYTES]) for start in range(0, len(NOISE), CHUNK_BYTES)
]  # one chunk each, as small files are


@pytest.fixture(autouse=True)
def small_packs(monkeypatch):
    """Eight packs where there would be one."""
    monkeypatch.setattr("cas.repository.packer.PACK_BYTES", PACK_BYTES)


@contextmanager
def on(storage, declared):
    with Repository(storage, declared) as repository:
        yield repository


def packs_of(repository) -> int:
    return len(list(repository.storage.list("packs/")))


@pytest.mark.parametrize(
    "arrived", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(6, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", [FailAt, CrashAt])
def test_what_arrived_is_not_sent_again(two, arrived, kind):
    """After k durable packs the target fails, or this process dies: the next run moves the rest, and no more."""
    here, there = two
    result = here.put(FILES, ref="main")
    url, declared = there.url, there.declared
    if kind is FailAt:
        failing = FailAt(arrived, open_storage(url), StorageError("gone"), methods=["create"])
    else:
        failing = CrashAt(2 + 2 * arrived, open_storage(url))  # a write is two steps; the first is the lease
    with suppress(Crash, StorageError), on(failing, declared) as broken:
        transfer(here, broken, here.resolve("main"))
    durable = packs_of(there)
    assert arrived <= durable < packs_of(here)
    assert there.refs.find("main") is None

    source, target = CountingStorage(open_storage(here.url)), CountingStorage(open_storage(url))
    with on(source, here.declared) as counted, on(target, declared) as again:
        moved = transfer(counted, again, counted.resolve("main"))
    left_bytes = len(NOISE) - durable * (PACK_BYTES - CHUNK_BYTES)
    assert 0 < moved.moved_bytes <= left_bytes
    assert target.bytes["create"] < left_bytes + OVERHEAD_BYTES
    assert source.bytes["read_range"] < left_bytes + OVERHEAD_BYTES
    assert fsck(there, read_data=True).problems == []
    assert there.resolve("main").checkpoint == result.checkpoint


def test_a_source_that_fails_leaves_what_it_gave(two):
    """The pack that was being filled is kept as well."""
    here, there = two
    here.put(FILES, ref="main")
    failing = FailAt(5, open_storage(here.url), StorageError("gone"), methods=["read_range"])
    with on(failing, here.declared) as broken, pytest.raises(StorageError, match="gone"):
        transfer(broken, there, here.resolve("main"))
    given_bytes = sum(info.size_bytes for info in there.storage.list("packs/"))

    assert given_bytes > 4.5 * PACK_BYTES
    moved = transfer(here, there, here.resolve("main"))
    assert moved.moved_bytes <= len(NOISE) - given_bytes + OVERHEAD_BYTES


def test_time_flushes_a_pack_on_a_slow_line(two, monkeypatch):
    """However slowly bytes come, what is older than `FLUSH_S` is durable: here every chunk is."""
    here, there = two
    monkeypatch.setattr("cas.transfer.content.FLUSH_S", 0.0)
    monkeypatch.setattr("cas.repository.packer.PACK_BYTES", 1 << 30)
    result = here.put(FILES, ref="main")
    transfer(here, there, here.resolve("main"))

    manifest = here.reader.manifest(result.checkpoint)
    assert packs_of(there) == len(manifest.locations)
    assert packs_of(here) == 1


@pytest.mark.slow
def test_a_mirror_that_dies_anywhere_can_be_run_again(two):
    """Before or after any write: no ref points at nothing, and the next run finishes."""
    here, there = two
    for step in range(2):
        here.put([BytesSource("a", NOISE[: 1 << 18]), BytesSource("b", str(step).encode())], ref="main")
    here.put([BytesSource("c", b"nobody named this")])
    wanted = dict(here.live_refs(detached=True))
    for step in count():
        url = f"{there.url}-{step}"
        with Repository.init(url) as target:
            declared = target.declared
        crashing = CrashAt(step, open_storage(url))
        with suppress(Crash), on(crashing, declared) as broken:
            mirror(here, broken)
        with Repository.open(url) as target:
            assert fsck(target, read_data=True).problems == []
            mirror(here, target)
            assert dict(target.live_refs(detached=True)) == wanted
            assert fsck(target, read_data=True).problems == []
        if not crashing.crashed:
            break
    assert step > 16

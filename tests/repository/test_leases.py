"""Leases: opened in the generation they record, renewed, and given up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import pytest

from cas.codecs import CodecId
from cas.errors import ConflictError, StorageError
from cas.format import Digest, Lease, PackEntry
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.repository.leases import LEASE_S, HeldLease, current_generation
from cas.repository.reader import Reader
from cas.repository.writer import Writer
from cas.storage import open_storage
from cas.testing.faults import CountingStorage, FailAt


def leases(storage) -> list[Lease]:
    return [Lease.decode(storage.read(info.key), info.key) for info in storage.list("leases/")]


def test_a_lease_stands_while_a_session_writes_and_no_longer(tmp_path):
    """Opened with the first put, there until the repository is closed."""
    with Repository.init(str(tmp_path / "store")) as repository:
        assert leases(repository.storage) == []
        repository.put([BytesSource("a", b"1")])
        repository.put([BytesSource("a", b"2")])
        (lease,) = leases(repository.storage)
        assert 0 < lease.expires_us - repository.storage.now_us() <= LEASE_S * 1_000_000
    with Repository.open(str(tmp_path / "store")) as repository:
        assert leases(repository.storage) == []


def test_a_lease_records_the_generation_it_was_opened_in():
    """The highest number under generations/."""
    storage = open_storage("memory://lease-generation")
    assert current_generation(storage) == 0
    storage.create("generations/0000000000000007", [b"gc's"])
    held = HeldLease(storage)
    assert held.generation == 7
    assert [lease.generation for lease in leases(storage)] == [7]
    held.release()
    assert leases(storage) == []


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def writer(repository, clock):
    """A writer whose lease goes by the test's clock."""
    opened = Writer(repository.storage, repository.index, repository.reader, HeldLease(repository.storage, clock))
    yield opened
    opened.close()


def advance_generation(storage) -> None:
    """What gc does to say that it has condemned something."""
    storage.create(f"generations/{current_generation(storage) + 1:016d}", [b"gc's"])


def test_a_lease_in_use_is_written_again_when_half_of_it_has_gone(clock):
    """Not before, and under the same name."""
    storage = CountingStorage(open_storage("memory://lease-renewed"))
    held = HeldLease(storage, clock)
    (first,) = leases(storage)
    for step in range(1, 9):
        clock.now_s += LEASE_S * 0.3
        assert not held.renew()
        assert not held.lapsed()
        assert storage.calls["replace"] == 1 + step // 2
    (last,) = leases(storage)
    assert (last.id, last.generation) == (first.id, first.generation)


def test_work_that_takes_longer_than_a_lease_keeps_it(writer, clock, repository):
    """Every pack that is written makes it stand longer; a lease that lapsed is not brought back to life."""
    (first,) = leases(repository.storage)
    for number in range(5):
        clock.now_s += LEASE_S * 0.6
        data = bytes([number])
        writer.add_encoded(PackEntry(Digest.of(data), 4096, 1, 1, CodecId.RAW), data)
        writer.finish_packs()
    writer.put([BytesSource("a", b"a")])
    assert [lease.id for lease in leases(repository.storage)] == [first.id]
    clock.now_s += LEASE_S * 1.1
    before = leases(repository.storage)
    writer.add_encoded(PackEntry(Digest.of(b"late"), 4096, 4, 4, CodecId.RAW), b"late")
    writer.finish_packs()
    assert leases(repository.storage) == before


@pytest.mark.parametrize(("passed", "gc_ran"), [(1.1, True), (1.1, False), (0.95, True), (0.6, True)])
def test_what_lapsed_or_is_outdated_is_replaced(clock, passed, gc_ran):
    """By a lease of its own, of the generation of now: gc may have taken the writer for dead."""
    storage = open_storage(f"memory://lease-lapsed-{passed}-{gc_ran}")
    held = HeldLease(storage, clock)
    (before,) = leases(storage)
    if gc_ran:
        advance_generation(storage)
    clock.now_s += LEASE_S * passed
    assert held.renew()
    (after,) = leases(storage)
    assert after.id != before.id
    assert held.generation == after.generation == current_generation(storage)
    assert not held.lapsed()


@pytest.mark.parametrize("known", [False, True])
def test_a_session_that_slept_through_gc_reuses_nothing_of_before(writer, clock, repository, known):
    """Whether or not its content must be read: what an idle session has put and gc collected is stored again."""
    data = b"x" * 1000
    source = BytesSource("a", data, known_blob=Digest.of(data) if known else None)
    first = writer.put([source])
    assert repository.reader.manifest(first.tree.hash).tree == first.tree
    clock.now_s += 2 * LEASE_S
    advance_generation(repository.storage)
    for kind in ("manifests", "packs"):  # no ref leads there
        for info in list(repository.storage.list(f"{kind}/")):
            repository.storage.delete(info.key)

    again = writer.put([source])
    assert (again.tree, again.new_bytes) == (first.tree, 1000)
    assert fsck(repository, read_data=True).problems == []
    assert Reader(repository.storage).manifest(again.tree.hash).tree == first.tree


@dataclass
class Slow:
    """A small file whose reading takes as long as the test says, while other things happen."""

    meanwhile: Callable[[], None]
    path, executable, known_blob, size_bytes = "slow", False, None, 1

    def open(self):
        return nullcontext(lambda offset, size: b"s"[offset : offset + size])

    def settle(self, blob):
        self.meanwhile()


@pytest.mark.parametrize(
    ("condemned", "deleted", "refused"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_what_was_found_before_a_lease_lapsed_is_looked_at_again(
    writer, clock, repository, condemned, deleted, refused
):
    """Better a refused put than a manifest that names what gc deletes; if nothing happened to it, it is kept."""
    data = b"x" * 1000
    writer.put([BytesSource("a", data)])
    (pack,) = [info.key for info in repository.storage.list("packs/")]

    def sleep() -> None:
        clock.now_s += 2 * LEASE_S
        if condemned:
            advance_generation(repository.storage)
        if deleted:
            repository.storage.delete(pack)

    sources = [BytesSource("b", data, known_blob=Digest.of(data)), Slow(sleep)]
    if refused:
        with pytest.raises(ConflictError, match=r"collected.*put again"):
            writer.put(sources)
        assert len(list(repository.storage.list("manifests/"))) == 1
        if condemned:
            assert writer.put([BytesSource("b", data)]).new_bytes == 1000
    else:
        assert writer.put(sources).new_bytes == 1


def test_a_put_is_not_failed_by_a_lease_that_cannot_be_deleted(tmp_path):
    """All that was put is durable by then; the lease expires by itself."""
    url = str(tmp_path / "store")
    with Repository.init(url) as made:
        declared = made.declared
    failing = FailAt(0, open_storage(url), StorageError("gone"), methods=["delete"])
    with Repository(failing, declared) as repository:
        put = repository.put([BytesSource("a", b"1")], ref="main")
    assert failing.failed
    with Repository.open(url) as repository:
        assert repository.resolve("main").checkpoint == put.checkpoint

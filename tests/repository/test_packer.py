"""The packer: what a put that failed has left behind does not trouble the next one."""

from __future__ import annotations

import pytest

from cas.errors import ConflictError, StorageError
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.repository.keys import digest_of
from cas.repository.rebuild import read_toc
from cas.storage import open_storage
from cas.testing.faults import FailAt

BIG = bytes(range(256)) * 16


class Unsteady(BytesSource):
    """A file that never stays as it was."""

    def settle(self, blob):
        raise ConflictError(f"{self.path} changed while it was read")


@pytest.fixture
def one_by_one(monkeypatch):
    """Every chunk is looked up, encoded and packed before the next is read."""
    monkeypatch.setattr("cas.repository.writer._BATCH_CHUNKS", 1)
    monkeypatch.setattr("cas.repository.writer._IN_FLIGHT_BYTES", 0)


def test_a_pack_that_failed_with_a_put_fails_no_other(tmp_path, monkeypatch, one_by_one):
    """The disk was full and the caller's file changed, both: when there is room again, the session goes on."""
    monkeypatch.setattr("cas.repository.packer.PACK_BYTES", 1)
    url = str(tmp_path / "store")
    with Repository.init(url) as made:
        declared = made.declared
    failing = FailAt(0, open_storage(url), StorageError("no space left"), methods=["create"])
    with Repository(failing, declared) as repository:
        with pytest.raises((ConflictError, StorageError)):
            repository.put([BytesSource("a", BIG), Unsteady("b", b"b")])
        assert failing.failed
        put = repository.put([BytesSource("a", BIG)], ref="main")
        assert put.new_bytes == len(BIG)
        assert fsck(repository, read_data=True).problems == []


def test_chunks_of_a_put_that_failed_are_not_in_the_next_ones_packs(repository, one_by_one):
    """Its pack is forgotten with it."""
    with pytest.raises(ConflictError, match="b changed"):
        repository.put([BytesSource("a", BIG), Unsteady("b", b"b")])
    put = repository.put([BytesSource("c", b"c")])
    (pack,) = repository.storage.list("packs/")
    _, entries = read_toc(repository.storage, digest_of(pack.key))
    assert [entry.raw_bytes for entry in entries] == [1]
    assert put.stored_bytes == pack.size_bytes
    assert list(repository.storage.list("packs/")) == [pack]

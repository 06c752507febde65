"""Leases: opened in the generation they record, renewed, and given up."""

from __future__ import annotations

import pytest

from cas.errors import ConflictError
from cas.format import Lease
from cas.repository import BytesSource, Repository
from cas.repository.leases import LEASE_S, HeldLease, current_generation
from cas.storage import open_storage


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


def test_a_pack_that_went_while_the_lease_was_lapsed_is_noticed(tmp_path, monkeypatch):
    """Better a refused put than a manifest that names what gc has deleted."""
    with Repository.init(str(tmp_path / "store")) as repository:
        repository.put([BytesSource("a", b"x" * 1000)])
        (pack,) = [info.key for info in repository.storage.list("packs/")]
        monkeypatch.setattr(HeldLease, "lapsed", lambda self: True)
        assert repository.put([BytesSource("b", b"x" * 1000)]).new_bytes == 0
        repository.storage.delete(pack)
        with pytest.raises(ConflictError, match="collected"):
            repository.put([BytesSource("c", b"x" * 1000)])
        assert len(list(repository.storage.list("manifests/"))) == 2

"""Objects in memory: which opens share them."""

from __future__ import annotations

import gc

import pytest

from cas.errors import NotFoundError
from cas.storage import MemoryStorage, open_storage


def test_one_url_names_the_same_objects_everywhere():
    """Two opens of one name see each other's objects, also after both were closed and forgotten."""
    first, second = open_storage("memory://test/shared"), open_storage("memory://test/shared")
    first.create("k", [b"x"])
    assert second.read("k") == b"x"
    first.close()
    del first, second
    gc.collect()

    again = open_storage("memory://test/shared/")
    assert again.read("k") == b"x"
    assert again.url == "memory://test/shared"
    again.delete("k")


def test_two_names_share_nothing():
    """Neither do two private storages, nor a private one and the one without a name."""
    storages = [MemoryStorage("test a"), MemoryStorage("test b"), MemoryStorage(""), MemoryStorage(), MemoryStorage()]
    for number, storage in enumerate(storages):
        storage.create("k", [b"%d" % number])

    assert [storage.read("k") for storage in storages] == [b"0", b"1", b"2", b"3", b"4"]
    assert len({storage.url for storage in storages}) == 5
    for storage in storages:
        storage.delete("k")


def test_private_objects_live_as_long_as_a_storage_holds_them():
    """Their URL finds them while they are alive, and nothing of them stays when they are not."""
    storage = MemoryStorage()
    url = storage.url
    storage.create("k", [b"x"])
    assert open_storage(url).read("k") == b"x"
    del storage
    gc.collect()

    other = MemoryStorage(None)
    assert other.url != url
    with pytest.raises(NotFoundError):
        other.read("k")

"""Every backend keeps every promise of the storage protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cas.storage import LocalStorage, MemoryStorage, RetryingStorage, Storage, open_storage
from cas.testing.faults import PassingStorage
from cas.testing.storage_conformance import StorageConformance


class TestLocal(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path) -> LocalStorage:
        return LocalStorage(tmp_path / "not" / "yet" / "there")


class TestMemory(StorageConformance):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()


class TestRetrying(StorageConformance):
    @pytest.fixture
    def storage(self) -> RetryingStorage:
        return RetryingStorage(MemoryStorage())


class TestPassing(StorageConformance):
    """The test kit's own wrappers are storages, too."""

    @pytest.fixture
    def storage(self) -> PassingStorage:
        return PassingStorage(MemoryStorage())


class ElsewhereFileSystem(MemoryFileSystem):
    """fsspec's file system in memory, under a protocol that cas knows nothing about."""

    protocol = "elsewhere"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("elsewhere://"))


class TestFsspec(StorageConformance):
    """Over a file system that has no exclusive create to rely on."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        fsspec.register_implementation("elsewhere", ElsewhereFileSystem, clobber=True)
        yield open_storage("elsewhere://a/store")
        ElsewhereFileSystem.store.clear()


@pytest.mark.server
class TestS3(StorageConformance):
    """Over a real server by s3fs, as a user opens it."""

    rounds = 5
    threads = 6

    @pytest.fixture
    def storage(self, s3: Storage) -> Storage:
        return s3

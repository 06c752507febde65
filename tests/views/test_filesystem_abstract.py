"""fsspec's own tests of a file system, as far as one that cannot be written to can take them.

They make their files with the file system under test, so here the file system is one that collects what is
written and stores it as a checkpoint before the first read. Only ``get`` and listing are left to test then:
the tests of put, copy, pipe and of opening to write say nothing about reading.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

import cas
from cas.views.filesystem import CasFileSystem

pytestmark = pytest.mark.slow


class Draft(CasFileSystem):
    """A `CasFileSystem` whose ref ``draft`` can be written to, for tests to make their files."""

    protocol = "cas"
    cachable = False

    def __init__(self, store: str, folder: str) -> None:
        super().__init__(store)
        self._folder = Path(folder)
        self._local_fs = LocalFileSystem(auto_mkdir=True)
        self._stale = True

    def _real(self, path: str) -> str:
        return str(self._folder / self._strip_protocol(str(path)).removeprefix("draft").strip("/"))

    def _repository(self):
        if self._stale:
            self._stale = False
            with cas.open(self._store) as store:
                store.put(self._folder, ref="draft")
        return super()._repository()

    def touch(self, path: str, truncate: bool = True, **options: object) -> None:
        self._local_fs.touch(self._real(path))
        self._stale = True

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self._local_fs.makedirs(self._real(path), exist_ok=exist_ok)
        self._stale = True

    mkdir = makedirs

    def pipe(self, path: str, value: bytes) -> None:
        self._local_fs.pipe(self._real(path), value)
        self._stale = True

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        shutil.rmtree(self._real(path))
        self._stale = True


class Fixtures(AbstractFixtures):
    """Where fsspec's tests find the file system."""

    @pytest.fixture
    def fs(self, tmp_path):
        with cas.open(tmp_path / "store", create=True):
            pass
        (tmp_path / "draft").mkdir()
        return Draft(store=str(tmp_path / "store"), folder=str(tmp_path / "draft"))

    @pytest.fixture
    def fs_path(self):
        return "draft"

    @pytest.fixture
    def local_path(self, tmp_path):
        (tmp_path / "local").mkdir()
        return str(tmp_path / "local")


class TestGet(Fixtures, AbstractGetTests):
    """Every test of ``get``, which are also those of find, glob and walk."""

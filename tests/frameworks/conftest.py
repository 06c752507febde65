"""Every test of a framework has a store of its own."""

from __future__ import annotations

import pytest

import cas


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    url = tmp_path / "store"
    cas.Store.init(url).close()
    monkeypatch.setenv("CAS_STORE", str(url))
    return url

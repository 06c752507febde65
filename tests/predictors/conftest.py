from __future__ import annotations

import pytest

import cas


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A store of its own for every test."""
    url = tmp_path / "store"
    cas.Store.init(url).close()
    monkeypatch.setenv("CAS_STORE", str(url))
    return url

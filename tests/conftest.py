"""Every test has a home, a cache and a working directory of its own, and no CAS_* of the caller's."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("CAS_") and name != "CAS_KERNELS"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for kind in ("cache", "config", "data", "state"):
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(home / kind))
    monkeypatch.chdir(home)

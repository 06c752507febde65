from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def cas(capfd, monkeypatch):
    """Run the command line in this process: ``cas("put", path)`` gives code, out, err and parsed json."""

    def run(*arguments):
        from cas.cli import main

        monkeypatch.setattr(sys, "argv", ["cas", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        parsed = json.loads(out) if "--json" in arguments and out else None
        return SimpleNamespace(code=stop.value.code, out=out, err=err, json=parsed)

    return run


@pytest.fixture
def model(tmp_path):
    """A small checkpoint directory."""
    folder = tmp_path / "model"
    (folder / "logs").mkdir(parents=True)
    np.save(folder / "weights.npy", np.random.default_rng(0).normal(size=(300, 100)).astype("f4"))
    (folder / "config.json").write_text('{"layers": 2}\n')
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def store(cas, tmp_path, monkeypatch):
    url = tmp_path / "store"
    assert cas("init", url).code == 0
    monkeypatch.setenv("CAS_STORE", str(url))
    return url

"""A checkpoint as a dict, a directory, bytes, and a dict again: one hash all the way."""

import tempfile
from pathlib import Path

import numpy as np

import cas
from cas import Checkpoint

with tempfile.TemporaryDirectory() as folder, cas.open(f"{folder}/store", create=True) as store:
    data = {"weights": np.arange(6.0).reshape(2, 3), "epoch": 3, "classes": ("cat", "dog")}
    from_dict = Checkpoint.from_dict(data, store=store.url)
    path = from_dict.to_directory(f"{folder}/model")
    print(sorted(file.name for file in Path(path).iterdir()))

    from_directory = Checkpoint.from_directory(path, store=store.url)
    from_bytes = Checkpoint.from_bytes(from_directory.to_bytes(), store=store.url)
    found = from_bytes.to_dict()
    assert np.array_equal(found["weights"], data["weights"])
    assert found["classes"] == ("cat", "dog")
    assert from_dict.hash == from_directory.hash == from_bytes.hash
    print(from_dict.hash)

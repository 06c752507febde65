"""Files and tensors of a Checkpoint, wherever its content is: in memory, in a directory, in a store."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cas
from cas.checkpoint import Checkpoint
from cas.errors import NotFoundError

DATA = {
    "model": {"weights": np.arange(12, dtype="f4").reshape(3, 4), "bias": np.ones(3)},
    "steps": [np.zeros(0, "i8"), np.arange(5, dtype="u1")],
    "epoch": 3,
}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    url = tmp_path / "store"
    cas.Store.init(url).close()
    monkeypatch.setenv("CAS_STORE", str(url))
    return url


@pytest.fixture(params=["memory", "directory", "store"])
def checkpoint(request, tmp_path):
    made = Checkpoint.from_dict(DATA)
    if request.param == "directory":
        return Checkpoint.from_directory(made.to_directory(tmp_path / "model"))
    return made if request.param == "memory" else Checkpoint.from_hash(made.hash)


def test_tensors_of_a_dict_are_named_by_their_keys(checkpoint):
    """All of them, and nothing that is no array."""
    found = checkpoint.tensors()
    assert found.keys() == {"model.weights", "model.bias", "steps.0", "steps.1"}
    assert np.array_equal(found["model.weights"].numpy(), DATA["model"]["weights"])
    assert (found["steps.0"].dtype, found["steps.0"].shape, found["steps.0"].nbytes) == ("I64", (0,), 0)
    assert checkpoint.tensors("tensors.safetensors").keys() == found.keys()
    assert checkpoint.tensors("cas-dict.msgpack") == {}


def test_tensors_of_a_dict_have_its_dtypes():
    """Also those that no safetensors file declares; dates and the like stay what the file holds."""
    data = {
        "c": np.array([[1 + 2j, 3j]], "c8"), "z": torch.tensor([1j], dtype=torch.complex128),
        "f": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fnuz), "d": np.array(["2026-11-23"], "M8[D]"),
        "none": np.zeros((2, 0), "c16"),
    }  # fmt: skip
    found = Checkpoint.from_hash(Checkpoint.from_dict(data).hash).tensors()
    described = {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}
    assert described == {
        "c": ("C64", (1, 2)), "z": ("C128", (1,)), "f": ("F8_E4M3FNUZ", (2,)), "d": ("I64", (1,)),
        "none": ("C128", (2, 0)),
    }  # fmt: skip
    assert np.array_equal(found["c"].numpy(), data["c"])
    assert torch.equal(found["z"].torch(), data["z"])
    assert found["f"].bytes() == data["f"].view(torch.uint8).numpy().tobytes()


def test_files_open_wherever_they_are(checkpoint, tmp_path):
    """With the same bytes."""
    copy = checkpoint.to_directory(tmp_path / "copy")
    with checkpoint.open("tensors.safetensors") as file, open(f"{copy}/tensors.safetensors", "rb") as expected:
        file.seek(20)
        expected.seek(20)
        assert file.read() == expected.read()


def test_what_is_not_there_is_named(checkpoint):
    """With what is."""
    for use in (checkpoint.open, checkpoint.tensors):
        with pytest.raises(NotFoundError, match=r"model\.bin.*tensors\.safetensors"):
            use("model.bin")


def test_tensors_and_files_outlive_their_checkpoint():
    """The store stays open for as long as one of them is held."""
    checkpoint = Checkpoint.from_hash(Checkpoint.from_dict(DATA).hash)
    tensor, file = checkpoint.tensors()["model.bias"], checkpoint.open("tensors.safetensors")
    del checkpoint
    assert np.array_equal(tensor.numpy(), np.ones(3))
    with file:
        assert len(file.read()) == file.size


def test_views_follow_the_content_into_the_store(tmp_path):
    """From the moment the hash is known, an edit of the directory does not reach them."""
    folder = tmp_path / "model"
    folder.mkdir()
    np.save(folder / "w.npy", np.arange(3))
    checkpoint = Checkpoint.from_directory(folder)
    assert np.array_equal(checkpoint.tensors()["w"].numpy(), np.arange(3))
    np.save(folder / "w.npy", np.arange(4))
    assert np.array_equal(checkpoint.tensors()["w"].numpy(), np.arange(4))
    assert checkpoint.hash
    np.save(folder / "w.npy", np.arange(5))
    assert np.array_equal(checkpoint.tensors()["w"].numpy(), np.arange(4))

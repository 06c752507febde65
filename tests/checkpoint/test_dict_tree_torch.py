"""torch tensors in dict trees: recognised without importing torch, and back as what they were."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cas.checkpoint.dict_tree import SKELETON_PATH, TENSORS_PATH, decode_dict, encode_dict
from cas.errors import CasError, RefusedError

pytestmark = pytest.mark.slow  # importing torch takes two seconds

_TYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.uint32,
    torch.int32,
    torch.uint64,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
]


def _files(data: dict[Any, Any]) -> dict[str, bytes]:
    return {path: b"".join(parts) for path, parts in encode_dict(data).items()}


def _round_trip(value: Any) -> Any:
    files = _files({"value": value})
    return decode_dict(files.__getitem__, files)["value"]


def _bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


@pytest.mark.parametrize("dtype", _TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3, 2), (0, 2)])
def test_every_dtype_comes_back_as_a_tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """The same dtype, shape and bits; fresh, on the CPU."""
    tensor = torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=torch.float32).to(dtype)
    tensor = tensor[0, 0] if shape == () else tensor[: shape[0]]

    found = _round_trip(tensor)

    assert type(found) is torch.Tensor
    assert (found.dtype, found.shape, found.device.type) == (dtype, tensor.shape, "cpu")
    assert _bits(found) == _bits(tensor)


def test_a_training_state_comes_back_and_trains_on() -> None:
    """A model's and an optimizer's state_dict, with their order, layer versions and integer keys."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    data = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}

    files = _files(data)
    found = decode_dict(files.__getitem__, files)

    assert _files(found) == files
    assert type(found["model"]) is OrderedDict
    assert list(found["model"]) == list(data["model"])
    assert found["model"]._metadata == data["model"]._metadata
    assert all(torch.equal(found["model"][name], tensor) for name, tensor in data["model"].items())
    torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)).load_state_dict(
        found["model"], strict=True
    )
    optimizer.load_state_dict(found["optimizer"])
    assert "model.0.weight" in safetensors.torch.load(files[TENSORS_PATH])
    assert "optimizer.state.0.exp_avg" in safetensors.torch.load(files[TENSORS_PATH])


def test_tensors_have_the_pinned_files() -> None:
    """Case "torch" of tests/vectors/dict_tree.json."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "dict_tree.json").read_text())
    data = {
        "w": torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16),
        "steps": (torch.tensor(7), torch.zeros(0, dtype=torch.complex64)),
        "scale": torch.tensor([0.5], dtype=torch.float8_e5m2),
    }

    files = _files(data)

    assert {path: content.hex() for path, content in files.items()} == vectors["cases"]["torch"]
    assert _files(decode_dict(files.__getitem__, files)) == files


def test_views_conjugates_and_parameters_are_their_values() -> None:
    """How a tensor lies in memory and what torch attaches to it is not part of it."""
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    values = torch.tensor([1 + 2j, 3 - 4j])

    assert torch.equal(_round_trip(base.t()[::2]), base.t()[::2])
    assert torch.equal(_round_trip(values.conj()), values.conj().resolve_conj())
    assert torch.equal(_round_trip(values.conj().imag), torch.tensor([-2.0, 4.0]))
    found = _round_trip(torch.nn.Parameter(base))
    assert type(found) is torch.Tensor
    assert not found.requires_grad
    assert _files({"value": base}) == _files({"value": torch.nn.Parameter(base)})


def test_what_comes_back_can_be_changed() -> None:
    """A tensor has memory of its own: writing to it never reaches the files, nor another tensor."""
    files = _files({"w": torch.zeros(4)})
    before = dict(files)

    found, other = (decode_dict(files.__getitem__, files)["w"] for _ in range(2))
    found += 1

    assert files == before
    assert other.tolist() == [0, 0, 0, 0]


def test_a_default_device_does_not_take_the_tensors_along() -> None:
    """Checkpoints are read on the CPU, wherever new tensors go by default."""
    files = _files({"w": torch.ones(2)})

    with torch.device("meta"):
        found = decode_dict(files.__getitem__, files)["w"]

    assert found.tolist() == [1, 1]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, device="meta"),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        lambda: torch.zeros(2).as_subclass(type("Mine", (torch.Tensor,), {})),
        lambda: torch.float32,
        lambda: torch.Size([1]),
    ],
    ids=["meta", "sparse", "quantized", "subclass", "dtype", "size"],
)
def test_what_is_more_than_its_items_is_an_object(make: Any) -> None:
    """It needs permission for pickle; nothing is silently flattened."""
    with pytest.raises(RefusedError, match="'value' is a "):
        encode_dict({"value": make()}, allow_pickle=False)


def test_numpy_and_torch_stay_apart_in_one_file() -> None:
    """Equal items under different names come back as what they were."""
    data = {"torch": torch.ones(2), "numpy": torch.ones(2).numpy()}

    files = _files(data)
    found = decode_dict(files.__getitem__, files)

    assert [type(found[name]) for name in data] == [type(data[name]) for name in data]
    assert sorted(safetensors.torch.load(files[TENSORS_PATH])) == ["numpy", "torch"]


def test_a_file_that_safetensors_wrote_again_is_the_same_file() -> None:
    """Also for the types that NumPy has not."""
    known = [dtype for dtype in _TYPES if not dtype.is_complex and "fnu" not in str(dtype)]
    files = _files({str(dtype): torch.zeros(3, dtype=dtype) for dtype in known})

    assert safetensors.torch.save(safetensors.torch.load(files[TENSORS_PATH])) == files[TENSORS_PATH]


def test_without_torch_a_tensor_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding NumPy never imports torch; decoding a tensor without it names the tensor and the extra."""
    files = _files({"model": {"w": torch.zeros(2)}})
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(CasError, match=r"'model\.w' is a torch tensor and .*`pip install cas\[torch\]`"):
        decode_dict(files.__getitem__, files)


def test_torch_is_not_imported_unless_a_tensor_is_decoded() -> None:
    """Not by the module, nor by encoding and decoding arrays."""
    program = f"""
import sys, numpy as np
from cas.checkpoint.dict_tree import decode_dict, encode_dict
files = {{path: b"".join(parts) for path, parts in encode_dict({{"w": np.ones(2), "x": {{1}}}}).items()}}
decode_dict(files.__getitem__, files)
assert {SKELETON_PATH!r} in files
sys.exit("torch" in sys.modules or "ml_dtypes" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""Chunks across formats: what torch.save and safetensors write of the same tensors."""

from __future__ import annotations

import io

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def saved(torch, value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_torch_and_safetensors_share_the_chunks_of_big_tensors(torch, cut, random_bytes):
    """A checkpoint converted from one to the other is stored once, but for headers and small tensors."""
    safetensors_torch = pytest.importorskip("safetensors.torch")
    sizes = {"embedding": 9 << 20, "a.weight": 1 << 20, "a.bias": 4096, "b.weight": 64 << 10, "b.bias": 4096}
    tensors = {
        name: torch.frombuffer(bytearray(random_bytes(name, size)), dtype=torch.bfloat16)
        for name, size in sizes.items()
    }

    by_torch = {bytes(chunk.data): chunk.itemsize for chunk in cut(saved(torch, tensors))}
    by_safetensors = {bytes(chunk.data): chunk.itemsize for chunk in cut(safetensors_torch.save(tensors))}

    shared = by_torch.items() & by_safetensors.items()
    assert sum(len(data) for data, _ in shared) == (9 << 20) + (1 << 20) + (64 << 10)
    assert all(itemsize == 2 for _, itemsize in shared)


def test_the_stem_that_torch_writes_inside_costs_no_tensor(torch, cut, tmp_path):
    """1.pt and 2.pt of equal tensors differ as files and share every chunk of a big tensor."""
    state = {"exp_avg": torch.arange(300_000.0), "exp_avg_sq": torch.arange(300_000.0) ** 2}
    for stem in ("1", "checkpoint-2"):
        torch.save(state, tmp_path / f"{stem}.pt")

    one, two = (
        {bytes(chunk.data) for chunk in cut((tmp_path / f"{stem}.pt").read_bytes())} for stem in ("1", "checkpoint-2")
    )

    assert sum(len(data) for data in one & two) == 2 * 1_200_000

"""What reading one tensor of a large checkpoint moves: little more than its stored bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from safetensors.numpy import save as save_safetensors

import cas
from cas.format import Digest
from cas.layouts import find_layout
from cas.repository import BytesSource, Repository
from cas.testing.requests import CountingProxy
from cas.views import StoredFiles, read_ranges, tensors_by_name

TENSORS = 16
ITEMS = 1 << 20  # 4 MiB of float32 each, 64 MiB in all
MIB = 1 << 20


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {f"layer.{n}": draw.normal(size=(1 << 10, 1 << 10)).astype("f4") for n in range(TENSORS)}


def files_of(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    zipped, packed = io.BytesIO(), io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, zipped)
    np.savez(packed, **arrays)
    return {
        "model.safetensors": save_safetensors(arrays),
        "model.pt": zipped.getvalue(),
        "model.npz": packed.getvalue(),
    }


def stored_bytes(files: StoredFiles, path: str, name: str) -> int:
    """What the chunks that a tensor's bytes lie in take in the store."""
    ranges = files[path]
    layout = find_layout(lambda offset, size: read_ranges(ranges, offset, size), ranges.size_bytes)
    assert layout is not None
    (span,) = (span for span in layout.spans if span.name == name)
    start, total = 0, 0
    for chunk in files.manifest.recipe(ranges.entry.blob).chunks:
        if start < span.end and span.offset < start + chunk.size_bytes:
            total += files.manifest.locations[chunk.digest].entry.stored_bytes
        start += chunk.size_bytes
    return total


@pytest.mark.slow
@pytest.mark.parametrize("path", ["model.safetensors", "model.pt", "model.npz"])
def test_one_tensor_moves_little_more_than_its_stored_bytes(arrays, path, tmp_path, counting):
    """At most 1.1 times and 1 MiB, the manifest and the file's headers included; and few requests."""
    with Repository.init(str(tmp_path / "store")) as repository:
        checkpoint = repository.put([BytesSource(path, files_of(arrays)[path])]).checkpoint
        wanted_bytes = stored_bytes(StoredFiles(repository.reader, checkpoint), path, "layer.9")
    counted, storage = counting(str(tmp_path / "store"))
    storage.calls.clear(), storage.bytes.clear()

    lazy = tensors_by_name(StoredFiles(counted.reader, checkpoint).values())["layer.9"]
    assert np.array_equal(lazy.numpy(), arrays["layer.9"])

    assert 3 * MIB < wanted_bytes < 5 * MIB
    assert sum(storage.bytes.values()) < 1.1 * wanted_bytes + MIB
    assert sum(storage.calls.values()) <= (8 if path != "model.npz" else TENSORS + 8)
    assert not storage.calls["list"]


@pytest.mark.slow
@pytest.mark.server
def test_one_tensor_from_s3_moves_little_more_than_its_stored_bytes(arrays, s3_store, monkeypatch):
    """The same, counted on the wire in front of a real server; no listing, whatever the client does by itself."""
    import os

    with cas.open(s3_store, create=True) as store:
        result = store.put({name: torch.from_numpy(array) for name, array in arrays.items()})
        files = StoredFiles(store.repository.reader, result.checkpoint)
        wanted_bytes = stored_bytes(files, "tensors.safetensors", "layer.9")
    monkeypatch.setenv("CAS_CACHE", "0")
    with CountingProxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        checkpoint = cas.Checkpoint.from_hash(str(result.checkpoint), store=s3_store)
        assert proxy.requests == []
        tensors = checkpoint.tensors()
        before = len(proxy.requests)
        found = tensors["layer.9"].torch()
        del checkpoint, tensors
        requests = list(proxy.requests)

    assert torch.equal(found, torch.from_numpy(arrays["layer.9"]))
    assert Digest.of(found.numpy().tobytes()) == Digest.of(arrays["layer.9"].tobytes())
    assert sum(request.received_bytes for request in requests) < 1.1 * wanted_bytes + MIB
    assert {request.method for request in requests} == {"GET"}
    assert not any(request.is_list for request in requests)
    assert before <= 4
    assert len(requests) - before == 1

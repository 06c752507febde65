"""tests/vectors/codecs_kernels.json pins what no later kernel may compute otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from cas import kernels
from cas.kernels import GEAR_TABLE, gear_boundary

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codecs_kernels.json").read_text())


def by_name(vector):
    return vector["name"]


def test_the_gear_table_never_changes():
    """Every cut of content without a known layout follows from it."""
    pinned = VECTORS["gear_table"]

    assert len(GEAR_TABLE) == pinned["size_bytes"]
    assert GEAR_TABLE[:32].hex() == pinned["first_bytes"]
    assert blake3(GEAR_TABLE).hexdigest() == pinned["digest"]


def test_cuts_never_change():
    """The sizes of the chunks of pinned content."""
    pinned = VECTORS["gear_cuts"]
    data = blake3(pinned["seed"].encode()).digest(length=pinned["size_bytes"])
    masks = int(pinned["mask_small"], 16), int(pinned["mask_large"], 16)

    sizes, view = [], memoryview(data)
    while view:
        sizes.append(gear_boundary(view, *pinned["sizes"], *masks))
        view = view[sizes[-1] :]

    assert sizes == pinned["chunks"]


@pytest.mark.parametrize("vector", VECTORS["planes"], ids=by_name)
def test_planes_never_change(vector):
    """Nor what they are the planes of."""
    data, planes = bytes.fromhex(vector["data"]), tuple(bytes.fromhex(plane) for plane in vector["planes"])

    assert kernels.shuffle(data, vector["itemsize"], vector["sign_last"]) == planes
    assert kernels.unshuffle(planes, vector["sign_last"]) == data


@pytest.mark.parametrize("vector", VECTORS["differences"], ids=by_name)
def test_ordered_differences_never_change(vector):
    """Nor what they take back."""
    data, base, residual = (bytes.fromhex(vector[part]) for part in ("data", "base", "residual"))

    assert kernels.difference(data, base, vector["itemsize"]) == residual
    assert kernels.undo_difference(residual, base, vector["itemsize"]) == data

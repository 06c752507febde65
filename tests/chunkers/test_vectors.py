"""The cuts that chunker id 1 stands for, pinned for every format and for content.

A vector's file is its ``parts`` laid end to end: ``hex`` is bytes as they are, ``xof``
and ``size`` are the first bytes of BLAKE3's output for that text, ``zeros`` are zeros.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from cas.chunkers import CHUNKER_ID, FastCDC
from cas.layouts import find_layout

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cuts.json").read_text())


def assemble(parts: list[dict]) -> bytes:
    data = b""
    for part in parts:
        if "hex" in part:
            data += bytes.fromhex(part["hex"])
        elif "xof" in part:
            data += blake3(part["xof"].encode()).digest(length=part["size"])
        else:
            data += bytes(part["zeros"])
    return data


def test_the_vectors_are_of_the_id_in_use():
    """Whoever moves a cut needs a new id and new vectors beside these."""
    assert VECTORS["chunker_id"] == CHUNKER_ID


@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda vector: vector["name"])
def test_a_file_is_cut_as_pinned(cut, vector):
    """Layout, offsets, sizes and itemsizes, to the byte."""
    data = assemble(vector["parts"])
    assert blake3(data).hexdigest() == vector["blake3"]

    layout = find_layout(lambda offset, size_bytes: data[offset : offset + size_bytes], len(data))
    chunks = cut(data, layout)

    found = layout and {
        "format": layout.format,
        "spans": [
            [span.name, span.dtype, list(span.shape), span.offset, span.size_bytes, span.itemsize]
            for span in layout.spans
        ],
    }
    assert found == vector["layout"]
    assert [[chunk.offset, len(chunk.data), chunk.itemsize] for chunk in chunks] == vector["chunks"]


@pytest.mark.parametrize("vector", VECTORS["streams"], ids=lambda vector: vector["name"])
def test_a_stream_is_cut_as_pinned(vector):
    """FastCDC alone, of sizes small enough to check another implementation by hand."""
    chunker = FastCDC(*vector["sizes"])
    data = assemble(vector["parts"])

    chunks = chunker.feed(data) + chunker.finish()

    assert [len(chunk) for chunk in chunks] == vector["chunks"]

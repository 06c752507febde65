"""GGUF, against files built by hand from its specification."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.layouts import TensorSpan

PLAIN = {
    0: ("F32", 4), 1: ("F16", 2), 24: ("I8", 1), 25: ("I16", 2), 26: ("I32", 4), 27: ("I64", 8), 28: ("F64", 8),
    30: ("BF16", 2),
}  # fmt: skip
# type: items in a block, bytes of a block (ggml.h)
QUANTISED = {
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144),
    13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


@settings(deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(PLAIN)), min_size=1, max_size=6),
    dimensions=st.lists(st.integers(1, 5), max_size=4).map(tuple),
    version=st.sampled_from([2, 3]),
    alignment=st.sampled_from([8, 32, 64]),
)
def test_plain_tensors_are_arrays_in_c_order(read, gguf_kit, kinds, dimensions, version, alignment):
    """GGUF counts dimensions from the fastest, spans from the slowest; every byte is where it was put."""
    count = 1
    for size in dimensions:
        count *= size
    tensors = [
        (b"t%d" % number, dimensions, kind, bytes([number + 1]) * (count * PLAIN[kind][1]))
        for number, kind in enumerate(kinds)
    ]
    pair = gguf_kit.string(b"general.alignment") + struct.pack("<II", 4, alignment)
    data = gguf_kit.file(tensors, [pair], alignment, version)

    layout = read(data).layout

    assert layout is not None
    assert layout.format == "gguf"
    assert [(span.name, span.dtype, span.shape) for span in layout.spans] == [
        (name.decode(), PLAIN[kind][0], dimensions[::-1]) for name, _, kind, _ in tensors
    ]
    assert [data[span.offset : span.end] for span in layout.spans] == [content for *_, content in tensors]


@pytest.mark.parametrize("kind", sorted(QUANTISED))
def test_quantised_tensors_are_spans_without_dtype(read, gguf_kit, kind):
    """Blocks are no array of items; their bytes are known to the byte."""
    items, size = QUANTISED[kind]
    content = bytes([7]) * (6 * size)
    data = gguf_kit.file([(b"q", (2 * items, 3), kind, content), (b"f", (1,), 0, b"abcd")])

    layout = read(data).layout

    assert layout is not None
    quantised, plain = layout.spans
    assert (quantised.name, quantised.dtype, quantised.shape, quantised.itemsize) == ("q", "", (), 0)
    assert data[quantised.offset : quantised.end] == content
    assert data[plain.offset : plain.end] == b"abcd"


def test_metadata_of_every_type_is_stepped_over(read, gguf_kit):
    """Vocabularies are arrays of strings, and nothing but walking them tells where they end."""
    string = gguf_kit.string
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    pairs = [string(b"k%d" % kind) + struct.pack("<I", kind) + bytes(size) for kind, size in sizes.items()]
    pairs += [string(b"a%d" % kind) + struct.pack("<IIQ", 9, kind, 3) + bytes(3 * size) for kind, size in sizes.items()]
    words = [string(b"word%d" % number) for number in range(50_000)]
    pairs += [string(b"words") + struct.pack("<IIQ", 9, 8, len(words)) + b"".join(words)]
    pairs += [string(b"name") + struct.pack("<I", 8) + string(b"a model")]
    data = gguf_kit.file([(b"w", (2, 2), 1, b"12345678")], pairs)

    reading = read(data)

    assert reading.layout is not None
    assert [data[span.offset : span.end] for span in reading.layout.spans] == [b"12345678"]
    assert len(reading.calls) < 10


def test_a_tensor_of_a_type_not_known_here_is_content_and_hides_no_other(read, gguf_kit):
    """Nobody can tell how long it is, so it is what lies between its neighbours."""
    data = gguf_kit.file([(b"a", (4,), 24, b"1234"), (b"new", (9,), 999, b"?" * 50), (b"b", (4,), 24, b"5678")])

    layout = read(data).layout

    assert layout is not None
    assert [span.name for span in layout.spans] == ["a", "b"]
    assert [data[span.offset : span.end] for span in layout.spans] == [b"1234", b"5678"]


@pytest.mark.parametrize("version", [0, 1, 4, 0x03000000])
def test_other_versions_are_content(read, gguf_kit, version):
    """Version 1 had other numbers; a big-endian file shows its version reversed."""
    assert read(gguf_kit.file([(b"a", (4,), 24, b"1234")], version=version)).layout is None


def test_a_row_of_broken_blocks_is_refused(read, gguf_kit):
    """The whole file is content then: who lies once may lie anywhere."""
    assert read(gguf_kit.file([(b"a", (33,), 8, bytes(34))])).layout is None


def test_a_scalar_is_a_tensor_of_one_item(read, gguf_kit):
    """No dimensions means one item."""
    data = gguf_kit.file([(b"a", (), 0, b"1234")])

    layout = read(data).layout

    assert layout is not None
    assert layout.spans == (TensorSpan("a", "F32", (), len(data) - 4, 4, 4),)

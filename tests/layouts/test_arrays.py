"""safetensors, npy and npz, against the libraries that write them."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save as save_safetensors

from cas.layouts import TensorSpan

NUMPY_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "F16": np.float16,
    "U32": np.uint32,
    "I32": np.int32,
    "F32": np.float32,
    "U64": np.uint64,
    "I64": np.int64,
    "F64": np.float64,
    "C64": np.complex64,
    "C128": np.complex128,
}

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=8)
# ".npy" is what NumPy puts behind a name, and "file" is an argument of savez.
MEMBER_NAMES = st.text("abcdeéß._-0", min_size=1, max_size=8).filter(lambda name: not name.endswith(".npy"))


def arrays(*dtypes: type) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    return st.sampled_from(dtypes).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


def array_of(data: bytes, span: TensorSpan) -> np.ndarray:
    return np.frombuffer(data[span.offset : span.end], NUMPY_DTYPES[span.dtype]).reshape(span.shape)


def assert_same(data: bytes, spans: tuple[TensorSpan, ...], tensors: dict[str, np.ndarray]) -> None:
    found = {span.name: array_of(data, span) for span in spans}
    assert found.keys() == {name for name, array in tensors.items() if array.size}
    for name, array in found.items():
        assert array.dtype == tensors[name].dtype
        assert array.shape == tensors[name].shape
        assert array.tobytes() == tensors[name].tobytes()


SAFETENSORS_DTYPES = [dtype for dtype in NUMPY_DTYPES.values() if dtype is not np.complex128]


@settings(deadline=None)
@given(st.dictionaries(NAMES, arrays(*SAFETENSORS_DTYPES), max_size=6))
def test_every_tensor_that_safetensors_writes_is_where_its_span_says(read, tensors):
    """Name, dtype, shape and bytes come back; only empty tensors have no span."""
    data = save_safetensors(tensors, {"format": "np"})

    layout = read(data).layout

    assert layout is not None
    assert layout.format == "safetensors"
    assert_same(data, layout.spans, tensors)


@settings(deadline=None)
@given(arrays(*NUMPY_DTYPES.values()), st.sampled_from([(1, 0), (2, 0), (3, 0)]))
def test_an_npy_of_any_version_is_where_its_span_says(read, array, version):
    """The array's bytes are the span's, whatever the length of the header before it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)

    layout = read(file.getvalue()).layout

    assert layout is not None
    assert layout.format == "npy"
    assert_same(file.getvalue(), layout.spans, {"": array})


@settings(deadline=None)
@given(st.dictionaries(MEMBER_NAMES, arrays(*NUMPY_DTYPES.values()), max_size=6))
def test_every_array_that_savez_writes_is_where_its_span_says(read, tensors):
    """Members are named as numpy.load names them."""
    file = io.BytesIO()
    np.savez(file, **tensors)

    layout = read(file.getvalue()).layout

    if tensors:
        assert layout is not None
        assert layout.format == "npz"
        assert_same(file.getvalue(), layout.spans, tensors)
    else:
        assert layout is None or not layout.spans


def test_an_empty_npz_has_nothing_to_cut_at(read):
    """An archive without members is content."""
    file = io.BytesIO()
    np.savez(file)

    assert read(file.getvalue()).layout is None


@pytest.mark.parametrize(
    ("array", "itemsize"),
    [
        (np.asfortranarray(np.arange(6.0).reshape(2, 3)), 8),
        (np.arange(6, dtype=">f4"), 4),
        (np.array(["2026-11-23"], "M8[s]"), 8),
        (np.array(["text", "more"]), 16),
        (np.zeros(3, np.longdouble), np.dtype(np.longdouble).itemsize),
    ],
    ids=["fortran", "big-endian", "dates", "text", "long double"],
)
def test_bytes_that_are_no_plain_array_have_a_span_without_dtype(read, array, itemsize):
    """A reader of tensors cannot take them for something else; the chunker still knows their items."""
    file = io.BytesIO()
    np.save(file, array)

    layout = read(file.getvalue()).layout

    assert layout is not None
    assert [(span.dtype, span.shape, span.itemsize, span.size_bytes) for span in layout.spans] == [
        ("", (), itemsize, array.nbytes)
    ]


def test_a_fortran_vector_is_a_plain_array(read):
    """In one dimension the order of items means nothing."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": True, "shape": (3,)})
    file.write(bytes(12))

    layout = read(file.getvalue()).layout

    assert layout is not None
    assert [(span.dtype, span.shape) for span in layout.spans] == [("F32", (3,))]


@pytest.mark.parametrize(
    "array", [np.array([{}, None], object), np.zeros(3, [("a", "f4"), ("b", "i8")])], ids=["objects", "records"]
)
def test_pickled_objects_and_records_are_content(read, array):
    """Neither is an array of items."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)

    assert read(file.getvalue()).layout is None


def test_an_array_of_objects_does_not_hide_its_neighbours(read):
    """In an npz each member speaks for itself; compressed ones say nothing."""
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, a=np.arange(3.0), b=np.array([{}], object), c=np.arange(4.0))
    np.savez_compressed(packed, a=np.arange(3.0))

    layout, packed_layout = read(plain.getvalue()).layout, read(packed.getvalue()).layout

    assert layout is not None
    assert [span.name for span in layout.spans] == ["a", "c"]
    assert packed_layout is None or not packed_layout.spans


def test_a_safetensors_dtype_not_known_here_keeps_its_bytes(read):
    """A future dtype is still cut as a tensor; nobody is told what its bytes mean."""
    header = (
        b'{"w":{"dtype":"F4","shape":[8],"data_offsets":[0,4]},"v":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}'
    )
    data = struct.pack("<Q", len(header)) + header + bytes(6)

    layout = read(data).layout

    assert layout is not None
    start = 8 + len(header)
    assert layout.spans == (TensorSpan("w", "", (), start, 4, 0), TensorSpan("v", "U8", (2,), start + 4, 2, 1))


def test_a_safetensors_header_may_leave_holes_and_any_order(read):
    """Spans come sorted by where they lie, whatever the order of their names."""
    header = (
        b' {"__metadata__": {"a": "b"}, "z": {"shape": [2], "dtype": "U8", "data_offsets": [0, 2]},\n'
        b'"a": {"data_offsets": [7, 9], "shape": [2], "dtype": "U8"}}   '
    ).lstrip()
    data = struct.pack("<Q", len(header)) + header + bytes(20)

    layout = read(data).layout

    assert layout is not None
    assert [(span.name, span.offset - 8 - len(header)) for span in layout.spans] == [("z", 0), ("a", 7)]


def test_headers_are_read_and_tensors_are_not(read):
    """Finding a layout costs a few reads and the header's bytes, whatever the file's size."""
    tensors = {f"layer.{number}": np.zeros(1 << 16, np.float32) for number in range(8)}
    safetensors, npy = save_safetensors(tensors), io.BytesIO()
    np.save(npy, np.zeros(1 << 20, np.float32))

    for data, most in ((safetensors, 2048), (npy.getvalue(), 256)):
        reading = read(data)
        assert reading.layout is not None
        assert len(reading.calls) <= 4
        assert reading.read_bytes <= most

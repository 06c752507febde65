"""The layout of what the real torch.save writes, held against the real torch.load."""

from __future__ import annotations

import io

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def saved(torch, value, **options) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def tensor_at(torch, data: bytes, span, dtype):
    raw = torch.frombuffer(bytearray(data[span.offset : span.end]), dtype=torch.uint8)
    return raw.view(dtype).reshape(span.shape)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_is_named_as_safetensors_names_it(torch, read, protocol):
    """Dtypes with and without a storage class of their own, in every pickle protocol."""
    dtypes = {
        "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16,
        "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32,
        "I64": torch.int64, "U64": torch.uint64, "F64": torch.float64, "C64": torch.complex64, "C128": torch.complex128,
        "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
        "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu,
    }  # fmt: skip
    tensors = {name: torch.arange(6, dtype=torch.float32).reshape(2, 3).to(dtype) for name, dtype in dtypes.items()}
    data = saved(torch, tensors, pickle_protocol=protocol)

    layout = read(data).layout

    assert layout is not None
    assert [(span.name, span.dtype, span.shape) for span in layout.spans] == [(name, name, (2, 3)) for name in dtypes]
    for span in layout.spans:
        found = tensor_at(torch, data, span, dtypes[span.name])
        assert found.view(torch.uint8).equal(tensors[span.name].view(torch.uint8))


def test_a_model_and_its_optimizer_are_named_as_their_state_dicts_name_them(torch, read, tmp_path):
    """Parameters, tied weights, buffers and moments; a few reads a storage and little beyond the headers."""
    model = torch.nn.Sequential(torch.nn.Linear(300, 400), torch.nn.BatchNorm1d(400), torch.nn.Linear(400, 300))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 300)).sum().backward()
    optimizer.step()
    path = tmp_path / "any name.ckpt"
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "params": list(model.parameters())}, path
    )
    data = path.read_bytes()

    reading = read(data)

    assert reading.layout is not None
    spans = {span.name: span for span in reading.layout.spans}
    for name, tensor in model.state_dict().items():
        span = spans[f"model.{name}"]
        assert tensor_at(torch, data, span, tensor.dtype).equal(tensor)
    for number, moments in optimizer.state_dict()["state"].items():
        assert tensor_at(torch, data, spans[f"optimizer.state.{number}.exp_avg"], torch.float32).equal(
            moments["exp_avg"]
        )
    assert len(spans) == len(model.state_dict()) + 3 * len(optimizer.state_dict()["state"])
    assert len(reading.calls) <= len(spans) + 8
    assert reading.read_bytes < 100_000


def test_views_are_one_span_and_the_legacy_format_is_content(torch, read):
    """A transposed tensor's storage is its items in a row; files from before torch 1.6 have no layout."""
    turned = torch.arange(6).reshape(2, 3).t()

    layout = read(saved(torch, [turned, turned[1:]])).layout

    assert layout is not None
    assert [(span.name, span.dtype, span.shape) for span in layout.spans] == [("data/0", "I64", (6,))]
    assert read(saved(torch, turned, _use_new_zipfile_serialization=False)).layout is None

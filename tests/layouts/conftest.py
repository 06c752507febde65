"""Files of every known format, small, made without torch; and a reader that holds `find_layout` to its word."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from safetensors.numpy import save as save_safetensors

from cas.layouts import Layout, find_layout


@dataclass
class Reading:
    """What one `find_layout` found and what it read for that."""

    layout: Layout | None = None
    calls: list[tuple[int, int]] = field(default_factory=list)

    @property
    def read_bytes(self) -> int:
        return sum(size for _, size in self.calls)


def read_layout(data: bytes) -> Reading:
    """Find the layout of ``data``; every read must lie inside it, every span too."""
    reading = Reading()

    def read_at(offset: int, size_bytes: int) -> memoryview:
        assert 0 <= offset <= offset + size_bytes <= len(data)
        reading.calls.append((offset, size_bytes))
        return memoryview(data)[offset : offset + size_bytes]

    reading.layout = find_layout(read_at, len(data))
    end = 0
    for span in reading.layout.spans if reading.layout else ():
        assert end <= span.offset < span.end <= len(data)
        end = span.end
    return reading


@pytest.fixture(scope="session")
def read() -> Callable[[bytes], Reading]:
    return read_layout


# -- torch's zip, written by hand


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _number(number: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", number)


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def pickle_tensor(key: str, storage: str, items: int, shape: tuple, strides: tuple, offset: int = 0) -> bytes:
    """What torch pickles for one tensor."""
    persistent = _tuple(_text("storage"), f"ctorch\n{storage}\n".encode(), _text(key), _text("cpu"), _number(items))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + _tuple(
            persistent + b"Q",
            _number(offset),
            _tuple(*map(_number, shape)),
            _tuple(*map(_number, strides)),
            b"\x89",
            b"ccollections\nOrderedDict\n)R",
        )
        + b"R"
    )


def pickle_dict(items: dict[str, bytes]) -> bytes:
    """A dict of values that are pickled already."""
    return b"}(" + b"".join(_text(key) + value for key, value in items.items()) + b"u"


def torch_zip(
    pickle: bytes, storages: dict[str, bytes], byte_order: bytes = b"little", force_zip64: bool = False
) -> bytes:
    """The zip that torch.save would write around a data.pkl and its storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        members = {"data.pkl": b"\x80\x02" + pickle + b".", "byteorder": byte_order}
        members |= {f"data/{key}": data for key, data in storages.items()} | {"version": b"3\n"}
        for name, data in members.items():
            with archive.open(zipfile.ZipInfo(f"model/{name}"), "w", force_zip64=force_zip64) as member:
                member.write(data)
    return file.getvalue()


@dataclass(frozen=True)
class TorchKit:
    """The functions above, for tests to call."""

    tensor: Callable[..., bytes] = pickle_tensor
    dict: Callable[..., bytes] = pickle_dict
    zip: Callable[..., bytes] = torch_zip


@pytest.fixture(scope="session")
def torch_kit() -> TorchKit:
    return TorchKit()


# -- GGUF, written by hand


def gguf_string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def gguf(
    tensors: list[tuple[bytes, tuple[int, ...], int, bytes]],
    pairs: list[bytes] | None = None,
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """A GGUF of ``(name, dimensions fastest first, type, data)``; ``pairs`` are encoded already."""
    pairs = pairs or []
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs)
    body = b""
    for name, dimensions, kind, data in tensors:
        body += bytes(-len(body) % alignment)
        header += gguf_string(name) + struct.pack(
            f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, len(body)
        )
        body += data
    return header + bytes(-len(header) % alignment) + body


@dataclass(frozen=True)
class GgufKit:
    """The functions above, for tests to call."""

    file: Callable[..., bytes] = gguf
    string: Callable[[bytes], bytes] = gguf_string


@pytest.fixture(scope="session")
def gguf_kit() -> GgufKit:
    return GgufKit()


# -- one of each


@pytest.fixture(scope="session")
def samples() -> dict[str, bytes]:
    """A valid file of every format, by format."""
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, weight)
    np.savez(npz, weight=weight, bias=np.ones(5, np.float16))
    pickle = pickle_dict(
        {
            "weight": pickle_tensor("0", "FloatStorage", 12, (3, 4), (4, 1)),
            "tied": pickle_tensor("0", "FloatStorage", 12, (3, 4), (4, 1)),
            "bias": pickle_tensor("1", "BFloat16Storage", 5, (5,), (1,)),
        }
    )
    words = gguf_string(b"words") + struct.pack("<IIQ", 9, 8, 2) + gguf_string(b"one") + gguf_string(b"two")
    return {
        "safetensors": save_safetensors({"weight": weight, "bias": np.ones(5, np.float16)}, {"format": "pt"}),
        "npy": npy.getvalue(),
        "npz": npz.getvalue(),
        "torch": torch_zip(pickle, {"0": weight.tobytes(), "1": bytes(10)}),
        "gguf": gguf([(b"weight", (4, 3), 0, weight.tobytes()), (b"quantised", (32,), 8, bytes(34))], [words]),
    }

"""One large file, made block by block: what a benchmark of size needs, in bounded memory.

Half of it is random bytes and half floats that compress, in turn, all different:
nothing is deduplicated away. It is made in a process of its own, because the
memory of the benchmark would count as its children's (see `tools.bench.process`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tools.bench.process import run

__all__ = ["BLOCK_BYTES", "make_plain", "make_safetensors"]

BLOCK_BYTES = 16 << 20


def make_plain(path: Path, size_bytes: int) -> None:
    """Write ``size_bytes``, whole blocks of `BLOCK_BYTES`, of no known layout."""
    _make(path, size_bytes, 0)


def make_safetensors(path: Path, size_bytes: int, tensor_bytes: int) -> None:
    """Write as much content, and before it the header that makes it float32 tensors of ``tensor_bytes``."""
    _make(path, size_bytes, tensor_bytes)


def _make(path: Path, size_bytes: int, tensor_bytes: int) -> None:
    run([sys.executable, "-m", "tools.bench.large_file", path, str(size_bytes), str(tensor_bytes)])


def main() -> None:
    """Write the file that the arguments describe: path, size in bytes, bytes of a tensor or 0."""
    import numpy as np

    path, size_bytes, tensor_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(path, "wb") as stream:
        if tensor_bytes:
            stream.write(_safetensors_header(size_bytes, tensor_bytes))
        for number in range(size_bytes // BLOCK_BYTES):
            rng = np.random.default_rng(number)
            if number % 2:
                stream.write(rng.standard_normal(BLOCK_BYTES // 4, dtype=np.float32).data)
            else:
                stream.write(rng.bytes(BLOCK_BYTES))


def _safetensors_header(size_bytes: int, tensor_bytes: int) -> bytes:
    tensors: dict[str, dict[str, object]] = {}
    for begin in range(0, size_bytes, tensor_bytes):
        end = min(begin + tensor_bytes, size_bytes)
        tensors[f"layer.{len(tensors)}"] = {
            "dtype": "F32",
            "shape": [(end - begin) // 4],
            "data_offsets": [begin, end],
        }
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


if __name__ == "__main__":
    main()

"""Peak memory of putting and pulling one file much larger than memory should need.

The file is half random bytes and half floats that compress, in turn, all different:
nothing is deduplicated away. It and the store are removed afterwards.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tools.bench.checkpoints import require_same
from tools.bench.own import CAS
from tools.bench.process import Cost, run, settle

__all__ = ["LAYOUTS", "main", "measure"]

LAYOUTS = ("plain", "safetensors")
BLOCK_BYTES = 16 << 20
TENSOR_BYTES = 1 << 30


def measure(size_bytes: int, layout: str, scratch: Path) -> dict[str, Cost]:
    """Make the file, put it, pull it, compare it.

    Args:
        size_bytes: of the file's content; whole blocks of 16 MiB.
        layout: ``plain`` for bytes of no known layout, cut by content; ``safetensors`` for float32
            tensors of 1 GiB.
        scratch: an empty folder with room for three times the size.

    Returns:
        The cost of ``put`` and of ``pull``, each one command.
    """
    source, store, target = scratch / "source", scratch / "store", scratch / "target"
    source.mkdir()
    name = "big.safetensors" if layout == "safetensors" else "big.bin"
    # Another process makes it: the memory of this one would count as its children's (see process.py).
    run([sys.executable, "-m", "tools.bench.memory", source / name, str(size_bytes), layout])
    env = {"HOME": str(scratch), "XDG_CACHE_HOME": str(scratch / "cache")}
    run([CAS, "init", store], env=env)
    settle(size_bytes)
    printed, put = run([CAS, "put", source, "--store", store], env=env)
    settle(size_bytes)
    _, pull = run([CAS, "pull", printed.strip(), target, "--store", store], env=env)
    require_same(source, target)
    shutil.rmtree(scratch)
    return {"put": put, "pull": pull}


def main() -> None:
    """Write the file that the arguments describe: path, size in bytes, layout."""
    import numpy as np

    path, size_bytes, layout = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(path, "wb") as stream:
        if layout == "safetensors":
            stream.write(_safetensors_header(size_bytes))
        for number in range(size_bytes // BLOCK_BYTES):
            rng = np.random.default_rng(number)
            if number % 2:
                stream.write(rng.standard_normal(BLOCK_BYTES // 4, dtype=np.float32).data)
            else:
                stream.write(rng.bytes(BLOCK_BYTES))


def _safetensors_header(size_bytes: int) -> bytes:
    tensors: dict[str, dict[str, object]] = {}
    for begin in range(0, size_bytes, TENSOR_BYTES):
        end = min(begin + TENSOR_BYTES, size_bytes)
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

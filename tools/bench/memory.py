"""Peak memory of putting and pulling one file much larger than memory should need (`tools.bench.large_file`).

The file and the store are removed afterwards.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.bench.checkpoints import require_same
from tools.bench.large_file import make_plain, make_safetensors
from tools.bench.own import CAS
from tools.bench.process import Cost, run, settle

__all__ = ["LAYOUTS", "measure"]

LAYOUTS = ("plain", "safetensors")
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
    if layout == "safetensors":
        make_safetensors(source / "big.safetensors", size_bytes, TENSOR_BYTES)
    else:
        make_plain(source / "big.bin", size_bytes)
    env = {"HOME": str(scratch), "XDG_CACHE_HOME": str(scratch / "cache")}
    run([CAS, "init", store], env=env)
    settle(size_bytes)
    printed, put = run([CAS, "put", source, "--store", store], env=env)
    settle(size_bytes)
    _, pull = run([CAS, "pull", printed.strip(), target, "--store", store], env=env)
    require_same(source, target)
    shutil.rmtree(scratch)
    return {"put": put, "pull": pull}

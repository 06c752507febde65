"""One process that wants one tensor of a checkpoint in a store, the largest: what a cold start waits for.

Takes the store's URL and the checkpoint's hash, and prints as JSON which tensor it
read, its bytes, and the seconds from opening the checkpoint to having the array. Its imports
come before the clock starts; who runs it can time the whole process.
"""

from __future__ import annotations

import json
import sys
import time

import numpy  # noqa: F401
import s3fs  # noqa: F401

import cas


def main() -> None:
    """Read the tensor."""
    url, checkpoint = sys.argv[1:]
    began = time.perf_counter()
    tensors = cas.Checkpoint.from_hash(checkpoint, store=url).tensors()
    name = max(tensors, key=lambda name: tensors[name].nbytes)
    array = tensors[name].numpy()
    wall_s = time.perf_counter() - began
    print(json.dumps({"name": name, "nbytes": array.nbytes, "wall_s": wall_s}))


if __name__ == "__main__":
    main()

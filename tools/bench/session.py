"""One process that uses the library as a training loop does: open the store, put or pull many times, close.

Reads a job from stdin and prints, as JSON, the hashes and the seconds from opening
the store to closing it; see `tools.bench.own.InProcess`.
"""

from __future__ import annotations

import json
import sys
import time

import cas


def main() -> None:
    """Do the job."""
    job = json.load(sys.stdin)
    began = time.perf_counter()
    with cas.open(job["store"]) as store:
        if job["action"] == "put":
            hashes = [str(store.put(path, ref=ref).checkpoint) for path, ref in job["items"]]
        else:
            hashes = [str(store.pull(rev, target).checkpoint) for rev, target in job["items"]]
    wall_s = time.perf_counter() - began
    print(json.dumps({"hashes": hashes, "wall_s": wall_s}))


if __name__ == "__main__":
    main()

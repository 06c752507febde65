"""One process that uses the library as a training loop does: open the store, put or pull many times, close.

Reads a job from stdin and prints, as JSON, the hashes and the seconds from opening
the store to closing it; see `tools.bench.own.InProcess`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import cas


def main() -> None:
    """Do the job."""
    job = json.load(sys.stdin)
    _import_everything()
    began = time.perf_counter()
    with cas.open(job["store"]) as store:
        if job["action"] == "put":
            hashes = [str(store.put(path, ref=ref).checkpoint) for path, ref in job["items"]]
        else:
            hashes = [str(store.pull(rev, target).checkpoint) for rev, target in job["items"]]
    wall_s = time.perf_counter() - began
    print(json.dumps({"hashes": hashes, "wall_s": wall_s}))


def _import_everything() -> None:
    """Put and pull a little: cas imports what it needs on use, which a process pays for once."""
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder, "content")
        content.mkdir()
        (content / "file").write_bytes(b"content")
        with cas.open(Path(folder, "store"), create=True) as store:
            store.pull(str(store.put(content).checkpoint), Path(folder, "pulled"))


if __name__ == "__main__":
    main()

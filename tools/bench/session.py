"""One process that uses the library as a training loop does: open the store, work, close.

Reads a job from stdin: put, pull or push (all that it has, to each URL) in a store, or
clone it. Prints, as JSON, the hashes and the seconds from opening the store to closing
it; see `tools.bench.own.InProcess` and `tools.bench.s3_tools.CasLibrary`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cas


def main() -> None:
    """Do the job."""
    job = json.load(sys.stdin)
    _import_everything(far="s3://" in json.dumps(job))
    began = time.perf_counter()
    hashes = _clone(job) if job["action"] == "clone" else _work(job)
    wall_s = time.perf_counter() - began
    print(json.dumps({"hashes": hashes, "wall_s": wall_s}))


def _work(job: dict[str, Any]) -> list[str]:
    with cas.open(job["store"]) as store:
        if job["action"] == "put":
            return [str(store.put(path, ref=ref).checkpoint) for path, ref in job["items"]]
        if job["action"] == "pull":
            return [str(store.pull(rev, target).checkpoint) for rev, target in job["items"]]
        for url in job["items"]:
            store.push_all(url)
        return []


def _clone(job: dict[str, Any]) -> list[str]:
    for target in job["items"]:
        cas.Store.clone(job["store"], target)[0].close()
    return []


def _import_everything(*, far: bool) -> None:
    """Put and pull a little, and clone where S3 is meant: cas imports on use, which a process pays for once."""
    with tempfile.TemporaryDirectory() as folder:
        content, url = Path(folder, "content"), Path(folder, "store")
        content.mkdir()
        (content / "file").write_bytes(b"content")
        with cas.open(url, create=True) as store:
            store.pull(str(store.put(content, ref="main").checkpoint), Path(folder, "pulled"))
        if far:
            import s3fs  # noqa: F401

            cas.Store.clone(str(url), Path(folder, "clone"))[0].close()


if __name__ == "__main__":
    main()

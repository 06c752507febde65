"""The node's cache: a chunk is downloaded once, nothing damaged comes out, and it stays within its bound."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from cas.errors import FormatError
from cas.format import Digest
from cas.repository import BytesSource, Repository
from cas.repository.cache import DEFAULT_BYTES, ChunkCache, cache_bytes
from cas.repository.reader import Reader
from cas.storage import open_storage
from cas.testing.faults import CountingStorage
from cas.testing.requests import CountingProxy

CONTENT = np.random.default_rng(3).bytes(20 << 20)
PULL = """
import sys
import cas
url, checkpoint, target = sys.argv[1:]
with cas.open(url) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    store.pull(checkpoint, target)
"""


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def far(tmp_path):
    """A store and a storage over it that counts, as if it were far away."""
    url = str(tmp_path / "store")
    with Repository.init(url) as repository:
        result = repository.put([BytesSource("model", CONTENT), BytesSource("log", b"x" * 5000)])
    return CountingStorage(open_storage(url)), result.checkpoint


def read(reader: Reader, checkpoint: Digest) -> dict[str, bytes]:
    manifest = reader.manifest(checkpoint)
    return {entry.path: reader.read_blob(manifest, entry) for entry in manifest.tree.files}


def test_what_was_fetched_is_not_fetched_again(far, tmp_path):
    """The second reader on the node, in whatever process, reads no pack."""
    storage, checkpoint = far
    cache = tmp_path / "cache"
    first = read(Reader(storage, ChunkCache(1 << 30, cache)), checkpoint)
    fetched = storage.bytes["read_range"]
    second = read(Reader(storage, ChunkCache(1 << 30, cache)), checkpoint)

    assert first == second == {"model": CONTENT, "log": b"x" * 5000}
    assert fetched >= len(CONTENT)
    assert storage.bytes["read_range"] == fetched


def test_readers_at_the_same_time_download_once(far, tmp_path):
    """Six threads of one process, started together."""
    storage, checkpoint = far
    start = threading.Barrier(6)

    def work(_: int) -> dict[str, bytes]:
        reader = Reader(storage, ChunkCache(1 << 30, tmp_path / "cache"))
        start.wait()
        return read(reader, checkpoint)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(6)))
    assert all(result["model"] == CONTENT for result in results)
    assert storage.bytes["read_range"] < 1.1 * len(CONTENT)


@pytest.fixture
def s3(tmp_path, monkeypatch) -> Iterator[CountingProxy]:
    """The only way to an S3 server with an empty bucket, ``node``: it counts."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/node", method="PUT")) as answer:
        assert answer.status == 200
    with CountingProxy(f"http://{host}:{port}") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
    server.stop()


@pytest.mark.slow
@pytest.mark.server
def test_processes_that_pull_at_the_same_time_download_once(s3, tmp_path, monkeypatch):
    """Four on one node, started together: over the wire, every range of a pack is asked for by one of them alone."""
    url = "s3://node/store"
    with Repository.init(url) as repository:
        checkpoint = repository.put([BytesSource("model", CONTENT), BytesSource("log", b"x" * 5000)]).checkpoint
    monkeypatch.setenv("CAS_CACHE_DIR", str(tmp_path / "cache"))
    targets = [tmp_path / f"target-{number}" for number in range(4)]
    s3.clear()
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PULL, url, str(checkpoint), str(target)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for target in targets
        ]
        assert [child.stdout.readline() for child in children] == ["ready\n"] * 4
        for child in children:
            child.stdin.close()
        assert [child.wait() for child in children] == [0] * 4

    ranges = [request for request in s3 if request.range]
    assert all((target / "model").read_bytes() == CONTENT for target in targets)
    assert all((target / "log").read_bytes() == b"x" * 5000 for target in targets)
    assert max(Counter((request.target, request.range) for request in ranges).values()) == 1
    assert len(CONTENT) <= sum(request.received_bytes for request in ranges) < 1.1 * len(CONTENT)


def test_a_damaged_entry_is_dropped_and_fetched_again(far, tmp_path):
    """Flipped, cut short or emptied: never returned, and whole afterwards."""
    storage, checkpoint = far
    cache = tmp_path / "cache"
    read(Reader(storage, ChunkCache(1 << 30, cache)), checkpoint)
    entries = [path for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for number, path in enumerate(entries):
        data = path.read_bytes()
        path.write_bytes((b"", data[:-1], bytes([data[0] ^ 1]) + data[1:])[number % 3])

    assert read(Reader(storage, ChunkCache(1 << 30, cache)), checkpoint)["model"] == CONTENT
    assert all(Digest.of(path.read_bytes()) == Digest.parse(path.name) for path in entries)


def test_the_bound_is_kept_and_the_least_recently_used_go(tmp_path):
    """What is used now and then survives what is not."""
    cache = ChunkCache(1_000_000, tmp_path)
    chunks = [noise(20_000, seed) for seed in range(200)]
    favourite = Digest.of(chunks[0])
    for number, chunk in enumerate(chunks):
        cache.add(Digest.of(chunk), chunk)
        os.utime(cache._path(Digest.of(chunk)), (number, number))
        assert cache.find(favourite) == chunks[0]
        size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert size < 1_100_000
    assert cache.find(Digest.of(chunks[-1])) == chunks[-1]
    assert cache.find(Digest.of(chunks[10])) is None


def test_a_cache_that_cannot_be_written_is_no_cache(far, tmp_path):
    """Reading works without it."""
    storage, checkpoint = far
    (tmp_path / "file").write_text("in the way")
    assert read(Reader(storage, ChunkCache(1 << 30, tmp_path / "file" / "cache")), checkpoint)["model"] == CONTENT


@pytest.mark.parametrize(
    ("text", "size"), [("", DEFAULT_BYTES), ("0", 0), ("500M", 500 << 20), ("2 GiB", 2 << 30), ("7", 7)]
)
def test_the_bound_is_set_by_the_environment(text, size, monkeypatch):
    """A number with an optional unit."""
    monkeypatch.setenv("CAS_CACHE", text)
    assert cache_bytes() == size


def test_a_bound_that_is_no_size_is_refused(monkeypatch):
    """By name, with an example."""
    monkeypatch.setenv("CAS_CACHE", "plenty")
    with pytest.raises(FormatError, match="plenty"):
        cache_bytes()

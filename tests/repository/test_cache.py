"""The node's cache: a chunk is downloaded once, nothing damaged comes out, and it stays within its bound."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cas.errors import FormatError
from cas.format import Digest
from cas.repository import BytesSource, Repository
from cas.repository.cache import DEFAULT_BYTES, ChunkCache, cache_bytes
from cas.repository.reader import Reader
from cas.storage import open_storage
from cas.testing.faults import CountingStorage

CONTENT = np.random.default_rng(3).bytes(20 << 20)


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
    """Six of them, started together."""
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

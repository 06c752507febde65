"""What a trip to a bucket costs, counted on the wire before a real server."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

import cas
from cas.repository import BytesSource, Repository
from cas.repository.packer import PACK_BYTES
from cas.transfer import transfer

pytestmark = pytest.mark.server


def noise(size_bytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size_bytes)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of three packs' runs at the least: a big file, a small one, one in a directory."""
    path = tmp_path / "model"
    (path / "logs").mkdir(parents=True)
    (path / "weights.bin").write_bytes(noise(20 << 20))
    (path / "config.json").write_bytes(b'{"layers": 2}')
    (path / "logs" / "loss.txt").write_bytes(b"0.5\n" * 10_000)
    return path


@pytest.fixture
def run_cas(monkeypatch):
    """The command line, in this process."""

    def run(*arguments):
        from cas.cli import main

        monkeypatch.setattr(sys, "argv", ["cas", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0

    return run


@pytest.mark.slow
def test_a_cold_pull_is_two_requests_and_the_runs(s3, s3_url, folder, tmp_path, monkeypatch, run_cas):
    """`cas pull HASH DEST --from s3://…` reads format.json, the manifest, and ranges; no listing, no database."""
    with Repository.init(s3_url), cas.open(s3_url) as store:
        checkpoint = store.put(folder).checkpoint
        manifest = store.repository.reader.manifest(checkpoint)
    s3.clear()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):  # another machine
        monkeypatch.setenv(name, str(tmp_path / "other"))
    run_cas("-q", "pull", checkpoint, tmp_path / "out", "--from", s3_url)

    whole = [request for request in s3 if not request.range]
    ranges = [request for request in s3 if request.range]
    packed_bytes = sum(location.entry.stored_bytes for location in manifest.locations.values())
    assert sorted(request.target.rsplit("/", 1)[1] for request in whole) == sorted(["format.json", str(checkpoint)])
    assert s3.count() == s3.count("GET") == 2 + len(ranges)
    assert s3.lists == 0
    assert len(ranges) <= math.ceil(packed_bytes / (8 << 20)) + 1
    assert sum(request.received_bytes for request in ranges) < 1.01 * packed_bytes
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()
    assert not list((tmp_path / "other").rglob("*.sqlite"))


@pytest.mark.slow
def test_new_content_costs_a_put_a_pack_and_four(s3, s3_url):
    """Lease, manifest, commit and ref; 1 GiB in packs of 64 MiB makes 20. Measured on 200 MiB that do not compress."""
    with Repository.init(s3_url):
        pass
    s3.clear()
    size_bytes = 200 << 20
    with Repository.open(s3_url) as repository:
        repository.put([BytesSource("weights.bin", noise(size_bytes))], ref="main")
    packs = math.ceil(size_bytes / PACK_BYTES)

    assert s3.count("PUT") == packs + 4
    assert s3.count("POST") == 0
    assert math.ceil((1 << 30) / PACK_BYTES) + 4 <= 20


@pytest.mark.parametrize("ref", ["main", None])
def test_shared_content_costs_four_requests_at_most(s3, s3_url, ref):
    """In an open session: the same content again, under other names, and what another session stored."""
    files = [BytesSource("a", noise(1 << 20)), BytesSource("b", b"small")]
    renamed = [BytesSource("c", files[0].data), BytesSource("d", b"small")]
    foreign = [BytesSource("e", files[0].data)]
    with Repository.init(s3_url) as repository:
        repository.put(foreign, ref="elsewhere")
    with Repository.open(s3_url) as repository:
        repository.put(files, ref=ref)
        for sources in (files, renamed, renamed, foreign):
            s3.clear()
            assert repository.put(sources, ref=ref).new_bytes == 0
            assert s3.count() <= 4, list(s3)
            assert s3.lists == 0


def test_a_push_of_what_is_there_writes_nothing(s3, s3_url, tmp_path):
    """It looks at the refs, and sees."""
    with Repository.init(str(tmp_path / "here")) as here, Repository.init(s3_url) as there:
        here.put([BytesSource("a", noise(1 << 20))], ref="main")
        transfer(here, there, here.resolve("main"))
    with Repository.open(str(tmp_path / "here")) as here, Repository.open(s3_url) as there:
        s3.clear()
        assert transfer(here, there, here.resolve("main")).moved_bytes == 0
        assert s3.count("PUT", "POST", "DELETE") == 0
        assert s3.count() <= 4

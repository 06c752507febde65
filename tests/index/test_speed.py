"""A million chunks are practical. Run this file to measure: ``python tests/index/test_speed.py [CHUNKS] [URL]``."""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time

import pytest

from cas.format import Digest, PackEntry
from cas.index import open_index

_CHUNKS_PER_PACK = 100  # 64 MiB packs of chunks of two thirds of a MiB
_ASKED_AT_ONCE = 10_000


def measure(url: str, count: int) -> dict[str, float]:
    """Rebuild an index of ``count`` chunks, ask for all of them and for as many unknown ones; rows a second of each."""
    dice = random.Random(1)
    packs = [
        (
            Digest(dice.randbytes(32)),
            [PackEntry(Digest(dice.randbytes(32)), 200 + 600_000 * at, 500, 600, 3) for at in range(_CHUNKS_PER_PACK)],
        )
        for _ in range(count // _CHUNKS_PER_PACK)
    ]
    wanted = [entry.digest for _, entries in packs for entry in entries]
    dice.shuffle(wanted)
    unknown = [dice.randbytes(32) for _ in wanted]
    rates = {}
    gc.collect()
    gc.freeze()  # the millions of values made above are not what is measured
    with open_index(url) as index:
        start = time.perf_counter()
        with index.rebuilding():
            for pack, entries in packs:
                index.add_pack(pack, 64 << 20, entries, 0)
        rates["rebuilt"] = count / (time.perf_counter() - start)
        for name, asked, share in (("found", wanted, 1), ("missed", unknown, 0)):
            found = 0
            start = time.perf_counter()
            for at in range(0, count, _ASKED_AT_ONCE):
                found += len(index.find_chunks(asked[at : at + _ASKED_AT_ONCE], 0))
            rates[name] = count / (time.perf_counter() - start)
            assert found == share * count
        start = time.perf_counter()
        for pack, entries in packs[:100]:
            index.add_pack(Digest.of(pack.raw), 64 << 20, entries, 0)
        rates["added pack by pack"] = 100 * _CHUNKS_PER_PACK / (time.perf_counter() - start)
        start = time.perf_counter()
        totals = index.stats().by_codec[3]
        rates["counted by stats"] = totals.chunks / (time.perf_counter() - start)
        assert totals.chunks == count
    gc.unfreeze()
    return rates


@pytest.mark.slow
def test_an_index_of_many_chunks_is_quick(url):
    """Far below what is measured in docs/design/005-index.md, so that only a change of order of magnitude fails."""
    rates = measure(url, 20_000)
    assert min(rates["rebuilt"], rates["found"], rates["missed"]) > 5_000


if __name__ == "__main__":
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        for what, rate in measure(sys.argv[2] if len(sys.argv) > 2 else f"{folder}/index.sqlite", chunks).items():
            sys.stdout.write(f"{what:20} {rate:12,.0f} rows/s\n")

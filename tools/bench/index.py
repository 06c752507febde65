"""How many chunks a second the index takes in and finds again: a large store's worth of rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cas.format import Digest, PackEntry
from cas.index import Index

__all__ = ["Step", "measure"]

CHUNKS_PER_PACK = 256  # 64 MiB in chunks of a quarter of a MiB
BATCH = 10_000  # the chunks of a checkpoint of a few GB, looked up at once
GENERATION = 1


@dataclass(frozen=True, slots=True)
class Step:
    """So many rows, handled in so many seconds."""

    name: str
    rows: int
    wall_s: float

    @property
    def rows_per_s(self) -> float:
        """Rows a second."""
        return self.rows / self.wall_s


def measure(chunks: int, scratch: Path) -> list[Step]:
    """Insert packs until the index knows ``chunks`` chunks, then look up as many it knows and as many it does not.

    Raises:
        AssertionError: a look-up's answer is wrong.
    """
    rng = random.Random(0)
    digests = [Digest(rng.randbytes(32)) for _ in range(chunks)]
    packs = [
        (
            Digest(rng.randbytes(32)),
            [_entry(digest, place) for place, digest in enumerate(digests[at : at + CHUNKS_PER_PACK])],
        )
        for at in range(0, chunks, CHUNKS_PER_PACK)
    ]
    unknown = [Digest(rng.randbytes(32)) for _ in range(chunks)]
    rng.shuffle(digests)  # a look-up comes in a file's order, not in the index's

    def add_packs() -> None:
        for pack, entries in packs:
            index.add_pack(pack, 64 << 20, entries, GENERATION)

    def rebuild() -> None:
        with index.rebuilding():
            add_packs()

    def find(wanted: list[Digest], expected: int) -> None:
        found = sum(len(index.find_chunks(wanted[at : at + BATCH], GENERATION)) for at in range(0, chunks, BATCH))
        if found != expected:
            raise AssertionError(f"{found} chunks found, not {expected}")

    with Index.open(str(scratch / "index.sqlite")) as index:
        return [
            Step("insert, pack by pack (put)", chunks, _seconds(add_packs)),
            Step("find what is there", chunks, _seconds(lambda: find(digests, chunks))),
            Step("find what is not", chunks, _seconds(lambda: find(unknown, 0))),
            Step("insert, all at once (reindex)", chunks, _seconds(rebuild)),
        ]


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _entry(digest: Digest, place: int) -> PackEntry:
    return PackEntry(digest, 1024 + place * (1 << 18), stored_bytes=1 << 17, raw_bytes=1 << 18, codec=1)

"""What a store holds in all, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from cas.index.schema import checkpoints, chunks, commits, packs

__all__ = ["CodecTotals", "IndexStats", "read_stats"]


class CodecTotals(NamedTuple):
    """The distinct chunks that one codec encoded: how many, their raw and their encoded bytes."""

    chunks: int
    raw_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class IndexStats:
    """A store in numbers.

    Attributes:
        checkpoints: distinct checkpoints.
        commits: commits.
        logical_bytes: what plain copies of all distinct checkpoints would take.
        committed_bytes: the same with a copy for every commit: what a folder per save would take.
        unique_bytes: raw bytes of distinct chunks: what is left after deduplication.
        stored_bytes: encoded bytes of distinct chunks: what is left after encoding too.
        pack_bytes: all packs, with headers, tables, second copies and what gc has not taken yet.
        by_codec: the distinct chunks of each codec.
    """

    checkpoints: int
    commits: int
    logical_bytes: int
    committed_bytes: int
    unique_bytes: int
    stored_bytes: int
    pack_bytes: int
    by_codec: dict[int, CodecTotals]


def read_stats(connection: Connection) -> IndexStats:
    """Count everything; of a chunk in several packs the place that `find_chunks` would give."""
    place = func.row_number().over(partition_by=chunks.c.digest, order_by=packs.c.digest)
    ranked = select(chunks.c.codec, chunks.c.raw_bytes, chunks.c.stored_bytes, place.label("place")).join(packs)
    distinct = ranked.subquery()
    totals = (
        select(distinct.c.codec, func.count(), func.sum(distinct.c.raw_bytes), func.sum(distinct.c.stored_bytes))
        .where(distinct.c.place == 1)
        .group_by(distinct.c.codec)
    )
    by_codec = {
        # int(): PostgreSQL sums large integers as decimals
        codec: CodecTotals(number, int(raw), int(stored))
        for codec, number, raw, stored in connection.execute(totals)
    }
    checkpoint_count, logical = connection.execute(
        select(func.count(), func.coalesce(func.sum(checkpoints.c.size_bytes), 0)).select_from(checkpoints)
    ).one()
    commit_count = connection.scalar(select(func.count()).select_from(commits))
    committed = connection.scalar(
        select(func.coalesce(func.sum(checkpoints.c.size_bytes), 0)).join_from(
            commits, checkpoints, commits.c.checkpoint == checkpoints.c.hash
        )
    )
    pack_bytes = connection.scalar(select(func.coalesce(func.sum(packs.c.size_bytes), 0)))
    return IndexStats(
        checkpoints=checkpoint_count,
        commits=int(commit_count or 0),
        logical_bytes=int(logical),
        committed_bytes=int(committed or 0),
        unique_bytes=sum(total.raw_bytes for total in by_codec.values()),
        stored_bytes=sum(total.stored_bytes for total in by_codec.values()),
        pack_bytes=int(pack_bytes or 0),
        by_codec=dict(sorted(by_codec.items())),
    )

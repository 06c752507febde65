"""Reading ahead of the caller: a few threads, results in order, a bounded number of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["WORKERS", "ahead", "in_batches"]

K = TypeVar("K")
T = TypeVar("T")

# Each worker has a few MiB in hand, so that memory would grow with the machine; and 8 outrun any disk or
# network that we have met, whatever a big machine's number of cores.
WORKERS = max(2, min(os.cpu_count() or 2, 8))


def ahead(threads: int, read: Callable[[K], T], wanted: Iterable[K]) -> Generator[T, None, None]:
    """``read`` of everything wanted, in order, by ``threads`` threads; by the caller's own if there are none.

    Once the iterator is closed or exhausted, no ``read`` runs any more.
    """
    if threads == 0:
        yield from map(read, wanted)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="cas-read") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for one in wanted:
                waiting.append(pool.submit(read, one))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def in_batches(items: Iterable[T], limit: int, weigh: Callable[[T], int] = lambda _: 1) -> Iterator[list[T]]:
    """``items`` in lists that end with the item by which they weigh ``limit`` or more."""
    batch: list[T] = []
    weight = 0
    for item in items:
        batch.append(item)
        weight += weigh(item)
        if weight >= limit:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch

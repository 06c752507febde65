"""Leases: what keeps gc away from a writer's work in flight.

A writer notes the generation, opens a lease that records it and looks again: if
the generation moved meanwhile, gc may not have seen the lease, so it starts
over. Times are the store's, because machines disagree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from cas.errors import ConflictError, StorageError
from cas.format import Lease
from cas.format.ref import sequence_of
from cas.repository.keys import GENERATIONS
from cas.storage.base import Storage

__all__ = ["LEASE_S", "HeldLease", "current_generation"]

LEASE_S = 3600
_NEARLY_OVER_S = LEASE_S / 10  # so little could pass before a longer lease is written
_TRIES = 10


def current_generation(storage: Storage) -> int:
    """The store's generation: the highest number under ``generations/``, 0 before the first gc."""
    numbers = (sequence_of(info.key[len(GENERATIONS) + 1 :]) for info in storage.list(f"{GENERATIONS}/"))
    return max((number for number in numbers if number is not None), default=0)


class HeldLease:
    """A lease this process holds in a store.

    While it stands, what was found in `generation` stays. Once it lapsed that is over: whoever goes on
    opens another by `renew`, in the generation of then, and looks again for what it found before.
    """

    def __init__(self, storage: Storage, now_s: Callable[[], float] = time.monotonic) -> None:
        """Open a lease.

        Args:
            storage: where.
            now_s: a clock that only rises, in seconds.

        Raises:
            ConflictError: the generation moved at every try, as if gc ran without pause.
        """
        self._storage, self._now_s = storage, now_s
        self._open()

    @property
    def generation(self) -> int:
        """The generation that rows of the index must have been learnt in to count."""
        return self._lease.generation

    def lapsed(self) -> bool:
        """Whether gc may have taken this writer for dead, so that what it reuses must be looked at again."""
        return self._left_s() <= 0

    def extend(self) -> None:
        """Make the lease stand longer if half of its time has gone. Nothing happens to one that lapsed."""
        if _NEARLY_OVER_S < self._left_s() < LEASE_S / 2:
            self._write(self._lease)

    def renew(self) -> bool:
        """As `extend`, and open another lease if this one lapsed, or the generation has moved since it was opened.

        Returns:
            Whether another was opened: what was found under the one before does not count any more.
        """
        left_s = self._left_s()
        if left_s >= LEASE_S / 2:
            return False
        if left_s > _NEARLY_OVER_S and current_generation(self._storage) == self.generation:
            self._write(self._lease)
            return False
        before = self._lease
        self._open()
        self._delete(before)
        return True

    def release(self) -> None:
        """Give the lease up."""
        self._delete(self._lease)

    def _left_s(self) -> float:
        return self._until_s - self._now_s()

    def _open(self) -> None:
        for _ in range(_TRIES):
            generation = current_generation(self._storage)
            self._write(Lease(os.urandom(16), generation, 0))
            if current_generation(self._storage) == generation:
                return
            self._delete(self._lease)
        raise ConflictError(
            f"the generation of {self._storage.url} moved {_TRIES} times while a lease was opened; try again"
        )

    def _delete(self, lease: Lease) -> None:
        # It expires by itself, and what it protected is stored by now: no reason to call that a failure.
        with suppress(StorageError):
            self._storage.delete(lease.key)

    def _write(self, lease: Lease) -> None:
        began_s = self._now_s()
        expires_us = self._storage.now_us() + LEASE_S * 1_000_000
        self._lease = Lease(lease.id, lease.generation, expires_us)
        self._storage.replace(self._lease.key, [self._lease.encode()])
        # Counted from before the store's clock was read: never later than the store's own idea.
        self._until_s = began_s + LEASE_S

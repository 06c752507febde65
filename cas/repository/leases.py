"""Leases: what keeps gc away from a writer's work in flight.

A writer notes the generation, opens a lease that records it and looks again: if
the generation moved meanwhile, gc may not have seen the lease, so it starts
over. Times are the store's, because machines disagree.
"""

from __future__ import annotations

import os
import time

from cas.errors import ConflictError
from cas.format import Lease
from cas.format.ref import sequence_of
from cas.repository.keys import GENERATIONS
from cas.storage.base import Storage

__all__ = ["LEASE_S", "HeldLease", "current_generation"]

LEASE_S = 3600
_RENEW_BELOW_S = LEASE_S / 2
_TRIES = 10


def current_generation(storage: Storage) -> int:
    """The store's generation: the highest number under ``generations/``, 0 before the first gc."""
    numbers = (sequence_of(info.key[len(GENERATIONS) + 1 :]) for info in storage.list(f"{GENERATIONS}/"))
    return max((number for number in numbers if number is not None), default=0)


class HeldLease:
    """A lease this process holds in a store, renewed as long as it is used."""

    def __init__(self, storage: Storage) -> None:
        """Open a lease.

        Raises:
            ConflictError: the generation moved at every try, as if gc ran without pause.
        """
        self._storage = storage
        for _ in range(_TRIES):
            generation = current_generation(storage)
            self._write(Lease(os.urandom(16), generation, 0))
            if current_generation(storage) == generation:
                return
            self.release()
        raise ConflictError(f"the generation of {storage.url} moved {_TRIES} times while a lease was opened; try again")

    @property
    def generation(self) -> int:
        """The generation that rows of the index must have been learnt in to count."""
        return self._lease.generation

    def lapsed(self) -> bool:
        """Whether gc may have taken this writer for dead, so that what it reuses must be looked at again."""
        return time.monotonic() >= self._until_s

    def renew(self) -> None:
        """Extend the lease if half of its time has gone."""
        if self._until_s - time.monotonic() < _RENEW_BELOW_S:
            self._write(self._lease)

    def release(self) -> None:
        """Give the lease up."""
        self._storage.delete(self._lease.key)

    def _write(self, lease: Lease) -> None:
        began_s = time.monotonic()
        expires_us = self._storage.now_us() + LEASE_S * 1_000_000
        self._lease = Lease(lease.id, lease.generation, expires_us)
        self._storage.replace(self._lease.key, [self._lease.encode()])
        # Counted from before the store's clock was read: never later than the store's own idea.
        self._until_s = began_s + LEASE_S

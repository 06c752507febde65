"""Try again what may work the next time.

The one place in cas that retries: the client libraries underneath are told not
to, because a conditional write that a library repeats in silence after a lost
answer finds its own object and reports a conflict. Here such a conflict is told
from a real one by reading back.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cas.errors import ConflictError, NotFoundError, StorageError
from cas.format import Buffer
from cas.storage.base import ObjectInfo, Storage
from cas.storage.keys import byte_views
from cas.storage.upload import BufferedUpload, Upload

__all__ = ["RetryPolicy", "RetryingStorage"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: after failure n, wait anything up to ``first_delay_s * 2**(n - 1)``.

    Attributes:
        attempts: tries in all, the first included.
        first_delay_s: the longest wait before the second try.
        longest_delay_s: where the doubling ends.
        total_s: no try begins later than this after the first failure.

    Source: the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
    """

    attempts: int = 8
    first_delay_s: float = 0.2
    longest_delay_s: float = 10.0
    total_s: float = 60.0

    def delay_limit_s(self, failures: int) -> float:
        """The longest wait after that many failures."""
        return min(self.first_delay_s * 2.0 ** (failures - 1), self.longest_delay_s)


class RetryingStorage:
    """``inner``, with transient failures tried again; the last one is raised as it came.

    Args:
        inner: what does the work.
        policy: how often and how long.
        sleep: waits that many seconds.
        clock: seconds since some fixed moment.
        jitter: draws a wait between zero and the limit it is given.
    """

    def __init__(
        self,
        inner: Storage,
        policy: RetryPolicy | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float], float] = lambda limit_s: random.uniform(0, limit_s),
    ) -> None:
        self.inner = inner
        self._begin = functools.partial(_Backoff, policy or RetryPolicy(), sleep, clock, jitter)

    @property
    def url(self) -> str:
        """The inner storage's."""
        return self.inner.url

    @property
    def local_path(self) -> str | None:
        """The inner storage's."""
        return self.inner.local_path

    @property
    def exclusive_create(self) -> bool:
        """The inner storage's."""
        return self.inner.exclusive_create

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        return self._retry(lambda: self.inner.read(key))

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """See `Storage.read_range`."""
        return self._retry(lambda: self.inner.read_range(key, offset, size_bytes))

    def read_tail(self, key: str, size_bytes: int) -> tuple[bytes, int]:
        """See `Storage.read_tail`."""
        return self._retry(lambda: self.inner.read_tail(key, size_bytes))

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.create`.

        After a failure that may have hidden a success, an object with exactly these bytes counts as
        ours. Where it matters who made it, the bytes therefore hold something only the writer has (a
        ref's write id, a pack's nonce).
        """
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            try:
                self.inner.create(key, data)
            except ConflictError:
                if not (in_doubt and self._holds(key, data)):
                    raise
            except StorageError:
                in_doubt = True
                raise

        self._retry(attempt)

    def upload(self, near: str) -> Upload:
        """See `Storage.upload`. What is collected is sent, and sent again, by `create`; a disk is not asked twice."""
        return BufferedUpload(self) if self.local_path is None else self.inner.upload(near)

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.replace`."""
        self._retry(lambda: self.inner.replace(key, data))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. A listing that breaks off begins anew behind the last key it gave."""
        last = ""
        backoff = self._begin()
        while True:
            try:
                for info in self.inner.list(prefix):
                    if info.key > last:
                        last = info.key
                        backoff = self._begin()
                        yield info
                return
            except StorageError as error:
                backoff.wait_after(error)

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        self._retry(lambda: self.inner.delete(key))

    def sweep(self, before_us: int) -> int:
        """See `Storage.sweep`."""
        return self._retry(lambda: self.inner.sweep(before_us))

    def now_us(self) -> int:
        """See `Storage.now_us`."""
        return self._retry(self.inner.now_us)

    def close(self) -> None:
        """See `Storage.close`."""
        self.inner.close()

    def _holds(self, key: str, data: Sequence[Buffer]) -> bool:
        try:
            rest = memoryview(self.inner.read(key))
        except NotFoundError:  # deleted since: the conflict stands, and the caller looks again
            return False
        for view in byte_views(data):
            if rest[: len(view)] != view:
                return False
            rest = rest[len(view) :]
        return not rest

    def _retry(self, attempt: Callable[[], _Result]) -> _Result:
        backoff = self._begin()
        while True:
            try:
                return attempt()
            except StorageError as error:
                backoff.wait_after(error)


class _Backoff:
    """The waits of one operation."""

    def __init__(
        self,
        policy: RetryPolicy,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
        jitter: Callable[[float], float],
    ) -> None:
        self._policy, self._sleep, self._clock, self._jitter = policy, sleep, clock, jitter
        self._failures = 0
        self._first_failure_s = 0.0

    def wait_after(self, error: StorageError) -> None:
        """Wait before the next try, or raise ``error`` if there is to be none."""
        now_s = self._clock()
        if not self._failures:
            self._first_failure_s = now_s
        self._failures += 1
        if not error.transient or self._failures >= self._policy.attempts:
            raise error
        delay_s = self._jitter(self._policy.delay_limit_s(self._failures))
        if now_s - self._first_failure_s + delay_s > self._policy.total_s:
            raise error
        self._sleep(delay_s)

"""Storages that fail on purpose: crashes, errors, lost answers, full disks; and one that counts.

Each wraps another storage (`inner`) and keeps its promises until it does what
it is for. All may be used from many threads. A test of every crash point reads:

    for step in itertools.count():
        storage = CrashAt(step, MemoryStorage())
        with contextlib.suppress(Crash):
            operation(storage)
        check(storage.inner)
        if not storage.crashed:
            break
"""

from __future__ import annotations

import enum
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from cas.errors import StorageError
from cas.format import Buffer
from cas.storage.base import ObjectInfo, Storage
from cas.storage.upload import BufferedUpload, Upload

__all__ = [
    "CountingStorage",
    "Crash",
    "CrashAt",
    "FailAt",
    "FlakyStorage",
    "FullDisk",
    "Outcome",
    "PassingStorage",
    "random_outcomes",
]

_Result = TypeVar("_Result")

WRITES = frozenset({"create", "replace", "delete", "sweep"})


class PassingStorage:
    """Hands every call to ``inner`` by way of `around`, which subclasses override."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.lock = threading.Lock()

    def around(self, method: str, data: Sequence[Buffer], call: Callable[[], _Result]) -> _Result:
        """Make the call to ``inner``, or not.

        Args:
            method: which of the protocol's methods; a listing passes here once, when it is asked for.
            data: what is to be written; empty for all but create and replace.
            call: makes the call.
        """
        return call()

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
        return self.around("read", (), lambda: self.inner.read(key))

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """See `Storage.read_range`."""
        return self.around("read_range", (), lambda: self.inner.read_range(key, offset, size_bytes))

    def read_tail(self, key: str, size_bytes: int) -> tuple[bytes, int]:
        """See `Storage.read_tail`."""
        return self.around("read_tail", (), lambda: self.inner.read_tail(key, size_bytes))

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.create`."""
        self.around("create", data, lambda: self.inner.create(key, data))

    def upload(self, near: str) -> Upload:
        """See `Storage.upload`. Ends in `create` here, which is what fails."""
        return BufferedUpload(self)

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.replace`."""
        self.around("replace", data, lambda: self.inner.replace(key, data))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        return self.around("list", (), lambda: self.inner.list(prefix))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        self.around("delete", (), lambda: self.inner.delete(key))

    def sweep(self, before_us: int) -> int:
        """See `Storage.sweep`."""
        return self.around("sweep", (), lambda: self.inner.sweep(before_us))

    def now_us(self) -> int:
        """See `Storage.now_us`."""
        return self.around("now_us", (), self.inner.now_us)

    def close(self) -> None:
        """See `Storage.close`."""
        self.inner.close()


class Crash(BaseException):
    """The process dies here. No ``except Exception`` of the code under test may catch it."""


class CrashAt(PassingStorage):
    """Dies at the given step, and every call after that dies too, from whichever thread.

    Only writes are steps, because dying between two reads is dying after the last write. Each write
    is two: step 2n is before write n takes effect, step 2n + 1 after it did.

    Attributes:
        crashed: whether the step was reached.
    """

    def __init__(self, step: int, inner: Storage) -> None:
        super().__init__(inner)
        self.crashed = False
        self._steps_left = step

    def around(self, method: str, data: Sequence[Buffer], call: Callable[[], _Result]) -> _Result:
        """Count, and die when it is time."""
        if self.crashed:
            raise Crash(method)
        if method not in WRITES:
            return call()
        self._step(f"before {method}")
        result = call()
        self._step(f"after {method}")
        return result

    def _step(self, where: str) -> None:
        with self.lock:
            if self.crashed or self._steps_left == 0:
                self.crashed = True
                raise Crash(where)
            self._steps_left -= 1


class FailAt(PassingStorage):
    """Fails at the call of the given number, counted from 0, before it takes effect. Others pass.

    Args:
        step: which call.
        inner: what takes the others.
        error: what is raised.
        methods: which methods count; all by default.

    Attributes:
        failed: whether the step was reached.
    """

    def __init__(
        self,
        step: int,
        inner: Storage,
        error: Exception | None = None,
        methods: Iterable[str] | None = None,
    ) -> None:
        super().__init__(inner)
        self.failed = False
        self._error = error or StorageError("failed on purpose")
        self._methods = None if methods is None else frozenset(methods)
        self._calls_left = step

    def around(self, method: str, data: Sequence[Buffer], call: Callable[[], _Result]) -> _Result:
        """Count, and fail when it is time."""
        if self._methods is None or method in self._methods:
            with self.lock:
                self._calls_left -= 1
                if self._calls_left == -1:
                    self.failed = True
                    raise self._error
        return call()


class Outcome(enum.Enum):
    """What becomes of one call."""

    DONE = "done"
    FAILED = "failed, and nothing happened"
    LOST = "done, and the answer was lost"


def random_outcomes(seed: int, failure_rate: float) -> Iterator[Outcome]:
    """Endless outcomes, of which ``failure_rate`` are failures, half of them lost answers."""
    draw = random.Random(seed)
    while True:
        yield draw.choice((Outcome.FAILED, Outcome.LOST)) if draw.random() < failure_rate else Outcome.DONE


class FlakyStorage(PassingStorage):
    """A network on a bad day: every call takes the next outcome; when there are no more, all are done."""

    def __init__(self, inner: Storage, outcomes: Iterable[Outcome]) -> None:
        super().__init__(inner)
        self._outcomes = iter(outcomes)

    def around(self, method: str, data: Sequence[Buffer], call: Callable[[], _Result]) -> _Result:
        """Do what the next outcome says; failures are transient."""
        with self.lock:
            outcome = next(self._outcomes, Outcome.DONE)
        if outcome is Outcome.FAILED:
            raise StorageError(f"{method}: no connection, on purpose", transient=True)
        result = call()
        if outcome is Outcome.LOST:
            raise StorageError(f"{method}: the answer was lost, on purpose", transient=True)
        return result


class FullDisk(PassingStorage):
    """Takes ``capacity_bytes`` of new objects in all, then says that no space is left. Deleting frees nothing."""

    def __init__(self, inner: Storage, capacity_bytes: int) -> None:
        super().__init__(inner)
        self._free_bytes = capacity_bytes

    def around(self, method: str, data: Sequence[Buffer], call: Callable[[], _Result]) -> _Result:
        """Refuse a write that does not fit."""
        needed_bytes = _size_bytes(data)
        if method in ("create", "replace"):
            with self.lock:
                if needed_bytes > self._free_bytes:
                    raise StorageError(f"cannot write {self.url}: no space left, on purpose")
                self._free_bytes -= needed_bytes
        return call()


class CountingStorage(PassingStorage):
    """Counts calls and the bytes they moved.

    Attributes:
        calls: by method.
        bytes: by method; read or written.
    """

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def around(self, method: str, data: Sequence[Buffer], call: Callable[[], _Result]) -> _Result:
        """Make the call and count it, failed or not; bytes count where it succeeded."""
        with self.lock:
            self.calls[method] += 1
        result = call()
        read = result[0] if method == "read_tail" and isinstance(result, tuple) else result
        with self.lock:
            self.bytes[method] += _size_bytes(data) + (len(read) if isinstance(read, bytes) else 0)
        return result


def _size_bytes(data: Sequence[Buffer]) -> int:
    return sum(memoryview(buffer).nbytes for buffer in data)

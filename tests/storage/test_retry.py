"""Retries: when, how often, how long, and what a repeated create must not do."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import CasError, ConflictError, NotFoundError, RefusedError, StorageError
from cas.storage import MemoryStorage, RetryingStorage, RetryPolicy, Storage
from cas.testing.faults import CountingStorage, FailAt, FlakyStorage, Outcome

FAILURES = st.sampled_from([Outcome.FAILED, Outcome.LOST])
OUTCOMES = st.lists(st.sampled_from(Outcome), max_size=7)


@dataclass
class Clock:
    """A clock that only sleeping, and what a test adds, moves."""

    now_s: float = 1000.0
    slept_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.now_s += delay_s


def retrying(inner: Storage, policy: RetryPolicy | None = None, share: float = 1.0) -> tuple[RetryingStorage, Clock]:
    clock = Clock()
    storage = RetryingStorage(inner, policy, sleep=clock.sleep, clock=clock, jitter=lambda limit_s: share * limit_s)
    return storage, clock


@settings(deadline=None)
@given(attempts=st.integers(1, 12), failures=st.integers(0, 15), share=st.floats(0, 1), total_s=st.floats(0.1, 100))
def test_waits_double_within_bounds(attempts, failures, share, total_s):
    """Tries end at the first success, at the last attempt or when time is up; no wait exceeds its limit."""
    policy = RetryPolicy(attempts, first_delay_s=0.5, longest_delay_s=8.0, total_s=total_s)
    inner = CountingStorage(FlakyStorage(MemoryStorage(), [Outcome.FAILED] * failures))
    storage, clock = retrying(inner, policy, share)
    succeeded = False
    with contextlib.suppress(StorageError):
        storage.replace("k", [b"x"])
        succeeded = True

    tries = inner.calls["replace"]
    limits_s = [min(0.5 * 2**number, 8.0) for number in range(tries - 1)]
    assert clock.slept_s == [share * limit_s for limit_s in limits_s]
    assert sum(clock.slept_s) <= total_s
    assert tries <= attempts
    assert succeeded == (tries == failures + 1)
    if not succeeded and tries < attempts:
        assert sum(clock.slept_s) + share * min(0.5 * 2 ** (tries - 1), 8.0) > total_s


def test_jitter_is_full_unless_told_otherwise():
    """Writers that failed together do not come back together: waits spread from zero to the limit."""
    clock = Clock()
    for _ in range(200):
        inner = FlakyStorage(MemoryStorage(), [Outcome.FAILED])
        RetryingStorage(inner, RetryPolicy(first_delay_s=1.0), sleep=clock.sleep).now_us()

    assert 0 <= min(clock.slept_s) < 0.1
    assert 0.9 < max(clock.slept_s) <= 1.0


@pytest.mark.parametrize("error", [StorageError("no space"), NotFoundError("k"), ConflictError("k"), RefusedError("k")])
def test_only_transient_failures_are_tried_again(error):
    """Everything else is the caller's to hear, at once and as it came."""
    storage, clock = retrying(FailAt(0, MemoryStorage(), error))

    with pytest.raises(CasError) as caught:
        storage.now_us()
    assert caught.value is error
    assert clock.slept_s == []


@settings(deadline=None)
@given(outcomes=OUTCOMES)
def test_every_call_gets_through_bad_weather(outcomes):
    """Fewer failures than attempts are not noticed, whatever was lost: the objects are as if nothing had happened."""
    memory = MemoryStorage()
    for key in ("a/1", "a/2", "b", "old"):
        memory.create(key, [key.encode()])

    def weather() -> RetryingStorage:
        return retrying(FlakyStorage(memory, outcomes))[0]

    weather().create("new", [b"n", b"ew"])
    weather().replace("b", [b"changed"])
    weather().delete("old")
    assert weather().read("new") == b"new"
    assert weather().read_range("new", 1, 2) == b"ew"
    assert weather().read_tail("b", 3) == (b"ged", 7)
    assert [info.key for info in weather().list("")] == ["a/1", "a/2", "b", "new"]
    assert weather().sweep(0) == 0
    assert weather().now_us() > 0


@settings(deadline=None)
@given(mine=st.binary(max_size=30), theirs=st.binary(max_size=30), outcomes=OUTCOMES, cut=st.integers(0, 30))
def test_a_create_in_doubt_is_ours_only_if_the_bytes_are(mine, theirs, outcomes, cut):
    """Where another's object has the key, a create succeeds only after a failure, and only with the same bytes."""
    memory = MemoryStorage()
    memory.create("k", [theirs])
    storage, _ = retrying(FlakyStorage(memory, outcomes))
    try:
        storage.create("k", [mine[:cut], bytearray(mine[cut:]), b""])
        won = True
    except ConflictError:
        won = False

    in_doubt = bool(outcomes) and outcomes[0] is Outcome.FAILED
    assert won == (in_doubt and mine == theirs)
    assert memory.read("k") == theirs


@settings(deadline=None)
@given(doubts=st.lists(FAILURES, min_size=1, max_size=3), reading=st.lists(FAILURES, max_size=3))
def test_reading_back_may_fail_as_well(doubts, reading):
    """Doubt stays until it is resolved, and no second object or false conflict comes of it."""
    storage, _ = retrying(FlakyStorage(MemoryStorage(), [*doubts, Outcome.DONE, *reading]))
    storage.create("k", [b"x" * 10])

    assert storage.read("k") == b"x" * 10


def test_a_conflict_without_doubt_is_a_conflict():
    """Equal bytes do not make another's object ours when nothing was lost."""
    memory = MemoryStorage()
    memory.create("k", [b"same"])
    storage, _ = retrying(memory)

    with pytest.raises(ConflictError):
        storage.create("k", [b"same"])


class Vanishing(MemoryStorage):
    """Another's object that is gone by the time it is read."""

    def read(self, key):
        self.delete(key)
        return super().read(key)


def test_an_object_that_vanished_is_no_ground_for_success():
    """The key was taken and is free again: the caller hears of the conflict and looks again."""
    inner = Vanishing()
    inner.create("k", [b"x"])
    storage, _ = retrying(FlakyStorage(inner, [Outcome.FAILED]))

    with pytest.raises(ConflictError):
        storage.create("k", [b"x"])
    storage.create("k", [b"x"])


class Breaking(MemoryStorage):
    """Its listings break off after some entries, the given numbers of them in turn."""

    def __init__(self, breaks: list[int]) -> None:
        super().__init__()
        self.breaks = breaks

    def list(self, prefix):
        left = self.breaks.pop(0) if self.breaks else None
        for info in super().list(prefix):
            if left == 0:
                raise StorageError("the connection broke", transient=True)
            left = None if left is None else left - 1
            yield info


@settings(deadline=None)
@given(breaks=st.lists(st.integers(0, 12), max_size=7))
def test_a_listing_that_breaks_off_is_whole_in_the_end(breaks):
    """Each object once, in order, wherever it broke; what was given already is not given again."""
    inner = Breaking(breaks)
    keys = [f"{number:02d}" for number in range(12)]
    for key in keys:
        inner.create(key, [b""])
    storage, _ = retrying(inner)

    assert [info.key for info in storage.list("")] == keys


def test_a_listing_that_gets_nowhere_ends():
    """Attempts are counted from the last progress, so a long listing has many, and a dead one few."""
    inner = Breaking([3] * 100)
    for number in range(10):
        inner.create(str(number), [b""])
    storage, clock = retrying(inner, RetryPolicy(attempts=4))
    seen = []

    def read_all():
        for info in storage.list(""):
            clock.now_s += 1e6  # the caller takes its time, which is nobody's failure
            seen.append(info.key)

    with pytest.raises(StorageError, match="broke"):
        read_all()
    assert seen == ["0", "1", "2"]
    assert len(clock.slept_s) == 3


def test_what_is_wrapped_shows_through():
    """URL, folder and exclusiveness are the inner storage's."""
    inner = MemoryStorage()
    storage, _ = retrying(inner)

    assert (storage.url, storage.local_path, storage.exclusive_create) == (inner.url, None, True)

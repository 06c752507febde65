"""The test kit's failing storages fail as they say, so that tests built on them mean something."""

from __future__ import annotations

import contextlib
import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import ConflictError, StorageError
from cas.storage import MemoryStorage, Storage
from cas.testing.faults import (
    CountingStorage,
    Crash,
    CrashAt,
    FailAt,
    FlakyStorage,
    FullDisk,
    Outcome,
    random_outcomes,
)


def keys(storage: Storage) -> list[str]:
    return [info.key for info in storage.list("")]


def publish(storage: Storage) -> None:
    """Three writes with reads between them."""
    storage.create("pack", [b"p"])
    storage.read("pack")
    storage.create("commit", [b"c"])
    list(storage.list(""))
    storage.replace("ref", [b"r"])
    storage.now_us()


def test_crash_steps_cover_before_and_after_every_write():
    """Two for each write, none for reads, and the first step beyond the last does not crash."""
    left = []
    for step in itertools.count():
        storage = CrashAt(step, MemoryStorage())
        with contextlib.suppress(Crash):
            publish(storage)
        left.append(keys(storage.inner))
        if not storage.crashed:
            break

    one, two, three = ["pack"], ["commit", "pack"], ["commit", "pack", "ref"]
    assert left == [[], one, one, two, two, three, three]


def test_the_dead_do_nothing_more():
    """After the crash every call of every thread dies, reads included, even where the code under test goes on."""
    storage = CrashAt(1, MemoryStorage())
    storage.list("")
    died = []

    def work() -> None:
        for act in (lambda: storage.create("a", [b"x"]), lambda: storage.create("b", [b"x"]), storage.now_us):
            try:
                act()
            except Crash:
                died.append(True)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(died) == 6
    assert keys(storage.inner) == ["a"]


def test_a_crash_is_no_exception():
    """Code that catches every Exception does not survive it."""
    assert not issubclass(Crash, Exception)


def test_one_call_fails_and_the_others_pass():
    """The call of that number, of the methods that count, before it takes effect."""
    storage = FailAt(1, MemoryStorage(), StorageError("sorry"), methods=["create"])
    storage.create("a", [b"x"])
    storage.read("a")
    assert not storage.failed
    with pytest.raises(StorageError, match="sorry"):
        storage.create("b", [b"x"])
    storage.create("c", [b"x"])

    assert storage.failed
    assert keys(storage) == ["a", "c"]


@settings(deadline=None)
@given(outcomes=st.lists(st.sampled_from(Outcome), max_size=8))
def test_lost_answers_took_effect_and_failures_did_not(outcomes):
    """Each call takes the next outcome; when they are used up all is well."""
    memory = MemoryStorage()
    storage = FlakyStorage(memory, outcomes)
    for number, outcome in enumerate([*outcomes, Outcome.DONE]):
        if outcome is Outcome.DONE:
            storage.create(str(number), [b"x"])
        else:
            with pytest.raises(StorageError) as caught:
                storage.create(str(number), [b"x"])
            assert caught.value.transient
        assert (str(number) in keys(memory)) == (outcome is not Outcome.FAILED)


def test_random_outcomes_repeat():
    """The same seed gives the same weather, about as bad as asked for."""
    first, second = (list(itertools.islice(random_outcomes(7, 0.3), 1000)) for _ in range(2))

    assert first == second
    assert 200 < sum(outcome is not Outcome.DONE for outcome in first) < 400
    assert set(first) == set(Outcome)


def test_a_full_disk_takes_what_fits():
    """What does not fit is not there; reading, deleting and smaller objects go on."""
    storage = FullDisk(MemoryStorage(), 10)
    storage.create("a", [b"12345", b"6"])
    for act in (storage.create, storage.replace):
        with pytest.raises(StorageError, match="no space left") as caught:
            act("b", [b"12345"])
        assert not caught.value.transient
    storage.create("c", [b"1234"])
    storage.delete("a")

    assert keys(storage) == ["c"]


def test_calls_and_bytes_are_counted():
    """By method, failed calls included, bytes only of those that succeeded."""
    storage = CountingStorage(MemoryStorage())
    storage.create("a", [b"12345", b"6"])
    with pytest.raises(ConflictError):
        storage.create("a", [b"1"])
    storage.read("a")
    storage.read_range("a", 0, 2)
    storage.read_tail("a", 3)
    list(storage.list(""))

    assert storage.calls == {"create": 2, "read": 1, "read_range": 1, "read_tail": 1, "list": 1}
    assert {method: size for method, size in storage.bytes.items() if size} == {
        "create": 6,
        "read": 6,
        "read_range": 2,
        "read_tail": 3,
    }

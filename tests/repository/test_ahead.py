"""Reading ahead: in order, bounded, and with no more threads on a big machine than on a small one."""

from __future__ import annotations

import importlib.util
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.repository import ahead as module
from cas.repository.ahead import ahead, in_batches


@pytest.mark.parametrize(("cores", "workers"), [(None, 2), (1, 2), (6, 6), (192, 8)])
def test_a_big_machine_does_not_take_more_memory(monkeypatch, cores, workers):
    """Workers, each with some MiB in hand, are as many as the cores, and 8 at most."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    spec = importlib.util.spec_from_file_location("ahead_again", module.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert workers == again.WORKERS


@pytest.mark.parametrize("threads", [0, 3])
def test_results_come_in_order_and_few_are_waiting(threads):
    """Of an endless input no more is read than the threads have in hand."""
    lock, read = threading.Lock(), []

    def note(number: int) -> int:
        with lock:
            read.append(number)
        return -number

    endless = iter(range(1 << 30))
    results = ahead(threads, note, endless)
    assert [next(results) for _ in range(20)] == [-number for number in range(20)]
    results.close()
    assert next(endless) <= 20 + threads + 2
    assert sorted(read) == list(range(len(read)))


@given(weights=st.lists(st.integers(0, 9)), limit=st.integers(1, 12))
def test_batches_hold_all_in_order_and_end_where_they_are_full(weights, limit):
    """Nothing is lost; only a batch's last item may take it over the limit."""
    batches = list(in_batches(weights, limit, lambda weight: weight))
    assert [weight for batch in batches for weight in batch] == weights
    assert all(sum(batch[:-1]) < limit for batch in batches)
    assert all(sum(batch) >= limit for batch in batches[:-1])

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cas.format import Commit, Digest
from cas.integrations.reports import metrics_of, params_of, step_of

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.floats().map(np.float64), st.integers(-100, 100).map(np.int32), st.integers(0, 9).map(np.array),
    st.builds(object),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(result=st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_whatever_is_reported_can_be_committed(result):
    """No result and no configuration of a training program can make a commit impossible."""
    commit = Commit(Digest(bytes(32)), metrics=metrics_of(result), params=params_of(result), step=step_of(result))

    assert Commit.decode(commit.encode(), commit.id, "it").id == commit.id


def test_metrics_are_the_numbers_of_a_result():
    """Inside of others they have the names that Tune gives them; flags and texts are no metrics."""
    result = {"loss": np.float32(0.5), "eval": {"top1": 1, "ok": True}, "note": "x", "pid": 3, "acc": np.array(2.0)}

    assert metrics_of(result, frozenset({"pid"})) == {"loss": 0.5, "eval/top1": 1, "acc": 2.0}


def test_the_step_is_what_the_program_calls_step():
    """Tune counts reports; a program that counts steps itself is believed."""
    assert step_of({"training_iteration": 3, "step": np.int64(300)}) == 300
    assert step_of({"training_iteration": 3, "step": True}) == 3
    assert step_of({"loss": 1.0}) is None

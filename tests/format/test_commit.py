"""Commits: named by their bytes, and what can be said in one can be read out of it again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import CorruptError, FormatError
from cas.format import Commit, Digest, commit
from cas.format.canonical import MAX_DEPTH, Extension

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
whole = st.integers(-(2**63), 2**63 - 1)
digests = st.binary(min_size=32, max_size=32).map(Digest)
params = st.recursive(
    st.none() | st.booleans() | whole | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
commits = st.builds(
    Commit,
    digests,
    parents=st.lists(digests, unique=True, max_size=3).map(tuple),
    time_us=whole,
    author=text,
    message=text,
    run=text,
    trial=text,
    step=st.none() | whole,
    metrics=st.dictionaries(text, whole | st.floats(allow_nan=False), max_size=3),
    params=st.dictionaries(text, params, max_size=3),
)


@given(commits)
def test_what_is_written_is_read(made: Commit) -> None:
    """decode is the inverse of encode under the commit's own id."""
    read = Commit.decode(made.encode(), made.id, "commit")

    assert read == made
    assert (read.id, read.encode()) == (made.id, made.encode())


@given(commits, commits)
@settings(max_examples=50)
def test_the_id_is_what_was_said(one: Commit, other: Commit) -> None:
    """Two commits have one id only if they have the same bytes."""
    assert (one.id == other.id) == (one.encode() == other.encode())


@given(commits, st.data())
@settings(max_examples=50)
def test_any_change_is_found_by_the_id(made: Commit, data: st.DataObject) -> None:
    """A flipped bit, a cut and a continuation are corrupt, never another commit."""
    good = made.encode()
    flipped = bytearray(good)
    flipped[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = good[: data.draw(st.integers(0, len(good) - 1))]

    for bad in (bytes(flipped), cut, good + b"\0"):
        with pytest.raises(CorruptError):
            Commit.decode(bad, made.id, "commit")


@given(digests, digests)
def test_every_field_is_in_the_id(checkpoint: Digest, parent: Digest) -> None:
    """Nothing that is said can be changed afterwards."""
    made = Commit(checkpoint)
    others = [
        replace(made, checkpoint=Digest.of(checkpoint.raw)),
        replace(made, parents=(parent,)),
        replace(made, parents=(parent, checkpoint)) if parent != checkpoint else replace(made, time_us=2),
        replace(made, time_us=1),
        *(replace(made, **{name: "x"}) for name in ("author", "message", "run", "trial")),
        replace(made, step=0),
        replace(made, metrics={"x": 0}),
        replace(made, metrics={"x": 0.0}),
        replace(made, params={"x": 0}),
        replace(made, params={"x": False}),
    ]

    assert len({made.id, *(other.id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "said",
    [
        {"author": None},
        {"author": b"me"},
        {"message": 3},
        {"message": "\ud800"},
        {"run": None},
        {"trial": 7},
        {"step": 1.0},
        {"step": True},
        {"step": 2**64},
        {"time_us": None},
        {"time_us": 1.5},
        {"parents": (Digest(bytes(32)),) * 2},
        {"parents": tuple(Digest(bytes([n]) * 32) for n in range(65))},
        {"metrics": {"loss": "low"}},
        {"metrics": {"loss": True}},
        {"metrics": {"loss": None}},
        {"metrics": {1: 1}},
        {"params": {"lr": b"0"}},
        {"params": {"lr": [{"a": b"0"}]}},
        {"params": {"lr": {1, 2}}},
        {"params": {"lr": Extension(5, b"")}},
        {"params": {"lr": {1: 2}}},
        {"params": {"lr": 2**64}},
    ],
    ids=str,
)
def test_what_could_not_be_read_back_is_not_written(said: dict[str, Any]) -> None:
    """A commit is written once for ever, so nothing of a wrong type gets into one."""
    with pytest.raises(FormatError):
        Commit(Digest.of(b"checkpoint"), **said)


def test_tuples_are_lists() -> None:
    """Params may come from a config with tuples; the id is that of the lists they are stored as."""
    one, other = (Commit(Digest.of(b""), params={"betas": betas}) for betas in ((0.9, 0.999), [0.9, 0.999]))

    assert one.id == other.id


def test_params_may_nest_as_deep_as_canonical_bytes() -> None:
    """Deeper ones are refused when they are said."""
    param: Any = None
    for _ in range(MAX_DEPTH - 2):
        param = [param]

    assert Commit(Digest.of(b""), params={"deep": param}).params == {"deep": param}
    with pytest.raises(FormatError, match="nested"):
        Commit(Digest.of(b""), params={"deep": [param]})


def test_the_size_of_a_commit_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read back is not written, and what is too large is refused before it is parsed."""
    made = Commit(Digest.of(b""), message="x" * 100)
    monkeypatch.setattr(commit, "MAX_COMMIT_BYTES", len(made.encode()) - 1)

    with pytest.raises(FormatError, match="up to"):
        Commit(Digest.of(b""), message="x" * 100)
    with pytest.raises(FormatError, match="up to"):
        Commit.decode(made.encode(), made.id, "commit")


def test_metrics_that_are_no_numbers_are_absent() -> None:
    """NaN is kept in the commit, and never compares as a value."""
    made = Commit(Digest.of(b""), metrics={"loss": 0.5, "epoch": 3, "nan": math.nan, "inf": math.inf})

    assert [made.metric(name) for name in ("loss", "epoch", "nan", "inf", "none")] == [0.5, 3.0, None, math.inf, None]
    assert Commit.decode(made.encode(), made.id, "commit").id == made.id

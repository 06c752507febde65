"""What the index says about commits, metrics and refs."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.format import Commit, Digest, RefRecord

examples = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])

digests = st.binary(min_size=32, max_size=32).map(Digest)
integers = st.integers(-(1 << 63), (1 << 64) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.one_of(texts, st.just("long" * 100), st.just("a\0b"))
plain = st.one_of(st.none(), st.booleans(), integers, st.floats(), texts)
params = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
commits = st.builds(
    Commit,
    checkpoint=digests,
    parents=st.lists(digests, max_size=3, unique=True).map(tuple),
    time_us=integers,
    author=texts,
    message=texts,
    run=names,
    trial=names,
    step=st.none() | integers,
    metrics=st.dictionaries(names, integers | st.floats(), max_size=4),
    params=st.dictionaries(names, params, max_size=4),
)


@examples
@given(one=commits, other=commits)
def test_a_commit_comes_back_whole(index, one, other):
    """Every field and every type: an int metric stays an int, NaN a NaN, nested params nested, 64 bits 64 bits."""
    with index.rebuilding():
        for commit in (one, other, one):
            index.add_commit(commit)
    for commit in (one, other):
        found = index.find_commit(commit.id)
        assert found is not None
        assert found.encode() == commit.encode()
        assert found.id == commit.id
        assert commit.id in [each.id for each in index.commits_of(commit.checkpoint)]
        assert commit.id in [each.id for each in index.log(run=commit.run, trial=commit.trial)]
    assert index.find_commit(Digest.of(b"no commit")) is None


@examples
@given(history=st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.sampled_from("xy")), max_size=12))
def test_the_log_is_newest_first_and_can_be_narrowed(index, history):
    """By run, by trial, by number; commits of one time have a fixed order."""
    made = [
        Commit(Digest.of(b"c"), time_us=time, run=run, trial=trial, step=at)
        for at, (time, run, trial) in enumerate(history)
    ]
    with index.rebuilding():
        for commit in made:
            index.add_commit(commit)
    newest = sorted(made, key=lambda commit: (commit.time_us, commit.id), reverse=True)

    assert index.log() == newest
    assert index.log(limit=3) == newest[:3]
    assert index.log(run="a") == [commit for commit in newest if commit.run == "a"]
    assert index.log(run="a", trial="x") == [c for c in newest if (c.run, c.trial) == ("a", "x")]
    assert index.log(run="\udcff") == []


@examples
@given(values=st.lists(st.none() | st.integers(-3, 3) | st.floats(), max_size=10), maximize=st.booleans())
def test_the_best_have_the_extreme_value_and_are_never_nan(index, values, maximize):
    """Infinities rank, NaN and a missing metric do not; of equals the oldest comes first."""
    made = [
        Commit(Digest.of(b"c"), time_us=at, run="ab"[at % 2], metrics={} if value is None else {"loss": value, "x": 0})
        for at, value in enumerate(values)
    ]
    with index.rebuilding():
        for commit in made:
            index.add_commit(commit)
    ranked = [(commit.metric("loss"), commit) for commit in made if commit.metric("loss") is not None]
    ranked.sort(key=lambda one: -one[0] if maximize else one[0])

    found = index.best("loss", maximize=maximize, limit=None)
    assert [(value, commit.id) for commit, value in found] == [(value, commit.id) for value, commit in ranked]
    assert not any(math.isnan(value) for _, value in found)
    assert index.best("loss", maximize=maximize, limit=2) == found[:2]
    assert index.best("loss", maximize=maximize, run="b", limit=None) == [one for one in found if one[0].run == "b"]
    assert index.best("accuracy", maximize=maximize) == []


def test_params_can_be_searched_by_anyone_who_knows_sql(index):
    """Beside the commit's bytes stand JSON that is JSON, numbers that are numbers, and text; dicts also inside out."""
    params = {"lr": 1e-3, "deep": {"b": [1, None], "a": math.inf}, "flag": True, "n": 7, "nan": math.nan, "s": "é\0"}
    index.add_commit(Commit(Digest.of(b"c"), params=params))

    rows = {name: columns for _, name, *columns in index.dump()["params"]}
    assert rows == {
        "lr": ["0.001", 0.001, None],
        "deep": ['{"a": "inf", "b": [1, null]}', None, None],
        "deep.a": ['"inf"', math.inf, None],
        "deep.b": ["[1, null]", None, None],
        "flag": ["true", None, None],
        "n": ["7", 7.0, None],
        "nan": ['"nan"', None, "nan"],
        "s": ['"é\\u0000"', None, "é\ufffd"],
    }


def test_a_param_outside_hides_one_inside_of_the_same_name(index):
    """In whatever order a dict was filled, so that a rebuilt index is equal."""
    params = {"a": {"b": {"c": 1}, "d": 2}, "a.b": {"c": 3}, "a.d": 4}
    for ordered in (params, dict(reversed(params.items()))):
        with index.rebuilding():
            index.add_commit(Commit(Digest.of(b"c"), params=ordered))
        numbers = {name: number for _, name, _, number, _ in index.dump()["params"] if number is not None}
        assert numbers == {"a.b.c": 3, "a.d": 4}


records = st.builds(
    lambda name, sequence: RefRecord(
        name, sequence, None if sequence % 3 == 0 else Digest.of(f"{name}{sequence}".encode()), bytes(16), 0
    ),
    st.sampled_from(["main", "best/x", "é"]),
    st.integers(1, 9),
)


@examples
@given(moves=st.lists(records, max_size=12), random=st.randoms())
def test_of_a_ref_the_highest_record_wins(index, moves, random):
    """In whatever order records arrive, and however often; a deletion is a record like any other."""
    with index.rebuilding():
        for record in random.sample(moves, len(moves)) + moves[:2]:
            index.set_ref(record)

    highest: dict[str, RefRecord] = {}
    for record in moves:
        if record.name not in highest or highest[record.name].sequence < record.sequence:
            highest[record.name] = record
    assert index.ref_sequences() == {name: record.sequence for name, record in highest.items()}
    assert index.refs() == {name: record.commit for name, record in highest.items() if record.commit}
    assert list(index.refs()) == sorted(index.refs())

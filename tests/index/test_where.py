"""Searches: what they find, equal on both databases; and what is wrong with those that are none."""

from __future__ import annotations

import fnmatch
import itertools
import math
import operator
import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from cas.errors import FormatError
from cas.format import Commit, Digest
from cas.index.database import Database
from cas.index.rows import insert_new
from cas.index.schema import commits as commits_table
from cas.index.schema import metrics, params
from cas.index.where import Comparison, Field, Operator, parse

examples = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Few values, so that many are equal; among them those that databases treat differently.
NAMES = ["loss", "val/loss", "a.b", "odd name", "and", "long" * 100, ""]
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "é",
    "a_b",
    "50%",
    "[a]",
    "a\\b",
    'it\'s "b"',
    "line\nbreak",
    "nan",
    "true",
    "1",
    "long" * 100,
]
NUMBERS = [0, 1, -1, 0.5, 1e-4, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), math.inf, -math.inf]
PATTERNS = ["*", "a*", "?", "*b", "??", "[a]", "*%", "a_b", "A", "*\n*", "*\\*", "nan", "l*g", ""]
TIMES = [0, 1, 10**15, 10**15 + 1, 1_795_428_000_000_000]

names, texts, numbers, times = map(st.sampled_from, (NAMES, TEXTS, NUMBERS, TIMES))
short = st.sampled_from(TEXTS[:-1])
steps = st.sampled_from([None, 0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1])
scalars = st.one_of(numbers, texts, st.none(), st.booleans(), st.just(math.nan))
commits = st.builds(
    Commit,
    checkpoint=st.just(Digest.of(b"c")),
    time_us=times,
    author=texts,
    message=texts,
    run=short,
    trial=short,
    step=steps,
    metrics=st.dictionaries(names, numbers | st.just(math.nan), max_size=4),
    params=st.dictionaries(names, scalars | st.lists(scalars, max_size=2), max_size=4),
)

_ORDER, _EQUALITY = ["<", "<=", ">", ">="], ["=", "==", "!="]
_COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def _comparisons():
    order, equality = st.sampled_from(_ORDER), st.sampled_from(_EQUALITY)
    any_number = numbers | st.sampled_from([0.25, 1.5, -0.5, 2**63, -(2**70), 10**400])
    text_field = st.sampled_from(["run", "trial", "author", "message"])
    like = st.tuples(st.just("~"), st.sampled_from(PATTERNS))
    return st.one_of(
        st.tuples(st.just("metrics"), names, order, any_number),
        st.tuples(st.just("metrics"), names, equality, any_number | st.sampled_from([math.nan, None])),
        st.tuples(st.just("params"), names, order, any_number),
        st.tuples(st.just("params"), names, equality, scalars),
        st.builds(lambda name, rest: ("params", name, *rest), names, like),
        st.tuples(st.just("step"), st.none(), order, any_number),
        st.tuples(st.just("step"), st.none(), equality, any_number | st.none()),
        st.tuples(st.just("time"), st.none(), order | equality, times),
        st.tuples(text_field, st.none(), equality, texts),
        st.builds(lambda field, rest: (field, None, *rest), text_field, like),
    )


searches = st.recursive(
    _comparisons(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.just("and"), inner, inner),
        st.tuples(st.just("or"), inner, inner),
    ),
    max_leaves=6,
)


def written(search, dice) -> str:
    """A search as somebody might write it."""
    if search[0] == "not":
        return f"{dice.choice(['not', 'NOT', 'not not Not'])} ({written(search[1], dice)})"
    if search[0] in ("and", "or"):
        left, right = (written(inner, dice) for inner in search[1:])
        word = dice.choice([search[0], search[0].upper()])
        return f"({left}) {word}\n ({right})"
    field, name, compared, value = search
    if name is not None:
        plain = re.fullmatch(r"[\w./]+", name) is not None
        field = f"{field}.{name}" if plain and dice.random() < 0.8 else f"{field}.{quoted(name, dice)}"
    space = dice.choice(["", " ", "  "])
    return f"{field}{space}{compared}{space}{value_written(value, field, dice)}"


def quoted(value: str, dice) -> str:
    quote = dice.choice("\"'")
    return quote + value.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def value_written(value, field, dice) -> str:
    if field == "time":
        moment = EPOCH + timedelta(microseconds=value)
        return quoted(dice.choice([moment.isoformat(), str(moment.replace(tzinfo=None))]), dice)
    if isinstance(value, str):
        return quoted(value, dice)
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else (str(value))
    )


def holds(search, commit: Commit) -> bool:
    """The meaning of a search, as docs/search.md says it, over a commit in memory."""
    if search[0] == "not":
        return not holds(search[1], commit)
    if search[0] == "and":
        return holds(search[1], commit) and holds(search[2], commit)
    if search[0] == "or":
        return holds(search[1], commit) or holds(search[2], commit)
    field, name, compared, value = search
    if field in ("metrics", "params"):
        known = getattr(commit, field)
        there, found = known.get(name) is not None, known.get(name)
    else:
        found = getattr(commit, "time_us" if field == "time" else field)
        there = found is not None
    if value is None:
        return there == (compared == "!=")
    if not there:
        return False
    if field in ("metrics", "params"):
        found, value = as_float(found), as_float(value)
    found, value = (
        "nan" if isinstance(one, float) and math.isnan(one) and field == "params" else one for one in (found, value)
    )
    if compared == "~":
        return isinstance(found, str) and matches(found, value)
    if isinstance(found, float) and math.isnan(found):
        equal = isinstance(value, float) and math.isnan(value)
        return {"=": equal, "==": equal, "!=": not equal}.get(compared, False)
    if kind(found) != kind(value):
        return compared == "!="
    return _COMPARE[compared](found, value)


def kind(value) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def as_float(value):
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf


def matches(found: str, pattern: str) -> bool:
    # fnmatch knows [abc] too, which searches do not.
    return re.match(fnmatch.translate(pattern.replace("[", "[[]")), found) is not None


@examples
@given(made=st.lists(commits, max_size=8), search=searches, dice=st.randoms(use_true_random=False))
def test_a_search_finds_what_it_says(index, made, search, dice):
    """The database finds exactly the commits of which it is true, in the log's order, however it is written."""
    with index.rebuilding():
        for commit in made:
            index.add_commit(commit)
    expected = {commit.id for commit in made if holds(search, commit)}
    asked = written(search, dice)

    everything = [commit.id for commit in index.log()]
    assert [commit.id for commit in index.log(where=[asked])] == [one for one in everything if one in expected]
    assert {commit.id for commit in index.log(where=[f"not ({asked})"])} == set(everything) - expected
    assert [c.id for c, _ in index.best("loss", maximize=True, where=[asked], limit=None)] == [
        c.id for c, _ in index.best("loss", maximize=True, limit=None) if c.id in expected
    ]


@pytest.fixture
def history(index):
    """A line of six commits, one beside it, and metrics to search them by."""
    line = []
    for at in range(6):
        about = {"metrics": {"loss": 1 / (at + 1)}, "params": {"lr": 10.0**-at, "adam": {"eps": at}}}
        parents = (line[-1].id,) if line else ()
        line.append(Commit(Digest.of(b"c"), parents, time_us=-at, run="r", trial=str(at % 2), step=at, **about))
    aside = Commit(Digest.of(b"c"), (line[2].id, line[5].id), time_us=100, run="aside", metrics={"loss": 0.0})
    with index.rebuilding():
        for commit in (*line, aside):
            index.add_commit(commit)
    return [*line, aside]


def test_searches_run_and_trial_narrow_together(index, history):
    """All that is given must be true of a commit."""
    found = index.log(run="r", trial="1", where=["metrics.loss < 0.4", "params.lr >= 1e-4"])
    assert [commit.step for commit in found] == [3]
    best = index.best("loss", maximize=False, trial="0", where=["step < 4"], limit=9)
    assert [commit.step for commit, _ in best] == [2, 0]


def test_the_log_of_a_commit_follows_first_parents(index, history):
    """Whatever the clocks said, and however many other parents there are; narrowed like any log."""
    tip = history[6].id
    assert [commit.step for commit in index.log(tip=tip)] == [None, 2, 1, 0]
    assert [commit.step for commit in index.log(tip=tip, where=["step < 2"], limit=1)] == [1]
    assert index.log(tip=Digest.of(b"nobody")) == []


def test_what_is_inside_a_dict_is_searched_by_its_path(index, history):
    """As the param ``adam.eps``; the dict itself is there, and is no number and no text."""
    assert [commit.step for commit in index.log(where=["params.adam.eps > 3"])] == [4, 5]
    assert len(index.log(where=["params.adam != null and params.adam != 'x' and not params.adam > 0"])) == 6


def test_a_run_of_a_long_name_is_found_by_all_of_it_or_by_its_beginning(index):
    """It is indexed by its beginning and its digest; a pattern cannot see the rest."""
    long = "run" * 100
    index.add_commit(Commit(Digest.of(b"c"), run=long))
    index.add_commit(Commit(Digest.of(b"c"), run=long + "!"))
    assert [commit.run for commit in index.log(where=[f"run = '{long}'"])] == [long]
    assert len(index.log(where=["run ~ 'runrun*'"])) == 2
    assert len(index.log(where=["run ~ '*!'"])) == 0


WRONG = {
    "": (1, "a field"),
    "loss < 1": (1, "metrics.NAME"),
    "metrics < 1": (1, "a field"),
    "step.x < 1": (1, "a field"),
    "'loss' < 1": (1, "a field"),
    "metrics. loss < 1": (10, "the name"),
    "metrics.loss": (13, "=, !=, <, <=, > or >="),
    "metrics.loss ~ 'a'": (14, "=, !=, <, <=, > or >="),
    "metrics.loss < ": (16, "a number"),
    "metrics.loss < nan": (16, "a number"),
    "metrics.loss = 'low'": (16, "a number, nan or null"),
    "metrics.loss = 0.1.2": (16, "a number"),
    "params.opt = adam": (14, "a text in quotes"),
    "params.opt < 'adam'": (14, "a number"),
    "step = true": (8, "a number or null"),
    "message < 'a'": (9, "=, != or ~"),
    "run = 'unfinished": (7, "a text in quotes"),
    "run = 'a\\n'": (9, "behind a backslash"),
    "time > 'yesterday'": (8, "a time"),
    "time > 3": (8, "a time"),
    "step = 1 step = 2": (10, "'and', 'or' or the end"),
    "(step = 1": (10, "')'"),
    "step = 1)": (9, "the end"),
    "step = 1 and": (13, "a field"),
    "step = 1; drop table commits": (9, "the end"),
    "ä = 1": (1, "a field"),
    "(" * 60 + "step = 1" + ")" * 60: (11, "10 parentheses"),
    " or ".join(["step = 1"] * 101): (1201, "100 comparisons"),
}


@pytest.mark.parametrize("search", WRONG)
def test_what_is_wrong_is_said_with_its_place(search):
    """The character, counted from one, and what was expected there."""
    at, expected = WRONG[search]
    with pytest.raises(FormatError) as caught:
        parse(search)
    assert str(caught.value).startswith(f"search, character {at}: expected ")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


PIECES = ["metrics.", "params.x", "step", "time", "run", "<", "=", "~", "!", "'", '"', "\\", "(", ")", "not", "and"]
PIECES += ["1", "e", "-", ".", "inf", "nan", "null", "\0", "\ud800"]


@examples
@given(search=st.text(max_size=40) | st.lists(st.sampled_from([*PIECES, " "]), max_size=12).map("".join))
def test_any_text_is_a_search_or_a_format_error(index, search):
    """Never an error of the database's, whatever somebody types."""
    try:
        parse(search)
    except FormatError:
        with pytest.raises(FormatError, match="search"):
            index.log(where=[search])
    else:
        assert index.log(where=[search]) == []


def test_and_binds_closer_than_or_and_not_closest():
    """As everywhere."""
    a, b, c = (Comparison(Field.STEP, "", Operator.EQUAL, at) for at in (1, 2, 3))
    assert parse("step=1 or step=2 and not step=3") == parse("step=1 or (step=2 and (not (step=3)))")
    assert parse("step=1 or step=2 or step=3").terms == (a, b, c)


@pytest.mark.parametrize("word", ["and", "or"])
def test_the_largest_search_is_answered(index, history, word):
    """A hundred comparisons, nested as deep as may be."""
    terms = itertools.cycle(["metrics.loss < 2", "params.lr > 0", "step >= 0"])
    search = f" {word} ".join(next(terms) for _ in range(100))
    assert len(index.log(where=["(" * 10 + search + ")" * 10])) == (6 if word == "and" else 7)
    deepest = "step = 99 or step >= 0 and not (" * 10 + "metrics.loss = 9 or not params.lr > 9" + ")" * 10
    assert len(index.log(where=[deepest])) == 6
    with pytest.raises(FormatError, match="4000 characters"):
        index.log(where=["step = 1" + " " * 4000])


@contextmanager
def plans(database: Database):
    """How the database answers what it is asked in the block, as one text a question."""
    asked, told = [], []

    def note(connection, cursor, statement, parameters, context, many):
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if database.address.is_sqlite else "EXPLAIN"
    with database.reading() as connection:
        for statement, parameters in asked:
            if statement.lstrip().startswith("SELECT commits"):
                rows = connection.exec_driver_sql(f"{explain} {statement}", parameters)
                told.append("\n".join(str(row[-1]) for row in rows))


@pytest.mark.slow
def test_best_and_searches_of_many_commits_go_by_indexes(url, index):
    """The best is where the index by value begins; a search reads no whole table of metrics or params."""
    made = [Commit(Digest.of(b"c"), time_us=at, step=at, metrics={"loss": at * 7919 % 20_000}) for at in range(20_000)]
    with Database.open(url) as database:
        with database.writing() as connection:
            rows = [(c.id.raw, c.checkpoint.raw, c.time_us, "", "", "", "", c.step, c.encode()) for c in made]
            insert_new(connection, commits_table, rows)
            insert_new(
                connection, metrics, [(c.id.raw, name, c.metrics["loss"]) for c in made for name in ("loss", "x")]
            )
            insert_new(connection, params, [(c.id.raw, name, "1", 1.0, None) for c in made for name in ("lr", "seed")])
            connection.exec_driver_sql("ANALYZE")
        with plans(database) as told:
            start = time.perf_counter()
            best = index.best("loss", maximize=True, where=["params.lr >= 1e-4 and step < 19990"])
            log = index.log(where=["metrics.loss < 10 and params.lr >= 1e-4"], limit=100)
            took_s = time.perf_counter() - start
    assert [value for _, value in best] == [max(c.metrics["loss"] for c in made if c.step < 19_990)]
    assert {commit.metrics["loss"] for commit in log} == set(range(10))
    assert took_s < 1  # far above what docs/design/005-index.md says, so that only another order of magnitude fails
    for plan in told:
        assert not re.search(r"^(SCAN|.*Seq Scan on) (metrics|params)\b(?! USING)", plan, re.MULTILINE), plan
    assert "metrics_by_value" in told[0]
    assert re.search(r"metrics_by_value|metrics.* USING PRIMARY KEY", told[1])
    assert re.search(r"params_pkey|params.* USING PRIMARY KEY", told[1])

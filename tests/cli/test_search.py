"""Searching the history from the command line, and an index in PostgreSQL that does not answer."""

from __future__ import annotations

from contextlib import closing

import pytest

from cas.format import Commit, Digest
from cas.storage import open_storage


@pytest.fixture
def history(cas, store, model):
    """Four commits: three of a sweep, on one ref, and one beside them."""
    for step, (loss, lr) in enumerate([(0.5, 0.1), (0.05, 1e-3), (0.02, 1e-5)]):
        (model / "config.json").write_text(str(step))
        about = ["--run", "s", "--trial", step % 2, "--step", step, "-m", f"step {step}", "--metric", f"loss={loss}"]
        chosen = ["--param", f"lr={lr}", "--param", f'adam={{"eps": {step}}}']
        put = cas("put", model, "--ref", "sweep", *about, *chosen)
        assert put.code == 0
    assert cas("put", model, "--metric", "loss=nan", "--param", "note=aside").code == 0


def steps(result) -> list[int | None]:
    assert result.code == 0, result.err
    return [commit["step"] for commit in result.json["commits"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--where", "metrics.loss < 0.1 and params.lr >= 1e-4"], [1]),
        (["-w", "metrics.loss < 0.1", "-w", "params.lr < 1e-4 or step = 7"], [2]),
        (["--where", "not metrics.loss < 0.1"], [None, 0]),
        (["--where", "metrics.loss = nan and params.note ~ 'a*'"], [None]),
        (["--where", "params.adam.eps >= 1", "--trial", "1"], [1]),
        (["--where", "step = null", "--run", "s"], []),
        (["--where", "message ~ 'step ?'", "-n", "2"], [2, 1]),
        (["sweep~1", "--where", "metrics.loss < 0.6"], [1, 0]),
        (["sweep", "--where", "step != 1", "-n", "1"], [2]),
        (["--since", "1h"], [None, 2, 1, 0]),
        (["--since", "2020-01-01", "--until", "1w"], []),
        (["sweep", "--until", "2999-12-31 23:59"], [2, 1, 0]),
    ],
)
def test_log_lists_what_the_search_finds(cas, history, arguments, expected):
    """Newest first, of all or of a REF, together with every other way to narrow it."""
    assert steps(cas("log", "--json", *arguments)) == expected


def test_best_is_the_best_of_what_the_search_finds(cas, history):
    """And nothing found is an error that says so."""
    assert steps(cas("best", "loss", "--json")) == [2]
    assert steps(cas("best", "loss", "--json", "--where", "params.lr >= 1e-4")) == [1]
    assert steps(cas("best", "loss", "--json", "--trial", "0", "--max", "--since", "1d")) == [0]
    nothing = cas("best", "loss", "--trial", "0", "--where", "step > 5")
    assert (nothing.code, nothing.out) == (3, "")
    assert "no commit of trial '0' that the search finds has a metric 'loss'" in nothing.err


def test_history_that_no_ref_leads_to_is_an_error(cas, store, model, tmp_path, monkeypatch):
    """Not an empty list, but what to run; a ref that was deleted before this machine ever saw it is history."""
    monkeypatch.setenv("CAS_INDEX", str(tmp_path / "elsewhere.sqlite"))
    assert cas("log").code == 0
    monkeypatch.delenv("CAS_INDEX")
    put = cas("put", model, "--json", "--ref", "gone", "--step", "9").json
    assert cas("tag", "--delete", "gone").code == 0
    lost = Commit(Digest.parse(put["hash"]), step=9, message="lost a race for its ref")
    with closing(open_storage(str(store))) as storage:
        storage.create(f"commits/{str(lost.id)[:2]}/{lost.id}", [lost.encode()])

    monkeypatch.setenv("CAS_INDEX", str(tmp_path / "elsewhere.sqlite"))
    assert steps(cas("log", put["commit"], "--where", "step = 9", "--json")) == [9]
    unknown = cas("log", lost.id, "--where", "step = 9")
    assert (unknown.code, unknown.out) == (3, "")
    assert f"`cas tag NAME {lost.id}`" in unknown.err
    assert cas("tag", "found", lost.id).code == 0
    assert steps(cas("log", lost.id, "--where", "step = 9", "--json")) == [9]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["log", "--where", "metrics.loss < tiny"], "character 16: expected a number; found 'tiny'"),
        (["log", "-w", "step = 1", "-w", "loss < 1"], "character 1: expected a field"),
        (["log", "sweep", "--where", "run = 's"], "character 7: expected a text in quotes"),
        (["best", "loss", "--where", "step = 1 or"], "character 12: expected a field"),
        (["log", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["log", "--until", "999999w"], "--until '999999w' is no time"),
    ],
)
def test_what_is_no_search_is_a_format_error(cas, history, arguments, told):
    """Exit code 4, one line, with the place and what was expected there."""
    result = cas(*arguments)
    assert (result.code, result.out) == (4, "")
    assert told in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_postgres_that_does_not_answer_is_told_without_secrets(cas, store, model, monkeypatch):
    """Exit code 8, not even in the traceback; then without it everything works as before."""
    pytest.importorskip("psycopg")
    assert cas("put", model, "--ref", "main").code == 0
    monkeypatch.setenv("CAS_INDEX", "postgresql+psycopg://ada:hunter2@127.0.0.1:1/team?sslpassword=hunter3")
    for arguments in (["put", model], ["log"], ["reindex"], ["best", "loss"], ["-q", "stats"]):
        result = cas(*arguments)
        assert (result.code, result.out) == (8, "")
        assert "127.0.0.1" in result.err
        assert len(result.err.strip().splitlines()) <= 2
        assert "hunter" not in result.err
    assert cas("ls", "main").code == 0  # needs no index
    monkeypatch.delenv("CAS_INDEX")
    assert cas("fsck").code == cas("put", model).code == 0

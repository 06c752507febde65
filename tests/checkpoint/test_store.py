"""The Store: put and get from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cas
from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError


@pytest.fixture
def store(tmp_path):
    with cas.open(tmp_path / "store", create=True) as opened:
        yield opened


def test_put_takes_directories_dicts_and_checkpoints(store, tmp_path):
    """All three are trees in the end, and equal content has one hash."""
    data = {"weights": np.arange(1000.0), "epoch": 1}
    first = store.put(data, ref="main", message="a dict")
    checkpoint = store.get("main")
    folder = checkpoint.to_directory(tmp_path / "out")
    second = store.put(folder, ref="main", message="a directory")
    third = store.put(checkpoint, ref="main", message="a checkpoint")

    assert first.checkpoint == second.checkpoint == third.checkpoint
    assert second.new_bytes == third.new_bytes == 0
    assert [commit.message for commit in store.log("main")] == ["a checkpoint", "a directory", "a dict"]
    with pytest.raises(FormatError, match="int"):
        store.put(3)


def test_an_unchanged_directory_is_not_read_again(store, tmp_path):
    """The stat cache knows it: reading would fail, as the test takes the content away under the same stat."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w").write_bytes(b"x" * 100_000)
    import os
    import time

    past = time.time() - 60
    os.utime(folder / "w", (past, past))
    time.sleep(0.05)
    first = store.put(folder)
    reads = []
    store.repository.reader.manifest(first.checkpoint)
    from cas.worktree import source as worktree_source

    original = worktree_source.FileSource.open
    worktree_source.FileSource.open = lambda self: reads.append(self.path) or original(self)
    try:
        again = store.put(folder)
    finally:
        worktree_source.FileSource.open = original
    assert again.checkpoint == first.checkpoint
    assert len(reads) <= 1


def test_commits_say_what_they_were_told(store):
    """Everything comes back from the index and from the store alike."""
    result = store.put(
        {"a": 1}, message="why", metrics={"loss": 0.5, "epoch": 3}, params={"lr": 1e-3, "layers": [1, 2]}, run="r",
        trial="t", step=7, author="me",
    )  # fmt: skip
    (commit,) = store.log(run="r")
    assert commit == result.commit == store.repository.reader.commit(commit.id)
    assert (commit.metrics, commit.params) == ({"loss": 0.5, "epoch": 3}, {"lr": 1e-3, "layers": [1, 2]})
    assert (commit.author, commit.run, commit.trial, commit.step) == ("me", "r", "t", 7)


def test_names(store):
    """Tags do not move unasked; names of nameless commits are not for taking."""
    store.put({"a": 1}, ref="main")
    store.put({"a": 2}, ref="main")
    store.tag("v1", "main~1")
    with pytest.raises(ConflictError, match="v1"):
        store.tag("v1", "main")
    store.tag("v1", "main", force=True)
    assert store.get("v1").to_dict() == {"a": 2}
    with pytest.raises(RefusedError):
        store.tag("detached/x", "main")
    store.delete_ref("v1")
    assert set(store.refs()) == {"main"}


def test_best_by_metric(store):
    """NaN is never best; a metric nobody measured is an error."""
    for loss in (0.5, float("nan"), 0.25, float("inf")):
        store.put({"loss": str(loss)}, metrics={"loss": loss}, run="r")
    assert store.best("loss")[0].metrics["loss"] == 0.25
    assert [commit.metrics["loss"] for commit in store.best("loss", maximize=True, limit=2)] == [float("inf"), 0.5]
    with pytest.raises(NotFoundError, match="accuracy"):
        store.best("accuracy")


def test_which_store_is_meant(tmp_path, monkeypatch):
    """The argument, else CAS_STORE, else the nearest .cas upwards, else the user's own."""
    project = tmp_path / "project"
    (project / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(project)
    cas.Store.init().close()
    monkeypatch.chdir(project / "deep" / "down")
    with cas.open() as store:
        assert store.url == str(project / ".cas")
    other = tmp_path / "other"
    cas.Store.init(other).close()
    monkeypatch.setenv("CAS_STORE", str(other))
    with cas.open() as store:
        assert store.url == str(other)
    with cas.open(project / ".cas") as store:
        assert store.url == str(project / ".cas")
    monkeypatch.delenv("CAS_STORE")
    monkeypatch.chdir(tmp_path)
    with cas.open() as store:
        assert store.url.endswith("cas/store")


def test_two_stores_at_one_url_are_told_apart(tmp_path):
    """Each has an id of its own."""
    with cas.open(tmp_path / "a", create=True) as one, cas.open(tmp_path / "b", create=True) as other:
        assert one.store_id != other.store_id
    with cas.open(tmp_path / "a") as again:
        assert again.store_id == one.store_id


def test_what_a_training_loop_measures_is_taken_as_it_is(store):
    """NumPy's and torch's scalars are the numbers that they hold, paths their text; and a digest is a REV."""
    torch = pytest.importorskip("torch")
    result = store.put(
        {"a": 1},
        metrics={"loss": np.float32(0.5), "n": np.int64(3), "t": torch.tensor(0.25)},
        params={"lr": np.float64(1e-3), "path": Path("data/x"), "sizes": (np.int32(1), 2), "deep": {"k": None}},
        step=np.int64(7),
    )
    assert result.commit.metrics == {"loss": 0.5, "n": 3, "t": 0.25}
    assert result.commit.params == {"lr": 1e-3, "path": "data/x", "sizes": [1, 2], "deep": {"k": None}}
    assert result.commit.step == 7
    assert store.get(result.checkpoint).to_dict() == {"a": 1}
    for wrong in ({"metrics": {"loss": "x"}}, {"params": {"p": object()}}, {"step": "3"}):
        with pytest.raises(FormatError, match=r"loss|'p'|step"):
            store.put({"a": 1}, **wrong)


def test_the_history_of_many_refs(store):
    """By a pattern: every commit once, newest first, with the same filters; a pattern of nothing is an error."""
    for trial in ("a", "b"):
        for step in (1, 2):
            store.put({"x": f"{trial}{step}"}, ref=f"runs/first/{trial}", run="first", trial=trial, step=step)
    store.put({"x": "other"}, ref="main")
    found = store.log("runs/first/*")
    assert [(commit.trial, commit.step) for commit in found] == [("b", 2), ("b", 1), ("a", 2), ("a", 1)]
    assert store.log("runs/*", trial="a", limit=1) == [found[2]]
    assert store.log("runs/first/?", where="trial = 'b'") == found[:2]
    with pytest.raises(NotFoundError, match=r"runs/second/\*"):
        store.log("runs/second/*")

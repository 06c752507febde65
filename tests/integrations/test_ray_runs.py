"""Runs of Ray Tune and Ray Train whose storage is cas: real workers, a real kill, a real S3 server.

One cluster serves them all (`ray_cluster`), and each run answers several questions, because a run takes seconds.
"""

from __future__ import annotations

import importlib.util
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import cas
from cas.integrations.results import checkpoint_of_result

pytest.importorskip("ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore"),  # Ray's and its packages' own
]


@pytest.fixture(scope="module")
def programs():
    """The programs, sent to workers by value: no worker has this folder on its path."""
    import ray.cloudpickle

    spec = importlib.util.spec_from_file_location("ray_programs", Path(__file__).with_name("programs.py"))
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["ray_programs"] = module
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)
    del sys.modules["ray_programs"]


@pytest.fixture
def url(tmp_path):
    """An empty store."""
    cas.Store.init(tmp_path / "store").close()
    return str(tmp_path / "store")


def tune(program, space, url, name, *, keep=None, failures=0, **config):
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

    from cas.integrations.ray_tune import storage

    return Tuner(
        program,
        param_space=space,
        tune_config=TuneConfig(**config),
        run_config=RunConfig(
            name=name,
            storage_filesystem=storage(url),
            storage_path="experiments",
            checkpoint_config=CheckpointConfig(num_to_keep=keep),
            failure_config=FailureConfig(max_failures=failures),
            verbose=0,
        ),
    )


def epoch_of(checkpoint):
    import json

    with checkpoint.open("state.json") as file:
        return json.load(file)["epoch"]


def test_a_tuning_run_is_history(in_ray, programs, url):
    """Three trials: one commit for each report, on the trial's own ref, though Ray keeps but one path each.

    The best is found by its metric, the frozen part was stored once, the run can be restored, and a result is the
    checkpoint that it was.
    """
    from ray.tune import Tuner, grid_search

    from cas.integrations.ray_tune import storage

    space = {"lr": grid_search([0.1, 0.3, 0.5]), "epochs": 4}
    results = tune(programs.fit_line, space, url, "first", keep=1).fit()
    best = results.get_best_result("val_loss", "min")

    with cas.Store.open(url) as store:
        assert not results.errors
        assert len(store.refs()) == 3
        for ref in store.refs():
            history = store.log(ref)
            assert [commit.step for commit in history] == [4, 3, 2, 1]
            assert {(commit.run, f"runs/first/{commit.trial}") for commit in history} == {("first", ref)}
            assert history[0].metrics.keys() == {"val_loss", "epoch"}
            assert history[0].params["epochs"] == 4
        assert store.best("val_loss", run="first")[0].metrics["val_loss"] == best.metrics["val_loss"]
        assert store.best("val_loss", run="first")[0].params["lr"] == best.config["lr"]
        stats = store.stats()
        assert stats.commits == stats.checkpoints == 12
        assert stats.logical_bytes > 10 * stats.pack_bytes
        assert store.fsck(read_data=True).problems == []

        checkpoint = cas.Checkpoint.from_result(best)
        assert checkpoint.hash == str(store.best("val_loss", run="first")[0].checkpoint)
        assert epoch_of(checkpoint) == 3
        assert len(best.best_checkpoints) == 1

    restored = Tuner.restore("experiments/first", programs.fit_line, storage_filesystem=storage(url))
    again = restored.fit().get_best_result("val_loss", "min")
    assert again.metrics["val_loss"] == best.metrics["val_loss"]
    assert checkpoint_of_result(again, cas.Checkpoint).hash == checkpoint.hash

    best.checkpoint.update_metadata({"chosen": True})
    edited = checkpoint_of_result(best, cas.Checkpoint)
    assert edited.get_metadata() == {"chosen": True}
    assert epoch_of(edited) == 3
    with best.checkpoint.as_directory() as path:
        assert np.load(Path(path, "backbone.npy")).shape == (400, 400)


def test_a_killed_worker_leaves_nothing_behind(in_ray, programs, url, tmp_path):
    """SIGKILL in the middle of a copy: the trial goes on from the last whole checkpoint, and no half one exists."""
    space = {"lr": 0.3, "epochs": 3, "kill": str(tmp_path / "killed")}
    results = tune(programs.fit_line, space, url, "killed", failures=1).fit()

    assert (tmp_path / "killed").exists()
    assert not results.errors
    with cas.Store.open(url) as store:
        (ref,) = store.refs()
        assert [commit.step for commit in store.log(ref)] == [3, 2, 1]
        assert store.stats().checkpoints == 3
        assert store.fsck(read_data=True).problems == []
        for commit in store.log(ref):
            assert len(store.tree(str(commit.id)).files) == 3


def test_population_based_training_shares_checkpoints(in_ray, programs, url):
    """Ray warns that with one checkpoint kept a trial may lose what it is to exploit; here it does not.

    Who exploits another trial has its commit as first parent, and its own past as second.
    """
    from ray.tune import grid_search
    from ray.tune.schedulers import PopulationBasedTraining

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", metric="val_loss", mode="min", perturbation_interval=2,
        hyperparam_mutations={"lr": [0.4, 0.5]}, quantile_fraction=0.5, synch=True, log_config=False,
    )  # fmt: skip
    space = {"lr": grid_search([0.001, 0.5]), "epochs": 4}
    results = tune(programs.fit_line, space, url, "population", keep=1, scheduler=scheduler).fit()

    assert not results.errors
    with cas.Store.open(url) as store:
        commits = {commit.id: commit for commit in store.log(run="population")}
        exploits = [commit for commit in commits.values() if len(commit.parents) == 2]
        assert exploits
        for commit in exploits:
            theirs, own = (commits[parent] for parent in commit.parents)
            assert theirs.trial != commit.trial
            assert own.trial == commit.trial
            assert commit.metrics["val_loss"] < own.metrics["val_loss"]
        assert store.fsck(read_data=True).problems == []
        backbone = programs.frozen_backbone().nbytes
        assert store.stats().pack_bytes < 1.5 * backbone


def test_a_run_of_train_with_two_ranks(in_ray, programs, url):
    """Each rank's shard is part of one checkpoint, whether Train copies it or cas's upload function stores it."""
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from cas.integrations.ray_tune import storage

    result = DataParallelTrainer(
        programs.shard_by_rank,
        train_loop_config={"epochs": 2},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            name="sharded", storage_filesystem=storage(url), storage_path="experiments",
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    ).fit()  # fmt: skip

    with cas.Store.open(url) as store:
        history = store.log("runs/sharded/train")
        assert [commit.step for commit in history] == [1, 0]
        assert [commit.metrics["val_loss"] for commit in history] == [1 / 2, 1]
        for commit in history:
            assert [entry.path for entry in store.tree(str(commit.id)).files] == ["shard0.npy", "shard1.npy"]
        assert history[0].params == {"epochs": 2}
        assert checkpoint_of_result(result, cas.Checkpoint).hash == str(history[0].checkpoint)
        assert len(result.best_checkpoints) == 1
        assert store.fsck(read_data=True).problems == []


def test_a_run_in_a_bucket(in_ray, programs):
    """Workers send only what is new to S3, nothing of the run is on this machine's disk."""
    pytest.importorskip("s3fs")
    urllib.request.urlopen(urllib.request.Request(f"{in_ray.endpoint}/runs-bucket", method="PUT")).close()
    url = "s3://runs-bucket/store"
    cas.Store.init(url).close()
    from ray.tune import grid_search

    space = {"lr": grid_search([0.1, 0.3]), "epochs": 2}
    results = tune(programs.fit_line, space, url, "remote").fit()

    assert not results.errors
    with cas.Store.open(url) as store:
        assert [commit.step for commit in store.log(run="remote") if commit.params["lr"] == 0.1] == [2, 1]
        assert store.stats().commits == 4
        assert store.fsck(read_data=True).problems == []
    best = results.get_best_result("val_loss", "min")
    checkpoint = checkpoint_of_result(best, cas.Checkpoint)
    assert epoch_of(checkpoint) == 1
    assert checkpoint.uri.startswith("cas+s3://runs-bucket/store#")

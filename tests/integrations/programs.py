"""Training programs for the tests of Ray, small and real: they learn, save, report, and go on from what they saved."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path


def frozen_backbone():
    """What a fine-tune does not change."""
    import numpy as np

    return np.random.default_rng(0).normal(size=(400, 400)).astype("f4")


def fit_line(config):
    """Gradient descent on a line, with a backbone that is saved beside it; a report every epoch.

    ``config``: ``lr``; ``epochs``; ``kill``, a file that makes the second save be killed, once.
    """
    import numpy as np
    from ray import tune

    random = np.random.default_rng(1)
    x = random.normal(size=200)
    y = 3 * x + 1
    weights, first = np.zeros(2), 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as path:
            weights = np.load(Path(path, "head.npy"))
            first = json.loads(Path(path, "state.json").read_text())["epoch"] + 1
    for epoch in range(first, config["epochs"]):
        error = weights[0] * x + weights[1] - y
        weights = weights - config["lr"] * np.array([(error * x).mean(), error.mean()])
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder, "backbone.npy"), frozen_backbone())
            np.save(Path(folder, "head.npy"), weights)
            Path(folder, "state.json").write_text(json.dumps({"epoch": epoch}))
            if epoch == 1 and config.get("kill") and not Path(config["kill"]).exists():
                Path(config["kill"]).touch()
                kill_in_the_middle_of_a_copy()
            loss = float((error**2).mean())
            tune.report({"val_loss": loss, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))


def kill_in_the_middle_of_a_copy():
    """Let the next write below a checkpoint directory be the last thing that this process does."""
    from cas.integrations import run_staging

    write = run_staging.Sink.write

    def write_and_die(self, data):
        write(self, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    run_staging.Sink.write = write_and_die


def shard_by_rank(config):
    """Each worker saves a shard of its own; in odd epochs by cas's upload function, else as Train does it."""
    import numpy as np
    import ray.train

    from cas.integrations.ray_train import upload

    rank = ray.train.get_context().get_world_rank()
    for epoch in range(config["epochs"]):
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder, f"shard{rank}.npy"), frozen_backbone() + rank * epoch)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            function = upload if epoch % 2 else None
            metrics = {"val_loss": 1 / (epoch + 1), "epoch": epoch}
            ray.train.report(metrics, checkpoint=checkpoint, checkpoint_upload_fn=function)

"""What Tune calls when a checkpoint was reported: one commit each. Imported by Ray itself, by name.

Tune calls it before it registers the checkpoint: one that could not be committed is one that Ray does not know.
"""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.result import AUTO_RESULT_KEYS

from cas.integrations.ray_filesystem import RunFileSystem
from cas.integrations.reports import metrics_of, params_of, step_of
from cas.integrations.run_area import split_path
from cas.integrations.run_store import Report

__all__ = ["CommitCallback"]

_BOOKKEEPING = frozenset({*AUTO_RESULT_KEYS, "done", "trial_id", "experiment_tag", "should_checkpoint"})


class CommitCallback(Callback):
    """Commits checkpoints of runs whose storage is cas, and leaves all others alone."""

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        """A trial's checkpoint is complete."""
        handler = getattr(checkpoint.filesystem, "handler", None)
        if not isinstance(handler, RunFileSystem):
            return
        result = trial.last_result or {}
        # The one it was restored from or saved last: in population-based training that may be another trial's.
        before = trial.checkpoint
        is_ours = before is not None and getattr(before.filesystem, "handler", None) == handler
        report = Report(
            run=trial.storage.experiment_dir_name,
            trial=trial.trial_id,
            step=step_of(result),
            metrics=metrics_of(result, _BOOKKEEPING),
            params=params_of(trial.config),
            trained_from=split_path(before.path)[0] if is_ours else None,
        )
        handler.run_store.commit(split_path(checkpoint.path)[0], report)

"""What Train calls when all workers have reported a checkpoint: one commit each. Imported by Ray itself, by name.

It runs in Train's controller. Ray takes callbacks by name only of its developers' kind, not of the kind that
a ``RunConfig`` takes.
"""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.execution.callback import ControllerCallback, ReportCallback

from cas.integrations.ray_filesystem import RunFileSystem
from cas.integrations.reports import metrics_of, params_of, step_of
from cas.integrations.run_area import split_path
from cas.integrations.run_store import Report

__all__ = ["CommitCallback"]

_TRIAL = "train"  # a run of Train has no trials


class CommitCallback(ControllerCallback, ReportCallback):
    """Commits checkpoints of runs whose storage is cas, and leaves all others alone."""

    def __init__(self) -> None:
        self._run: Any = None

    def after_controller_start(self, train_run_context: Any) -> None:
        """The run begins."""
        self._run = train_run_context

    def after_report(self, training_report: Any, metrics: list[dict[str, Any]]) -> None:
        """Every worker has reported; the metrics are those of the first."""
        checkpoint = training_report.checkpoint
        handler = getattr(getattr(checkpoint, "filesystem", None), "handler", None)
        if not isinstance(handler, RunFileSystem):
            return
        report = Report(
            run=self._run.run_config.name,
            trial=_TRIAL,
            step=step_of(metrics[0]),
            metrics=metrics_of(metrics[0]),
            params=params_of(self._run.train_loop_config or {}),
        )
        handler.run_store.commit(split_path(checkpoint.path)[0], report)

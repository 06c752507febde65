"""A progress bar on stderr, drawn by rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress

__all__ = ["Bar"]


class Bar:
    """`cas.progress.Progress` as a bar: bytes done, rate, time left."""

    def __init__(self) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def begin(self, what: str, total_bytes: int | None) -> None:
        """Show a new stage."""
        for task in self._rich.task_ids:
            self._rich.remove_task(task)
        self._task = self._rich.add_task(what, total=total_bytes)
        self._rich.start()

    def advance(self, raw_bytes: int, stored_bytes: int = 0) -> None:
        """Move the bar."""
        self._rich.advance(self._task, raw_bytes)

    def end(self) -> None:
        """Take the bar away."""
        self._rich.stop()

"""A progress bar on stderr, drawn by rich."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress

from cas.cli.render import plain_size

__all__ = ["Bar"]


class Bar:
    """`cas.progress.Progress` as a bar: bytes done, rate, time left, and what deduplication saved of moving."""

    def __init__(self) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[saved]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._lock = threading.Lock()

    def begin(self, what: str, total_bytes: int | None) -> None:
        """Show a new stage."""
        for task in self._rich.task_ids:
            self._rich.remove_task(task)
        self._moved_bytes = self._reused_bytes = 0
        self._task = self._rich.add_task(what, total=total_bytes, saved="")
        self._rich.start()

    def advance(self, raw_bytes: int, stored_bytes: int = 0) -> None:
        """Move the bar."""
        with self._lock:
            self._moved_bytes += stored_bytes
            self._reused_bytes += 0 if stored_bytes else raw_bytes
            # Stages that move nothing, such as a pull into a directory, have nothing to save either.
            saved = f"{plain_size(self._moved_bytes)} moved, {plain_size(self._reused_bytes)} there already"
            self._rich.update(self._task, advance=raw_bytes, saved=saved if self._moved_bytes else "")

    def end(self) -> None:
        """Take the bar away."""
        self._rich.stop()

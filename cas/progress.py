"""Progress as a callback: the core reports, an app may draw.

The core calls `Progress.advance` from any thread, as work is done; it never
prints. `SILENT` is the default and does nothing.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress"]


class Progress(Protocol):
    """Receives what a long operation has done so far. Must be thread-safe and quick."""

    def begin(self, what: str, total_bytes: int | None) -> None:
        """A stage named ``what`` begins; ``total_bytes`` is None where it is not known."""

    def advance(self, raw_bytes: int, stored_bytes: int = 0) -> None:
        """``raw_bytes`` more are done, for which ``stored_bytes`` were written or moved."""

    def end(self) -> None:
        """The stage begun last is over."""


class _Silent:
    def begin(self, what: str, total_bytes: int | None) -> None:
        return

    def advance(self, raw_bytes: int, stored_bytes: int = 0) -> None:
        return

    def end(self) -> None:
        return


SILENT: Progress = _Silent()

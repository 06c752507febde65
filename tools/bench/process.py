"""Run a command and know what it cost: wall time, and peak memory of it and its children.

The kernel counts the memory of a child from the fork on, so a child never reads
less than its parent held then: `floor_bytes` says how much, and this program keeps
itself small (no NumPy here) so that the floor stays below what any tool needs.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CommandFailed", "Cost", "floor_bytes", "run", "settle"]


class CommandFailed(Exception):
    """A command ended with another status than 0."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: seconds by the clock, and the most memory any one process held."""

    wall_s: float
    rss_bytes: int

    def __add__(self, other: Cost) -> Cost:
        """One after the other: times add up, memory does not."""
        return Cost(self.wall_s + other.wall_s, max(self.rss_bytes, other.rss_bytes))


def floor_bytes() -> int:
    """The least that `run` can report."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def settle(size_bytes: int) -> None:
    """Bring the machine into the same state before every measurement.

    What was written before is flushed. Then as much memory as the next pass will fill is touched and
    given back: a virtual machine may have returned free memory to its host, and whoever wants it first waits for it.
    """
    os.sync()
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    run([sys.executable, "-c", "import sys; b'x' * int(sys.argv[1])", str(min(2 * size_bytes, available // 2))])


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> tuple[str, Cost]:
    """Run ``argv`` to its end; ``env`` is added to this program's own.

    Returns:
        What it printed, and its cost: start-up and exit included.

    Raises:
        CommandFailed: its status was not 0; the message ends with what it complained of.
    """
    # Files, not pipes: reading a pipe beside the command would take part of its time.
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(stdin)
        given.seek(0)
        began = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=given,
            stdout=out,
            stderr=err,
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)  # it is reaped: Popen must not wait for it again
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            raise CommandFailed(f"status {child.returncode} of {' '.join(map(str, argv))}\n{err.read()[-2000:]}")
        return out.read(), Cost(wall_s, usage.ru_maxrss * 1024)

"""cas beside what people use today, on checkpoints that were really trained.

For each scenario, round and tool, in this order, each tool on a fresh store:

first   put every checkpoint of the scenario
again   put the same folders, which have not changed
moved   put the same bytes from another path
pull    bring every checkpoint back to a new place; compared byte for byte afterwards

Tools take turns within a round, so that a slow minute of the machine hits all of
them, and speeds are compared within a round. The machine is settled before each
pass (`tools.bench.process.settle`), and the input is in the page cache.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.checkpoints import Checkpoint, find_checkpoints, logical_bytes, require_same, warm
from tools.bench.own import Command, InProcess
from tools.bench.peers import PEERS, Copy, Tool
from tools.bench.process import settle

__all__ = ["PASSES", "TOOLS", "Run", "Summary", "compare", "summarize"]

PASSES = ("first", "again", "moved", "pull")
TOOLS: tuple[type[Tool], ...] = (InProcess, Command, *PEERS)


@dataclass(frozen=True, slots=True)
class Run:
    """One tool's round on one scenario.

    Attributes:
        stored_bytes: what lay in the store after the first pass, all files included.
        wall_s: seconds of each of `PASSES`.
        put_rss_bytes: peak memory of the put passes; pull_rss_bytes: of the pull.
    """

    scenario: str
    round_number: int
    tool: str
    logical_bytes: int
    stored_bytes: int
    wall_s: dict[str, float]
    put_rss_bytes: int
    pull_rss_bytes: int

    def speed(self, name: str) -> float:
        """Logical MB/s of a pass."""
        return self.logical_bytes / 1e6 / self.wall_s[name]


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians over all rounds of one tool on one scenario.

    Attributes:
        ratio: stored over logical bytes.
        speed: logical MB/s of each of `PASSES`.
        times_copy: the same as a multiple of what `Copy` did in the same round; empty without it.
        put_rss_mb, pull_rss_mb: the highest of all rounds, in MB.
    """

    scenario: str
    tool: str
    rounds: int
    logical_mb: float
    ratio: float
    speed: dict[str, float]
    times_copy: dict[str, float]
    put_rss_mb: float
    pull_rss_mb: float


def compare(
    scenarios: Sequence[Path],
    tools: Sequence[type[Tool]],
    rounds: int,
    scratch: Path,
    tell: Callable[[str], None],
) -> Iterator[Run]:
    """Measure every tool on every scenario, ``rounds`` times; all files are made in ``scratch`` and removed."""
    for scenario in scenarios:
        moved = scratch / "moved"
        shutil.copytree(scenario, moved)
        here, there = find_checkpoints(scenario), find_checkpoints(moved)
        warm(scenario)
        for round_number in range(1, rounds + 1):
            # Another order each round: nobody always runs after the heaviest.
            turn = (round_number - 1) % len(tools)
            for tool in (*tools[turn:], *tools[:turn]):
                tell(f"{scenario.name}, round {round_number} of {rounds}: {tool.name}")
                place = scratch / "place"
                place.mkdir()
                yield _measure(tool(place), here, there, scenario, round_number)
                shutil.rmtree(place)
        shutil.rmtree(moved)


def _measure(
    tool: Tool, here: Sequence[Checkpoint], there: Sequence[Checkpoint], scenario: Path, round_number: int
) -> Run:
    logical = logical_bytes(scenario)
    tool.prepare()
    settle(logical)
    first = tool.put(here, "first")
    stored = logical_bytes(tool.store)
    settle(logical)
    again = tool.put(here, "again")
    settle(logical)
    moved = tool.put(there, "moved")
    target = tool.place / "pulled"
    for checkpoint in here:
        (target / checkpoint.name).mkdir(parents=True)
    settle(logical)
    pull = tool.pull(here, "first", target)
    for checkpoint in here:
        require_same(checkpoint.path, target / checkpoint.name)
    return Run(
        scenario=scenario.name,
        round_number=round_number,
        tool=tool.name,
        logical_bytes=logical,
        stored_bytes=stored,
        wall_s={"first": first.wall_s, "again": again.wall_s, "moved": moved.wall_s, "pull": pull.wall_s},
        put_rss_bytes=max(first.rss_bytes, again.rss_bytes, moved.rss_bytes),
        pull_rss_bytes=pull.rss_bytes,
    )


def summarize(runs: Sequence[Run]) -> list[Summary]:
    """The medians, in the order in which scenarios and tools appear in `TOOLS`."""
    order = [tool.name for tool in TOOLS]
    keys = dict.fromkeys((run.scenario, name) for run in runs for name in order)
    summaries = []
    for scenario, name in keys:
        mine = [run for run in runs if (run.scenario, run.tool) == (scenario, name)]
        if not mine:
            continue
        copies = {run.round_number: run for run in runs if (run.scenario, run.tool) == (scenario, Copy.name)}
        pairs = [(run, copies[run.round_number]) for run in mine if run.round_number in copies]
        summaries.append(
            Summary(
                scenario=scenario,
                tool=name,
                rounds=len(mine),
                logical_mb=mine[0].logical_bytes / 1e6,
                ratio=statistics.median(run.stored_bytes / run.logical_bytes for run in mine),
                speed={p: statistics.median(run.speed(p) for run in mine) for p in PASSES},
                times_copy={p: statistics.median(a.speed(p) / b.speed(p) for a, b in pairs) for p in PASSES}
                if pairs
                else {},
                put_rss_mb=max(run.put_rss_bytes for run in mine) / 1e6,
                pull_rss_mb=max(run.pull_rss_bytes for run in mine) / 1e6,
            )
        )
    return summaries

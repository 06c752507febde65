"""Results as people and programs read them: Markdown tables, and JSON with every single run."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench import s3
from tools.bench.compare import PASSES, Run, Summary
from tools.bench.s3 import Results

__all__ = ["comparison_markdown", "machine", "markdown_table", "s3_markdown", "write"]


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up in plain text too: the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [header, rule, *rows]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |" for line in lines
    )


def comparison_markdown(summaries: Sequence[Summary], missing: Mapping[str, Sequence[str]]) -> str:
    """One table for each scenario; speeds carry their multiple of ``cp -r`` in the same round."""
    header = ["tool", "stored", *(f"put {p} MB/s" for p in PASSES[:-1]), "pull MB/s", "put MB", "pull MB"]
    parts = []
    for scenario in dict.fromkeys(summary.scenario for summary in summaries):
        mine = [summary for summary in summaries if summary.scenario == scenario]
        rows = [
            [s.tool, f"{s.ratio:.3f}", *(_speed(s, p) for p in PASSES), f"{s.put_rss_mb:.0f}", f"{s.pull_rss_mb:.0f}"]
            for s in mine
        ]
        rounds = f"median of {mine[0].rounds} rounds" if mine[0].rounds > 1 else "one round"
        parts.append(f"### {scenario}: {mine[0].logical_mb:.0f} MB, {rounds}\n\n{markdown_table(header, rows)}")
    return "\n\n".join([*parts, *_left_out(missing)]) + "\n"


def s3_markdown(results: Results, missing: Mapping[str, Sequence[str]]) -> str:
    """Speeds with their multiple of ``aws s3 cp``, what went over the wire, and seconds to the first tensor."""
    tools = dict.fromkeys(moved.tool for moved in results.moved)
    rounds = f"median of {results.rounds} rounds" if results.rounds > 1 else "one round"
    size = f"{len(results.checkpoints)} checkpoints, {results.logical_bytes / 1e6:.0f} MB"
    speeds = [[tool, *(_s3_speed(results, tool, name) for name in s3.PASSES)] for tool in tools]
    parts = [
        f"### {results.scenario}, {size}, {rounds}; load average {results.load[0]:.1f} to {results.load[1]:.1f}",
        markdown_table(["tool", *(f"{name} MB/s" for name in s3.PASSES)], speeds),
    ]
    traffic = {(found.way, found.name): found for found in results.traffic}
    if traffic:
        rows = [[tool, *(cell for name in s3.PASSES for cell in _traffic(traffic.get((tool, name))))] for tool in tools]
        names = [*s3.PASSES[:-1], "cold pull of one"]
        parts.append(markdown_table(["tool", *(cell for name in names for cell in (name, "MB"))], rows))
    if results.starts:
        subjects = dict.fromkeys(start.name for start in results.starts)
        header, rows = ["seconds to"], [[way] for way in dict.fromkeys(start.way for start in results.starts)]
        for subject in subjects:
            mine = [start for start in results.starts if start.name == subject]
            whole = max(start.wanted_bytes for start in mine)
            tensor = min(start.wanted_bytes for start in mine)
            header += [f"{whole / 1e6:.0f} MB, tensor {tensor / 1e6:.2g} MB", "requests", "MB"]
            for row in rows:
                row.append(f"{statistics.median(s.wall_s for s in mine if s.way == row[0]):.2f}")
                row += _traffic(traffic.get((row[0], subject)))
        parts.append(markdown_table(header, rows))
    return "\n\n".join([*parts, *_left_out(missing)]) + "\n"


def _left_out(missing: Mapping[str, Sequence[str]]) -> list[str]:
    absent = "; ".join(f"{tool} (needs {', '.join(programs)})" for tool, programs in missing.items())
    return [f"Left out, not installed: {absent}."] if absent else []


def _s3_speed(results: Results, tool: str, name: str) -> str:
    times = results.times_aws(tool, name)
    return f"{results.speed(tool, name):.0f}" + (f" ({times:.2f}x)" if times is not None else "")


def _traffic(found: s3.Traffic | None) -> list[str]:
    """How many requests of which methods, and the MB in their and their answers' bodies."""
    if found is None or not found.requests:
        return ["", ""]
    requests = ", ".join(f"{count} {method}" for method, count in sorted(found.requests.items()))
    return [requests, f"{(found.sent_bytes + found.received_bytes) / 1e6:.1f}"]


def _speed(summary: Summary, name: str) -> str:
    speed = f"{summary.speed[name]:.0f}"
    return f"{speed} ({summary.times_copy[name]:.2f}x)" if summary.times_copy else speed


def write(folder: Path, name: str, markdown: str, **results: Any) -> None:
    """Write ``<name>.md`` and ``<name>.json``, the latter with every run in ``results`` and the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(markdown)
    document = {"machine": machine(), **results}
    (folder / f"{name}.json").write_text(json.dumps(document, indent=2, default=_as_dict) + "\n")


def _as_dict(value: object) -> Any:
    if isinstance(value, Run | Summary | Results):
        return asdict(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")

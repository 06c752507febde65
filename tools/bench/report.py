"""Results as people and programs read them: Markdown tables, and JSON with every single run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench.compare import PASSES, Run, Summary

__all__ = ["comparison_markdown", "machine", "markdown_table", "write"]


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
    if missing:
        absent = "; ".join(f"{tool} (needs {', '.join(programs)})" for tool, programs in missing.items())
        parts.append(f"Left out, not installed: {absent}.")
    return "\n\n".join(parts) + "\n"


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
    if isinstance(value, Run | Summary):
        return asdict(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")

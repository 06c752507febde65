"""How things look: sizes, times, tables, and the JSON form of commits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cas.format import Commit

__all__ = ["commit_json", "iso_time", "json_safe", "plain_size", "plain_time", "table"]

SHORT = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_YEARS = 400  # after which the calendar repeats
_CYCLE_US = 146_097 * 86_400 * 1_000_000


def plain_size(size_bytes: float) -> str:
    """A size for people: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size_bytes < 1024 or unit == "TiB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError("unreachable")


def plain_time(time_us: int) -> str:
    """A time for people, to the second, in UTC."""
    return iso_time(time_us)[:-6].partition(".")[0].replace("T", " ")


def iso_time(time_us: int) -> str:
    """A time by ISO 8601 in UTC, of any year: where four digits do not hold it, its sign is written too."""
    cycles, in_cycle_us = divmod(time_us, _CYCLE_US)
    moment = _EPOCH + timedelta(microseconds=in_cycle_us)
    year = moment.year + _CYCLE_YEARS * cycles
    return (f"{year:04d}" if 0 <= year <= 9999 else f"{year:+05d}") + moment.isoformat()[4:]


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Columns aligned by spaces: text to the left, numbers and sizes as they were given."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def json_safe(value: Any) -> Any:
    """JSON has no NaN or infinity: they become the texts ``nan``, ``inf`` and ``-inf``."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value


def commit_json(commit: Commit) -> dict[str, Any]:
    """The stable JSON form of a commit."""
    return {
        "commit": str(commit.id),
        "checkpoint": str(commit.checkpoint),
        "parents": [str(parent) for parent in commit.parents],
        "time": iso_time(commit.time_us),
        "author": commit.author,
        "message": commit.message,
        "run": commit.run,
        "trial": commit.trial,
        "step": commit.step,
        "metrics": json_safe(commit.metrics),
        "params": json_safe(commit.params),
    }

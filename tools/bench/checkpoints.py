"""The input of a comparison: a scenario's checkpoints, and whether two folders hold the same bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Checkpoint", "find_checkpoints", "logical_bytes", "require_same", "warm"]

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint's folder.

    Attributes:
        trial: the run it belongs to: ``trial_00``, or ``base``.
        name: unique in its scenario, and usable as a file name.
        path: where it lies.
    """

    trial: str
    name: str
    path: Path


def find_checkpoints(scenario: Path) -> list[Checkpoint]:
    """Every folder below ``scenario`` that holds files, in the order in which training left them."""
    folders = sorted({path.parent for path in scenario.rglob("*") if path.is_file()})
    relative = [folder.relative_to(scenario) for folder in folders]
    return [Checkpoint(r.parts[0], "-".join(r.parts), f) for r, f in zip(relative, folders, strict=True)]


def logical_bytes(folder: Path) -> int:
    """The sizes of all files below, added up."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def warm(folder: Path) -> None:
    """Read every file below once, so that the first tool finds it in memory as the last one does."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as stream:
                while stream.read(READ_BYTES):
                    pass


def require_same(expected: Path, actual: Path) -> None:
    """AssertionError unless both folders hold the same files with the same bytes."""
    names = _names(expected)
    if names != _names(actual):
        raise AssertionError(f"{actual} does not hold the files of {expected}: {names ^ _names(actual)}")
    for name in names:
        with (expected / name).open("rb") as left, (actual / name).open("rb") as right:
            while block := left.read(READ_BYTES):
                if block != right.read(READ_BYTES):
                    raise AssertionError(f"{actual / name} differs from {expected / name}")
            if right.read(1):
                raise AssertionError(f"{actual / name} is longer than {expected / name}")


def _names(folder: Path) -> set[str]:
    return {os.fspath(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

"""References: what stands in a skeleton for a value that lies elsewhere, and where in the dict it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cas.errors import FormatError

__all__ = ["MAX_DEPTH", "FileRef", "Load", "Place", "Store", "TensorRef", "Walk", "show"]

MAX_DEPTH = 60  # canonical allows 64, and a dict of pairs takes two more levels than it has in Python
_MAX_RANK = 64  # NumPy's own limit

Place = Sequence[str]
"""Where a value is in the dict: the keys and indices that lead to it, outermost first."""


@dataclass(frozen=True, slots=True)
class TensorRef:
    """Stands for an array that lies in the tensors file.

    Attributes:
        framework: "numpy" or "torch": what it comes back as.
        dtype: that framework's item type, by its name in `cas.checkpoint.dtypes`.
        shape: outermost dimension first.
    """

    framework: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.framework not in ("numpy", "torch") or type(self.dtype) is not str:
            raise FormatError(f"{self.framework!r} and {self.dtype!r} name no kind of array")
        if len(self.shape) > _MAX_RANK or any(type(size) is not int or size < 0 for size in self.shape):
            raise FormatError(f"an array's shape is up to {_MAX_RANK} whole numbers")


@dataclass(frozen=True, slots=True)
class FileRef:
    """Stands for a value that has a file to itself.

    Attributes:
        kind: "raw" for long bytes, "pickle" for arbitrary objects.
        type_name: "bytes" or "bytearray"; for a pickle its type, for people to read.
    """

    kind: str
    type_name: str

    def __post_init__(self) -> None:
        if type(self.type_name) is not str or not (
            self.kind == "pickle" or (self.kind == "raw" and self.type_name in ("bytes", "bytearray"))
        ):
            raise FormatError(f"{self.kind!r} and {self.type_name!r} name no kind of file")


Store = Callable[[Any, Place], TensorRef | FileRef]
"""Puts a value that is not plain elsewhere; called in the order of the skeleton."""

Load = Callable[[TensorRef | FileRef, Place], Any]
"""The inverse of `Store`, called in the same order at the same places."""


def show(place: Place) -> str:
    """A place as messages show it: the keys joined by dots, the last of them if there are many."""
    joined = ".".join(place)
    return repr(joined if len(joined) <= 120 else f"...{joined[-120:]}")


class Walk:
    """Keeps the place of the value at hand, and bounds its depth. After an error, the place is where it happened."""

    def __init__(self) -> None:
        self.place: list[str] = []

    def enter(self, name: str) -> None:
        """Go to the value that this key or index leads to."""
        if len(self.place) >= MAX_DEPTH:
            raise FormatError(f"{show(self.place)} is nested deeper than {MAX_DEPTH} levels")
        self.place.append(name)

    def leave(self) -> None:
        """Go back up."""
        self.place.pop()

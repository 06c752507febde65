"""What training loops measure and choose, as a commit keeps it: plain numbers, texts, lists and dicts.

Loops hold NumPy's and torch's scalars and paths; they mean the number and the text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cas.errors import FormatError
from cas.format import Param

__all__ = ["plain_metrics", "plain_params", "plain_step"]


def plain_metrics(metrics: Mapping[str, Any] | None) -> dict[str, int | float]:
    """Metrics as Python's numbers. FormatError names one that is none."""
    found = {}
    for name, value in (metrics or {}).items():
        number = _unwrapped(value)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise FormatError(f"metric {name!r} needs a number, not {value!r}")
        found[name] = number
    return found


def plain_params(params: Mapping[str, Any] | None) -> dict[str, Param]:
    """Params as plain values. FormatError names one that is none."""
    return {name: _plain(value, f"param {name!r}") for name, value in (params or {}).items()}


def plain_step(step: Any) -> int | None:
    """A step as Python's int. FormatError if it is no whole number."""
    number = _unwrapped(step)
    if number is None or (isinstance(number, int) and not isinstance(number, bool)):
        return number
    raise FormatError(f"step needs a whole number, not {step!r}; write int(step)")


def _plain(value: Any, where: str) -> Param:
    value = _unwrapped(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}, at {key!r}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise FormatError(
        f"{where} is a {type(value).__name__}; a commit keeps numbers, text, lists and dicts of them: write str(...)"
    )


def _unwrapped(value: Any) -> Any:
    """The number inside a scalar of NumPy, torch, JAX or TensorFlow; anything else as it is."""
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return value.item()
    if type(value) not in (bool, int, float, str) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if isinstance(value, float) else int(value)  # np.float64, and enums of numbers
    return value

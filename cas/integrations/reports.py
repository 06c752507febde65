"""What a training program reports, as a commit takes it: numbers, plain values, and one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from cas.format import Param

__all__ = ["metrics_of", "param_of", "params_of", "step_of"]

_STEP_NAMES = ("step", "global_step", "training_iteration", "epoch")
_MAX_INTEGER = 2**63 - 1


def metrics_of(result: Mapping[str, Any], leave_out: frozenset[str] = frozenset()) -> dict[str, int | float]:
    """The numbers of a result; those inside of others are ``outer/inner``, as Tune names them."""
    return {
        name: number
        for name, value in _flat(result, leave_out)
        if not isinstance(value, bool) and (number := _number(value)) is not None
    }


def params_of(config: Mapping[str, Any]) -> dict[str, Param]:
    """A configuration's values; what JSON does not have becomes text."""
    return {str(name): param_of(value) for name, value in config.items()}


def param_of(value: Any) -> Param:
    """One value. Scalars of other libraries become Python's, anything else its ``repr``, at most 200 characters."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): param_of(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [param_of(item) for item in value]
    number = _number(value)
    return number if number is not None else repr(value)[:200]


def step_of(result: Mapping[str, Any]) -> int | None:
    """The training step: ``step``, ``global_step``, ``training_iteration`` or ``epoch``, whichever is there first."""
    for name in _STEP_NAMES:
        value = result.get(name)
        if not isinstance(value, bool) and isinstance(value, Integral):
            return int(value)
    return None


def _flat(result: Mapping[str, Any], leave_out: frozenset[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in result.items():
        if not prefix and name in leave_out:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, leave_out, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _number(value: Any) -> int | float | None:
    if isinstance(value, Integral):
        return int(value) if abs(int(value)) <= _MAX_INTEGER else float(value)
    if isinstance(value, Real):
        return float(value)
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):  # an array of no dimensions
        item = value.item()
        return _number(item) if isinstance(item, int | float) and not isinstance(item, bool) else None
    return None

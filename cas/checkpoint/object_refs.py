"""Checkpoints in Ray's object store."""

from __future__ import annotations

from typing import Any

from cas.checkpoint.extras import require

__all__ = ["load_object", "store_object"]


def store_object(value: object) -> Any:
    """An ObjectRef of ``value``; Ray is started if it is not running, as `ray.put` does."""
    return require("ray", "ray", "an object reference").put(value)


def load_object(reference: Any) -> Any:
    """What an ObjectRef refers to."""
    return require("ray", "ray", "an object reference").get(reference)

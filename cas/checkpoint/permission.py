"""The permission to pickle: nothing that runs code is loaded or written without it."""

from __future__ import annotations

import os

__all__ = ["HOW_TO_ALLOW", "pickle_is_allowed"]

HOW_TO_ALLOW = "allow it by allow_pickle=True or CAS_ALLOW_PICKLE=1"


def pickle_is_allowed(allow_pickle: bool | None) -> bool:
    """What the caller said, else what ``CAS_ALLOW_PICKLE`` says, else no."""
    return os.environ.get("CAS_ALLOW_PICKLE") == "1" if allow_pickle is None else allow_pickle

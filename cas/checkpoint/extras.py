"""Packages that cas does without until somebody asks for what needs them."""

from __future__ import annotations

import importlib
from typing import Any

from cas.errors import RefusedError

__all__ = ["require"]


def require(module: str, extra: str, purpose: str) -> Any:
    """Import a module that comes with an extra.

    Args:
        module: its full name.
        extra: of cas, that installs it.
        purpose: what needs it, as the beginning of a sentence: "a TorchCheckpoint".

    Raises:
        RefusedError: it is not installed; one line says what to run.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and misses something of its own
        package = module.partition(".")[0]
        raise RefusedError(f"{purpose} needs {package}, which is not installed: pip install 'cas[{extra}]'") from error

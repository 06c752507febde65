"""Files of `torch.save`, read by torch itself: without running code, unless somebody allowed that."""

from __future__ import annotations

import pickle
import re
from typing import IO, Any

from cas.checkpoint.extras import require
from cas.checkpoint.permission import HOW_TO_ALLOW, pickle_is_allowed
from cas.errors import FormatError, RefusedError

__all__ = ["check_safe_loading", "import_torch", "load_file", "pickle_refusal"]

_SAFE_SINCE = (2, 6)  # before that, weights_only=True could be made to run code: CVE-2025-32434
_GLOBAL = re.compile(r"GLOBAL (\S+)")


def import_torch(purpose: str) -> Any:
    """torch. RefusedError if it is not installed."""
    return require("torch", "torch", purpose)


def check_safe_loading(where: str) -> None:
    """Refuse to load ``where`` with a torch whose ``weights_only=True`` does not keep its promise.

    Raises:
        RefusedError: this torch is older than 2.6.
    """
    torch = import_torch(f"loading {where}")
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SAFE_SINCE:
        raise RefusedError(
            f"torch {torch.__version__} can be made to run code by {where} (CVE-2025-32434):"
            " pip install -U 'torch>=2.6'"
        )


def load_file(file: IO[bytes], where: str, allow_pickle: bool | None, way_out: str = "") -> Any:
    """What ``file`` holds, on the CPU.

    Args:
        file: seekable.
        where: what errors call it.
        allow_pickle: whether objects beyond tensors and plain values may be loaded, which runs code; else
            ``CAS_ALLOW_PICKLE``.
        way_out: what else the caller could do, for the refusal: ``"pass model=..., or "``.

    Raises:
        RefusedError: it holds such objects and nobody allowed them, or torch is too old to tell.
        FormatError: it is no such file.
    """
    torch = import_torch(f"loading {where}")
    allowed = pickle_is_allowed(allow_pickle)
    if not allowed:
        check_safe_loading(where)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not allowed:
            raise pickle_refusal(where, error, way_out) from error
    except Exception as error:  # what a damaged file makes torch raise cannot be listed
        raise FormatError(f"{where} is no file that torch can read: {error}") from error
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:  # the pickle's own code runs, and may raise anything
        raise FormatError(f"{where} cannot be unpickled: {error}") from error


def pickle_refusal(where: str, error: pickle.UnpicklingError, way_out: str = "") -> RefusedError:
    """What to say where ``weights_only=True`` met more than weights.

    Args:
        where: the file.
        error: torch's own.
        way_out: as for `load_file`.
    """
    found = _GLOBAL.search(str(error))
    what = f"pickled objects ({found[1]})" if found else "pickled objects"
    return RefusedError(
        f"{where} holds {what}, and loading a pickle runs code:\n{way_out}if you trust it, {HOW_TO_ALLOW}"
    )

"""What a pickled Checkpoint carries: a reference to its store, or the content itself.

A reference is a few hundred bytes, and useless where nobody reaches the store.
"""

from __future__ import annotations

import os
import sys

from cas.errors import FormatError

__all__ = ["pickles_by_value"]

_VARIABLE = "CAS_PICKLE"


def pickles_by_value(store_url: str, by_value: bool | None) -> bool:
    """Whether a pickle must carry the content.

    ``by_value`` decides, else ``CAS_PICKLE=value`` or ``CAS_PICKLE=reference``. Otherwise: a store in this process's
    memory is nobody else's; a store in a folder is reached by this machine's processes, and so not by all of a
    Ray cluster of several nodes; any other is reached by everyone.

    Raises:
        FormatError: ``CAS_PICKLE`` is something else.
    """
    if by_value is not None:
        return by_value
    said = os.environ.get(_VARIABLE, "")
    if said not in ("", "value", "reference"):
        raise FormatError(f"{_VARIABLE}={said!r} is neither 'value' nor 'reference'")
    if said:
        return said == "value"
    if store_url.startswith("memory:"):
        return True
    return "://" not in store_url and _ray_nodes() > 1


def _ray_nodes() -> int:
    """Nodes of the Ray cluster that this process is part of; 0 without one."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return 0
    return sum(node["Alive"] for node in ray.nodes())

"""cas: git for model checkpoints.

    import cas

    with cas.open("s3://bucket/store") as store:
        result = store.put("outputs/step-1000", ref="main", metrics={"val_loss": 0.31})
        store.pull(str(result.checkpoint), "elsewhere")

    cas.Checkpoint.from_dict({"weights": array, "epoch": 3}).hash

Names are imported when they are first used, so that ``import cas`` costs little.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cas.errors import (
    CasError,
    ConflictError,
    CorruptError,
    FormatError,
    NotFoundError,
    RefusedError,
    StorageError,
)

if TYPE_CHECKING:
    from cas.checkpoint import Checkpoint, Store
    from cas.repository import PutResult

__all__ = [
    "CasError",
    "Checkpoint",
    "ConflictError",
    "CorruptError",
    "FormatError",
    "NotFoundError",
    "PutResult",
    "RefusedError",
    "StorageError",
    "Store",
    "__version__",
    "open",
]

_LAZY = {"Checkpoint": "cas.checkpoint", "Store": "cas.checkpoint", "PutResult": "cas.repository"}


def open(store: str | os.PathLike[str] | None = None, *, create: bool = False) -> Store:
    """Open a store.

    Args:
        store: a folder, ``s3://bucket/prefix``, ``memory://name`` or any fsspec URL; else
            ``CAS_STORE``, else the nearest ``.cas/`` upwards, else your own.
        create: make an empty store if there is none.

    Raises:
        NotFoundError: there is no store; the message says how to make one.
    """
    from cas.checkpoint import Store

    return Store.open(store, create=create)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("cas")
    raise AttributeError(f"module 'cas' has no attribute {name!r}")

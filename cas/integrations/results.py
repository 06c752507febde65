"""From what Ray's trainers and tuners return to a `Checkpoint`, and back.

Metadata that was set on either side is in Ray's own file, ``.metadata.json``, and so comes along.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.errors import FormatError, NotFoundError
from cas.integrations.arrow_directory import ArrowDirectory
from cas.repository import locate_store

__all__ = ["checkpoint_of_result", "to_ray"]

C = TypeVar("C", bound=Checkpoint)


def checkpoint_of_result(result: Any, kind: type[C], store: str | os.PathLike[str] | None = None) -> C:
    """The checkpoint of a trainer's or tuner's result; nothing is copied before it is needed.

    Args:
        result: a ``Result`` (as ``ResultGrid.get_best_result()`` gives), or a ``ray.train.Checkpoint``.
        kind: as which class.
        store: where `Checkpoint.hash` stores it. What a run stored in cas itself is in that store already.

    Raises:
        NotFoundError: the result has no checkpoint, or there is nothing any more where it was.
        FormatError: it is something else.
        ValueError: it was made as another class.
    """
    found = _ray_checkpoint(result)
    filesystem, path = found.filesystem, found.path
    if (stored := _stored(filesystem, path)) is not None:
        url, checkpoint = stored
        return kind.from_hash(checkpoint, store=url)
    arrow = require("pyarrow.fs", "ray", "a result of Ray")
    if isinstance(filesystem, arrow.LocalFileSystem):
        return kind.from_directory(Path(path), store=store)
    return kind._of(ArrowDirectory(filesystem, path), locate_store(store))


def to_ray(checkpoint: Checkpoint) -> Any:
    """A ``ray.train.Checkpoint`` of the same content, which is stored for it if it was not.

    It is a reference: any process that reaches the store can read it, for as long as the store has the content, and
    Ray materializes it where it is used. It is read-only: change the metadata on the side of cas.

    Raises:
        RefusedError: Ray is not installed.
    """
    train = require("ray.train", "ray", "a ray.train.Checkpoint")
    arrow = require("pyarrow.fs", "ray", "a ray.train.Checkpoint")
    from cas.views.filesystem import CasFileSystem

    stored = checkpoint._ensure_stored()
    files = CasFileSystem(store=stored.url)
    return train.Checkpoint(str(stored.digest), filesystem=arrow.PyFileSystem(arrow.FSSpecHandler(files)))


def _ray_checkpoint(result: Any) -> Any:
    """The ``ray.train.Checkpoint`` of a result, or ``result`` if it is one."""
    found = result
    if hasattr(result, "checkpoint"):
        found = result.checkpoint
        if found is None:
            raise NotFoundError(
                "the result has no checkpoint: report one by ray.train.report(metrics, checkpoint=...)"
                f"{_failure(result)}"
            )
    if not (hasattr(found, "filesystem") and hasattr(found, "path")):
        hint = "; take one of its results, such as .get_best_result()" if hasattr(result, "get_best_result") else ""
        raise FormatError(f"a {type(result).__name__} is no Result and no ray.train.Checkpoint{hint}")
    return found


def _failure(result: Any) -> str:
    error = getattr(result, "error", None)
    return f";\nthe run failed by {type(error).__name__}" if error else ""


def _stored(filesystem: Any, path: str) -> tuple[str, str] | None:
    """The store and the hash of what is in cas already."""
    handler = getattr(filesystem, "handler", None)
    if handler is None:
        return None
    from cas.integrations.ray_filesystem import RunFileSystem
    from cas.integrations.run_area import split_path
    from cas.views.filesystem import CasFileSystem

    if isinstance(handler, RunFileSystem):
        directory, inner = split_path(path)
        if inner != "":
            return None
        tree = handler.run_store.tree_of(directory)
        if tree is None:
            raise NotFoundError(f"nothing was stored for {path}")
        return handler.store_url, str(tree)
    fs = getattr(handler, "fs", None)
    if isinstance(fs, CasFileSystem) and (checkpoint := fs.info(path).get("checkpoint")) and "/" not in path.strip("/"):
        return fs.storage_options["store"], str(checkpoint)
    return None

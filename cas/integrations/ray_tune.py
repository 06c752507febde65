"""Storing runs of Ray Tune and Ray Train in cas while they run; docs/ray.md shows how.

    RunConfig(storage_filesystem=storage("s3://bucket/store"), storage_path="experiments", name="first")

Workers store what is new of a checkpoint when they report it. When Ray has the report, one commit is made on
the ref ``runs/<run>/<trial>``, with metrics, params, step and parent.
"""

from __future__ import annotations

import os
from typing import Any

from cas.checkpoint.extras import require
from cas.errors import RefusedError
from cas.integrations.run_area import area_url
from cas.repository import Repository, locate_store
from cas.storage import open_storage, redact

__all__ = ["storage"]


def storage(store: str | os.PathLike[str] | None = None, *, area: str | os.PathLike[str] | None = None) -> Any:
    """A file system for ``RunConfig(storage_filesystem=..., storage_path=...)`` of Tune and Train.

    Args:
        store: the store's URL; else ``CAS_STORE``, the nearest ``.cas/``, or your own. All nodes must reach it.
        area: where the small files go that Ray rewrites (results, its own state); by default beside the store,
            under its name with ``.runs``.

    Returns:
        a `pyarrow.fs.PyFileSystem`, in which ``storage_path`` is any relative path.

    Raises:
        NotFoundError: there is no such store.
        RefusedError: pyarrow is not installed; or the URL has a secret in it, which would go to every worker.
    """
    arrow = require("pyarrow.fs", "ray", "storing a run of Ray in cas")
    url = locate_store(store)
    for name in (url, *(() if area is None else (os.fspath(area),))):
        if redact(name) != name:
            raise RefusedError(
                f"{redact(name)} was given with a user, password or query, which would go to every worker;\n"
                "leave them out and use the environment or a profile"
            )
    with Repository.open(url) as repository:
        url = repository.url
    place = open_storage(os.fspath(area) if area is not None else area_url(url))
    place.close()

    from cas.integrations.ray_filesystem import RunFileSystem

    return arrow.PyFileSystem(RunFileSystem(url, place.url))

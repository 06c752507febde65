"""Ray Train's upload function: a checkpoint goes from the worker's directory into cas, without a copy in between.

    ray.train.report(metrics, checkpoint=checkpoint, checkpoint_upload_fn=upload)

The run's storage must be `cas.integrations.ray_tune.storage`, by which all else reads it. Without the function
Train copies the files into that storage itself, to the same effect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cas.checkpoint.extras import require
from cas.errors import FormatError, RefusedError
from cas.integrations.run_area import split_path

__all__ = ["upload"]


def upload(checkpoint: Any, checkpoint_dir_name: str) -> Any:
    """Store a worker's checkpoint.

    Args:
        checkpoint: what the worker reports, a `ray.train.Checkpoint`.
        checkpoint_dir_name: the name that Train has given it.

    Returns:
        a `ray.train.Checkpoint` at its path in the run.

    Raises:
        RefusedError: the run's storage is not cas.
        FormatError: the name was chosen by the caller of ``report``, and does not begin with ``checkpoint_``.
    """
    train = require("ray.train", "ray", "an upload function of Ray Train")
    from cas.integrations.ray_filesystem import RunFileSystem

    run = train.get_context().get_storage()
    handler = getattr(run.storage_filesystem, "handler", None)
    if not isinstance(handler, RunFileSystem):
        raise RefusedError(
            "upload() is for runs with RunConfig(storage_filesystem=cas.integrations.ray_tune.storage(URL)),\n"
            "because Ray must be able to read under the run's own path what it has reported"
        )
    path = run.build_checkpoint_path_from_name(checkpoint_dir_name)
    directory, inner = split_path(path)
    if inner != "":
        raise FormatError(f"{checkpoint_dir_name!r} is no name for a checkpoint in cas: begin it with checkpoint_")
    with checkpoint.as_directory() as local:
        handler.run_store.put_directory(directory, Path(local))
    return train.Checkpoint(path, filesystem=run.storage_filesystem)

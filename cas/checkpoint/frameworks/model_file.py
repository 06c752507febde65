"""The file that holds a model, wherever a checkpoint has it: under its own name, under an older one, in a dict."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.dict_tree import is_dict_tree
from cas.errors import FormatError, NotFoundError, StorageError
from cas.format import Buffer

__all__ = ["as_bytes", "read_directory", "read_model"]


def read_model(
    checkpoint: Checkpoint,
    files: Collection[str],
    known: Sequence[str],
    *,
    keys: Sequence[str] = ("model",),
    allow_pickle: bool | None = None,
) -> tuple[str, Any]:
    """What a model is made of, and what to call the place where it was found.

    Args:
        checkpoint: that holds it.
        files: its paths.
        known: what the model's file may be called, the best first.
        keys: under what a dict may have the model, or its file's bytes.
        allow_pickle: whether a dict's pickled objects may be loaded, which runs code.

    Returns:
        A path and the file's bytes, or a dict's key and its value.

    Raises:
        NotFoundError: it has none of them.
        RefusedError: it is a dict with pickled objects, and nobody allowed them.
    """
    for path in known:
        if path in files:
            with checkpoint.open(path) as file:
                return path, file.read()
    if is_dict_tree(files):
        found = checkpoint.to_dict(allow_pickle=allow_pickle)
        for key in keys:
            if key in found:
                return f"the dict's {key!r}", found[key]
    raise NotFoundError(
        f"{checkpoint!r} holds no model: neither a file {' or '.join(known)} nor a dict with {' or '.join(keys)}"
    )


def as_bytes(value: Any, where: str) -> Buffer:
    """A file's content that may have been kept as text.

    Raises:
        FormatError: it is neither text nor bytes.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return value
    raise FormatError(f"{where} is a {type(value).__name__}, where a model or its file's bytes are expected")


def read_directory(path: Path) -> dict[str, bytes]:
    """The files of a directory by path, read now.

    Raises:
        NotFoundError: there is no such directory.
        StorageError: a file cannot be read.
    """
    if not path.is_dir():
        raise NotFoundError(f"no directory {path}")
    try:
        return {
            found.relative_to(path).as_posix(): found.read_bytes()
            for found in sorted(path.rglob("*"))
            if found.is_file()
        }
    except OSError as error:
        raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error

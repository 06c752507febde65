"""Names inside a checkpoint: relative, POSIX, UTF-8, and safe to restore.

A path is one or more components joined by ``/``; no component is empty, ``.``
or ``..``, none has a NUL, and none is longer than 255 bytes. Anything else is
refused here, at the boundary, so that no reader has to think of it again.
"""

from __future__ import annotations

from cas.errors import FormatError

__all__ = ["MAX_COMPONENT_BYTES", "MAX_PATH_BYTES", "check_path"]

MAX_PATH_BYTES = 4096
MAX_COMPONENT_BYTES = 255


def check_path(path: str) -> str:
    """``path`` itself, if it may stand in a tree.

    Raises:
        FormatError: absolute, empty, with ``.`` or ``..``, a NUL, too long, or not UTF-8.
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"path {path!r} is not UTF-8; rename it") from error
    if not path or len(encoded) > MAX_PATH_BYTES or "\0" in path:
        raise FormatError(f"path {path[:80]!r} is empty, longer than {MAX_PATH_BYTES} bytes or has a NUL")
    for component in path.split("/"):
        if component in ("", ".", ".."):
            raise FormatError(f"path {path!r} is not plain and relative: it has a component {component!r}")
    if len(encoded) > MAX_COMPONENT_BYTES < max(map(len, encoded.split(b"/"))):
        raise FormatError(f"path {path[:80]!r} has a name longer than {MAX_COMPONENT_BYTES} bytes")
    return path

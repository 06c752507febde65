"""What lies in a folder besides a store, told from what cas itself left there.

A store is made only in a folder that holds nothing of anybody else's. Nobody
else's is: a file that was being written when its writer died, or is being
written now by another who makes the same store; and what a probe left.
"""

from __future__ import annotations

import os
import re

from cas.storage.failures import local_failure
from cas.storage.probe import PROBE_PREFIX
from cas.storage.temporary import is_temporary

__all__ = ["foreign_names"]

_PROBE = re.compile(rf"{re.escape(PROBE_PREFIX)}[0-9a-f]{{16}}")
_PROBED = re.compile(r"[0-9]{4}|\..*", re.DOTALL)  # dotted names are cas's, or the file system's own (``.nfs…``)


def foreign_names(path: str) -> list[str]:
    """The names in the folder at ``path`` that cas has not left behind, sorted; none if there is no folder.

    Raises:
        StorageError: the folder cannot be read.
    """
    try:
        with os.scandir(path) as found:
            return sorted(entry.name for entry in found if not _is_leftover(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise local_failure(error, "read", path) from error


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    if is_temporary(entry.name):
        return not entry.is_dir(follow_symlinks=False)
    if _PROBE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
        return all(_PROBED.fullmatch(name) for name in _names(entry.path))
    return False


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:  # the probe is over
        return []

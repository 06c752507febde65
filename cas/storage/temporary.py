"""Files that are being written and have no name of their own yet.

They lie in the folder where they will be named, because some file systems link
and rename within one folder only, and their names begin with a dot, so that no
listing shows them. A writer that dies leaves its file to be swept.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import stat
from collections import deque
from collections.abc import Iterator, Sequence

from cas.format import Buffer
from cas.storage.keys import byte_views

__all__ = ["is_temporary", "remove_temporaries", "temporary_file", "write_buffers"]

_PREFIX = ".new-"
_NAME = re.compile(rf"{re.escape(_PREFIX)}[0-9a-f]{{16}}")
_FILE_MODE = 0o666  # less the umask: a team sets 002, a private user 077
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BUFFERS_A_CALL = min(os.sysconf("SC_IOV_MAX"), 1024)


@contextlib.contextmanager
def temporary_file(folder: int) -> Iterator[tuple[str, int]]:
    """A new file in the folder with that descriptor: its name, which is gone afterwards, and its descriptor."""
    name = _PREFIX + secrets.token_hex(8)
    descriptor = os.open(name, _OPEN_NEW, _FILE_MODE, dir_fd=folder)
    try:
        yield name, descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):  # renamed
            os.unlink(name, dir_fd=folder)


def is_temporary(name: str) -> bool:
    """Whether `temporary_file` makes files of such names."""
    return _NAME.fullmatch(name) is not None


def write_buffers(descriptor: int, data: Sequence[Buffer]) -> None:
    """Write the buffers one after the other, without copying them into one."""
    rest = deque(byte_views(data))
    while rest:
        written = os.writev(descriptor, list(itertools.islice(rest, _BUFFERS_A_CALL)))
        while rest and written >= len(rest[0]):
            written -= len(rest.popleft())
        if written:
            rest[0] = rest[0][written:]


def remove_temporaries(folder: int, before_us: int) -> int:
    """Remove the temporary files of one folder that were last written before then; how many there were."""
    removed = 0
    with os.scandir(folder) as found:
        names = [entry.name for entry in found if is_temporary(entry.name)]
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # its writer, or another sweep, was quicker
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_mtime_ns // 1000 < before_us:
                os.unlink(name, dir_fd=folder)
                removed += 1
    return removed

"""What the operating system refused, said in the project's words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cas.errors import CasError, StorageError

__all__ = ["reported"]


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn an OSError into ``cannot <what>: <why>``; errors of the project pass as they are.

    Args:
        what: the deed and the thing, such as ``read model.bin``.

    Raises:
        StorageError: the operating system refused (no space, no permission, read-only, I/O error).
    """
    try:
        yield
    except CasError:
        raise  # StorageError is an OSError too
    except OSError as error:
        why = os.strerror(error.errno) if error.errno is not None else str(error)
        raise StorageError(f"cannot {what}: {why}") from error

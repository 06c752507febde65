"""What a key may be: the same for every backend, so that a store can be mirrored anywhere.

A key is a plain relative path in the sense of `cas.format.paths`, at most 768
bytes (S3 allows 1024, less the prefix that a URL names), without characters
that some backend gives another meaning, and no component begins with a dot:
those names are the backend's own (unfinished files, ``.nfs0000…``, ``.DS_Store``)
and are never listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cas.errors import CorruptError, FormatError
from cas.format import Buffer
from cas.format.paths import MAX_COMPONENT_BYTES, check_path

__all__ = [
    "MAX_KEY_BYTES",
    "byte_views",
    "check_key",
    "check_prefix",
    "check_range",
    "check_within",
    "is_name",
    "join",
]

MAX_KEY_BYTES = 768
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\?*:\[\]]")  # control characters; globs, queries, versions, chains, drives


def check_key(key: str) -> str:
    """``key`` itself, if it may name an object.

    Raises:
        FormatError: see the module's first lines.
    """
    check_path(key)
    if len(key.encode()) > MAX_KEY_BYTES or _FORBIDDEN.search(key) or key.startswith(".") or "/." in key:
        raise FormatError(
            f"key {key[:80]!r} is longer than {MAX_KEY_BYTES} bytes, has a part that begins with a dot, "
            "a control character or one of \\?*:[]"
        )
    return key


def check_prefix(prefix: str) -> str:
    """``prefix`` itself, if it is empty or a key followed by one slash; FormatError otherwise."""
    if prefix:
        if not prefix.endswith("/"):
            raise FormatError(f"prefix {prefix[:80]!r} does not end in '/'")
        check_key(prefix[:-1])
    return prefix


def is_name(name: str) -> bool:
    """Whether ``name`` may be one component of a key; False for whatever else lies in a folder."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:  # how Python shows a file name that is not UTF-8
        return False
    return 0 < size_bytes <= MAX_COMPONENT_BYTES and name[0] != "." and "/" not in name and not _FORBIDDEN.search(name)


def check_range(offset: int, size_bytes: int) -> None:
    """Raise FormatError unless both are zero or more."""
    if offset < 0 or size_bytes < 0:
        raise FormatError(f"a range needs an offset and a size of zero or more, not {offset} and {size_bytes}")


def check_within(offset: int, size_bytes: int, object_bytes: int, where: str) -> None:
    """Raise CorruptError unless an object of ``object_bytes`` has all of the range."""
    if offset + size_bytes > object_bytes:
        raise CorruptError(f"at least {offset + size_bytes} bytes", f"{object_bytes} bytes", where)


def byte_views(data: Sequence[Buffer]) -> Iterator[memoryview]:
    """The buffers' bytes without copying them; a buffer may have items of any size. Empty ones are left out."""
    for buffer in data:
        view = memoryview(buffer)
        if view.nbytes:  # an empty view of another item type cannot be cast
            yield view.cast("B")


def join(data: Sequence[Buffer]) -> bytes:
    """The buffers laid end to end, as bytes of their own that no later change to a buffer reaches."""
    return b"".join(data)

"""What the vectors of several objects share: contents, refusals, values as JSON."""

from __future__ import annotations

import struct
from typing import Any

from cas.format import Digest, TreeEntry, canonical

Json = dict[str, Any]

TIME_US = 1_793_836_800_000_000  # 2026-11-05 00:00 UTC
NONCE = bytes(range(16))
ALPHA, BETA, ZEROS = b"alpha alpha alpha", b"beta", bytes(4096)


def refused(error: str, why: str, data: bytes) -> Json:
    return {"why": why, "error": error, "bytes": data.hex()}


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    """``data`` with the bytes from ``at`` (counted from the end if negative) overwritten by ``new``."""
    at %= len(data)
    return data[:at] + new + data[at + len(new) :]


def sealed(magic: bytes, body: bytes) -> bytes:
    return magic + body + Digest.of(magic + body).raw


def tagged(value: object) -> object:
    """A value as JSON that keeps types apart: integers as text, floats as the hex of their eight bytes."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return {"int": str(value)}
        case float():
            return {"float": struct.pack(">d", value).hex()}
        case bytes():
            return {"bytes": value.hex()}
        case canonical.Extension():
            return {"extension": value.code, "bytes": value.data.hex()}
        case list():
            return [tagged(item) for item in value]
        case dict():
            return {"map": [[key, tagged(item)] for key, item in sorted(value.items())]}
    raise TypeError(value)


def entry(path: str, content: bytes, executable: bool = False) -> TreeEntry:
    return TreeEntry(path, len(content), executable, Digest.of(content))

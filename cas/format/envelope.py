"""Sealed objects: a magic, a body, and a checksum over both.

Small stored objects that are not named by a digest of all their bytes
(manifests, refs, leases, generations) carry their own BLAKE3, so that any
flipped bit is found. Specified in docs/format.md section 3.
"""

from __future__ import annotations

from typing import Any

from cas.errors import CorruptError, FormatError
from cas.format import canonical
from cas.format.digest import DIGEST_BYTES, Digest

__all__ = ["MAGIC_BYTES", "check_fields", "check_magic", "seal", "unseal"]

MAGIC_BYTES = 8  # seven letters that say what it is, then one byte of version


def check_magic(data: bytes | memoryview, magic: bytes, where: str) -> None:
    """Raise FormatError unless ``data`` begins with ``magic``, telling a newer version from another kind."""
    found = bytes(data[:MAGIC_BYTES])
    if found == magic:
        return
    if found[:-1] == magic[:-1] and found[-1:] > magic[-1:]:
        raise FormatError(f"{where} has version {found[-1]}, newer than this cas reads; upgrade cas")
    raise FormatError(f"{where} begins with {found!r}, not {magic!r}")


def seal(magic: bytes, body: object) -> bytes:
    """``magic``, the canonical bytes of ``body``, and the BLAKE3 of both."""
    head = magic + canonical.encode(body)
    return head + Digest.of(head).raw


def unseal(magic: bytes, data: bytes, where: str) -> Any:
    """The body that `seal` was given.

    Raises:
        CorruptError: the checksum does not fit, as after truncation or a flipped bit.
        FormatError: a whole object of another kind or version, or a body that is not canonical.
    """
    if len(data) < MAGIC_BYTES + DIGEST_BYTES:
        raise CorruptError(f"at least {MAGIC_BYTES + DIGEST_BYTES} bytes", f"{len(data)} bytes", where)
    head, checksum = memoryview(data)[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if (actual := Digest.of(head)).raw != checksum:
        raise CorruptError(f"checksum {checksum.hex()}", actual, where)
    check_magic(head, magic, where)
    return canonical.decode(head[MAGIC_BYTES:], where)


def check_fields(body: Any, fields: dict[str, type | tuple[type, ...]], where: str) -> dict[str, Any]:
    """Hold a decoded body to its exact set of fields and their types.

    Raises:
        FormatError: not a map, a field missing, unknown or of another type.
    """
    if not isinstance(body, dict) or body.keys() != fields.keys():
        raise FormatError(f"{where} needs the fields {sorted(fields)}")
    for name, kind in fields.items():
        value = body[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise FormatError(f"{where}: field {name!r} has a {type(value).__name__}")
    return body

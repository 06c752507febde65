"""Refs: names for commits, as create-only numbered records.

``refs/<name>/<sequence>`` is written once and never changed; the highest
sequence wins. A record embeds a write id, so that a writer whose response was
lost can tell its own record from a competitor's. A record without a commit says
that the name was deleted. Specified in docs/format.md section 8, pinned by
tests/vectors/ref.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cas.errors import CorruptError, FormatError
from cas.format.digest import Digest
from cas.format.envelope import check_fields, seal, unseal
from cas.format.paths import check_path

__all__ = ["MAX_REF_NAME_BYTES", "SEQUENCE_DIGITS", "RefRecord", "check_ref_name", "sequence_of"]

_MAGIC = b"CASREFS\x01"
SEQUENCE_DIGITS = 16
WRITE_ID_BYTES = 16
MAX_REF_NAME_BYTES = 512  # with a bucket's prefix and the sequence, an S3 key has 1024
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "commit": (bytes, type(None)),
    "name": str,
    "sequence": int,
    "time_us": int,
    "write_id": bytes,
}
_SEQUENCE = re.compile(r"[0-9]{16}")
_HASH_LIKE = re.compile(r"[0-9a-f]{8,64}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\]\\@{}]")


def check_ref_name(name: str) -> str:
    """``name`` itself, if it may name a ref.

    Raises:
        FormatError: not a plain relative path, too long, a character with another meaning in a
            REV, or a name that could be taken for a hash or a sequence number.
    """
    check_path(name)
    if len(name.encode()) > MAX_REF_NAME_BYTES:
        raise FormatError(f"ref name {name[:80]!r} is longer than {MAX_REF_NAME_BYTES} bytes")
    if _FORBIDDEN.search(name) or name.startswith("-"):
        raise FormatError(f"ref name {name!r} has a space, a control character or one of ~^:?*[]\\@{{}}")
    if name.startswith(".") or "/." in name:
        raise FormatError(f"ref name {name!r} has a part that begins with a dot, as storages name their own files")
    if _HASH_LIKE.fullmatch(name):
        raise FormatError(f"ref name {name!r} could be taken for a hash; choose another")
    if any(_SEQUENCE.fullmatch(part) for part in name.split("/")):
        raise FormatError(f"ref name {name!r} has a part of {SEQUENCE_DIGITS} digits, which numbers records")
    return name


def sequence_of(text: str) -> int | None:
    """The number in the last part of a ref record's key, or None if it is not one."""
    return int(text) if _SEQUENCE.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class RefRecord:
    """One move of a ref.

    Attributes:
        name: the ref.
        sequence: 1 for the first record, one more for each that follows.
        commit: where the ref points from now on; None deletes it.
        write_id: 16 random bytes of the write that made this record.
        time_us: by the writer's clock.
    """

    name: str
    sequence: int
    commit: Digest | None
    write_id: bytes
    time_us: int

    def __post_init__(self) -> None:
        check_ref_name(self.name)
        if not 0 < self.sequence < 10**SEQUENCE_DIGITS or len(self.write_id) != WRITE_ID_BYTES:
            raise FormatError(f"ref {self.name!r}: bad sequence {self.sequence} or write id")

    @property
    def key(self) -> str:
        """Where the record is stored."""
        return f"refs/{self.name}/{self.sequence:0{SEQUENCE_DIGITS}d}"

    def encode(self) -> bytes:
        """The sealed bytes."""
        body = {
            "commit": self.commit.raw if self.commit else None,
            "name": self.name,
            "sequence": self.sequence,
            "time_us": self.time_us,
            "write_id": self.write_id,
        }
        return seal(_MAGIC, body)

    @classmethod
    def decode(cls, data: bytes, key: str) -> RefRecord:
        """Read the record stored under ``key``.

        Raises:
            CorruptError: the checksum does not fit, or the record belongs under another key.
            FormatError: malformed.
        """
        body = check_fields(unseal(_MAGIC, data, key), _FIELDS, key)
        commit = None if body["commit"] is None else Digest(body["commit"])
        record = cls(body["name"], body["sequence"], commit, body["write_id"], body["time_us"])
        if record.key != key:
            raise CorruptError(f"the record of {key}", f"that of {record.key}", key)
        return record

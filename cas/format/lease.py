"""Leases: time-limited roots that protect a writer's work in flight from gc.

Specified in docs/format.md section 9, pinned by tests/vectors/lease.json.
"""

from __future__ import annotations

from dataclasses import dataclass

from cas.errors import CorruptError, FormatError
from cas.format.envelope import check_fields, seal, unseal

__all__ = ["LEASE_ID_BYTES", "Lease"]

_MAGIC = b"CASLEAS\x01"
LEASE_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Lease:
    """One writer's claim on what it may be using.

    Attributes:
        id: 16 random bytes; the key's last part in hexadecimal.
        generation: the store's generation when the writer began to deduplicate.
        expires_us: by the store's clock, microseconds since the epoch.
    """

    id: bytes
    generation: int
    expires_us: int

    def __post_init__(self) -> None:
        if len(self.id) != LEASE_ID_BYTES or self.generation < 0 or self.expires_us < 0:
            raise FormatError(f"lease {self.id.hex()} has a bad id, generation or time")

    @property
    def key(self) -> str:
        """Where the lease is stored."""
        return f"leases/{self.id.hex()}"

    def encode(self) -> bytes:
        """The sealed bytes."""
        return seal(_MAGIC, {"expires_us": self.expires_us, "generation": self.generation, "id": self.id})

    @classmethod
    def decode(cls, data: bytes, key: str) -> Lease:
        """Read the lease stored under ``key``.

        Raises:
            CorruptError: the checksum does not fit, or the lease belongs under another key.
            FormatError: malformed.
        """
        body = unseal(_MAGIC, data, key)
        lease = cls(**check_fields(body, {"expires_us": int, "generation": int, "id": bytes}, key))
        if lease.key != key:
            raise CorruptError(f"the lease of {key}", f"that of {lease.key}", key)
        return lease

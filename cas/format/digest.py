"""Digests: what everything is named by.

A blob or chunk is named by plain BLAKE3-256 of its raw bytes, so that
``b3sum`` prints the same name. A tree and a commit are hashed under contexts of
their own (BLAKE3 ``derive_key``), so that no file's content can ever be taken
for one. Specified in docs/format.md section 1, pinned by tests/vectors/digest.json.
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from cas.errors import FormatError

__all__ = ["COMMIT_CONTEXT", "DIGEST_BYTES", "EMPTY", "TREE_CONTEXT", "Buffer", "Digest"]

Buffer = bytes | bytearray | memoryview

DIGEST_BYTES = 32
TREE_CONTEXT = "cas 2026-11 checkpoint tree v1"
COMMIT_CONTEXT = "cas 2026-11 commit v1"

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """32 bytes of BLAKE3, printed as 64 lowercase hexadecimal digits."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != DIGEST_BYTES:
            raise FormatError(f"a digest has {DIGEST_BYTES} bytes, not {len(self.raw)}")

    @classmethod
    def of(cls, data: Buffer, *, context: str | None = None) -> Digest:
        """Hash ``data``, under the key derived from ``context`` where one is given."""
        if context is None:
            return cls(blake3(data).digest())
        return cls(blake3(data, derive_key_context=context).digest())

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read back what ``str`` printed.

        Raises:
            FormatError: ``text`` is not 64 lowercase hexadecimal digits.
        """
        if len(text) != 2 * DIGEST_BYTES or not _HEX.issuperset(text):
            raise FormatError(f"{text!r} is not a digest: it needs 64 lowercase hexadecimal digits")
        return cls(bytes.fromhex(text))

    def __hash__(self) -> int:  # as dataclasses would, without a tuple: digests are keys of large dicts
        return hash(self.raw)

    def __str__(self) -> str:
        return self.raw.hex()

    def __repr__(self) -> str:
        return f"Digest({self.raw.hex()!r})"


EMPTY = Digest.of(b"")

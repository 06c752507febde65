"""format.json: which version and features a store has.

The one stored object that people may read with a text editor, so it is JSON: in
one form, with a BLAKE3 of itself. A reader refuses a newer version and any
mandatory feature it does not know. Specified in docs/format.md section 10,
pinned by tests/vectors/format.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cas.errors import CorruptError, FormatError
from cas.format.digest import Digest

__all__ = ["FORMAT_KEY", "FORMAT_VERSION", "KNOWN_FEATURES", "StoreFormat"]

FORMAT_KEY = "format.json"
FORMAT_VERSION = 1
KNOWN_FEATURES: frozenset[str] = frozenset()
_KIND = "cas store"


@dataclass(frozen=True, slots=True)
class StoreFormat:
    """What a store declares about itself.

    Attributes:
        store_id: 32 hexadecimal digits, random; tells two stores at one URL apart.
        created_us: microseconds since the epoch.
        version: of the format as a whole.
        mandatory: features a reader must know or refuse the store.
        optional: features a reader may ignore.
    """

    store_id: str
    created_us: int
    version: int = FORMAT_VERSION
    mandatory: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The JSON text: keys sorted, two spaces, ASCII, a final newline."""
        body = {
            "created_us": self.created_us,
            "kind": _KIND,
            "mandatory": list(self.mandatory),
            "optional": list(self.optional),
            "store_id": self.store_id,
            "version": self.version,
        }
        checksum = str(Digest.of(_dump(body)))
        return _dump(body | {"checksum": checksum})

    @classmethod
    def decode(cls, data: bytes, where: str) -> StoreFormat:
        """Read format.json and refuse what this version must not touch.

        Raises:
            CorruptError: the checksum does not fit.
            FormatError: not a cas store, a newer version, or an unknown mandatory feature.
        """
        try:
            body = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CorruptError("JSON", f"something else ({error})", where) from error
        if not isinstance(body, dict) or body.get("kind") != _KIND:
            raise FormatError(f"{where} is not a cas store's")
        checksum = body.pop("checksum", None)
        if (actual := str(Digest.of(_dump(body)))) != checksum or _dump(body | {"checksum": checksum}) != data:
            raise CorruptError(f"checksum {checksum}", actual, where)
        version = body.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise FormatError(f"{where} has version {version}, this cas reads up to {FORMAT_VERSION}; upgrade cas")
        if unknown := set(body.get("mandatory", ())) - KNOWN_FEATURES:
            raise FormatError(f"{where} needs features this cas does not know: {sorted(unknown)}; upgrade cas")
        try:
            return cls(
                body["store_id"], body["created_us"], version, tuple(body["mandatory"]), tuple(body["optional"])
            )
        except KeyError as error:
            raise FormatError(f"{where} lacks {error}") from error


def _dump(body: dict[str, object]) -> bytes:
    return (json.dumps(body, sort_keys=True, indent=2, ensure_ascii=True) + "\n").encode()

"""format.json: which version and features a store has.

The one stored object that people may read with a text editor, so it is JSON: in
one form, with a BLAKE3 of itself. A reader refuses a newer version and any
mandatory feature it does not know. Specified in docs/format.md section 10,
pinned by tests/vectors/format.json.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from cas.errors import CorruptError, FormatError
from cas.format.digest import Digest
from cas.format.envelope import check_fields

__all__ = ["FORMAT_KEY", "FORMAT_VERSION", "KNOWN_FEATURES", "StoreFormat"]

FORMAT_KEY = "format.json"
FORMAT_VERSION = 1
KNOWN_FEATURES: frozenset[str] = frozenset()
_KIND = "cas store"
_STORE_ID = re.compile(r"[0-9a-f]{32}")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "created_us": int,
    "kind": str,
    "mandatory": list,
    "optional": list,
    "store_id": str,
    "version": int,
}


@dataclass(frozen=True, slots=True)
class StoreFormat:
    """What a store declares about itself.

    Attributes:
        store_id: 32 hexadecimal digits, random; tells two stores at one URL apart.
        created_us: microseconds since the epoch.
        version: of the format as a whole.
        mandatory: features a reader must know or refuse the store; sorted.
        optional: features a reader may ignore; sorted.
    """

    store_id: str
    created_us: int
    version: int = FORMAT_VERSION
    mandatory: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _STORE_ID.fullmatch(self.store_id) or self.created_us < 0 or self.version < 1:
            raise FormatError(f"store {self.store_id!r:.80} has a bad id, time or version")
        for features in (self.mandatory, self.optional):
            if not all(isinstance(name, str) for name in features) or list(features) != sorted(set(features)):
                raise FormatError(f"store {self.store_id}: its features are not names, sorted and distinct")

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
        # Somebody else's format.json has neither; one that lost a bit has at least one of the two.
        if not isinstance(body, dict) or (body.get("kind") != _KIND and "checksum" not in body):
            raise FormatError(f"{where} is not that of a cas store")
        checksum = body.pop("checksum", None)
        if (actual := str(Digest.of(_dump(body)))) != checksum or _dump(body | {"checksum": checksum}) != data:
            raise CorruptError(f"checksum {checksum}", actual, where)
        if body.get("kind") != _KIND:
            raise FormatError(f"{where} is not that of a cas store, but of a {body.get('kind')!r:.80}")
        version = body.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise FormatError(f"{where} has version {version}, this cas reads up to {FORMAT_VERSION}; upgrade cas")
        fields = check_fields(body, _FIELDS, where)
        declared = cls(
            fields["store_id"], fields["created_us"], version, tuple(fields["mandatory"]), tuple(fields["optional"])
        )
        if unknown := set(declared.mandatory) - KNOWN_FEATURES:
            raise FormatError(f"{where} needs features this cas does not know: {sorted(unknown)}; upgrade cas")
        return declared


def _dump(body: dict[str, object]) -> bytes:
    return (json.dumps(body, sort_keys=True, indent=2, ensure_ascii=True) + "\n").encode()

"""Where each kind of object lies in a store (docs/format.md section 12)."""

from __future__ import annotations

from cas.errors import FormatError
from cas.format import Digest

__all__ = ["COMMITS", "GENERATIONS", "LEASES", "MANIFESTS", "PACKS", "REFS", "digest_of", "object_key"]

PACKS = "packs"
MANIFESTS = "manifests"
COMMITS = "commits"
REFS = "refs"
LEASES = "leases"
GENERATIONS = "generations"


def object_key(kind: str, digest: Digest) -> str:
    """The key of a pack, manifest or commit: spread over 256 folders by its first byte."""
    text = str(digest)
    return f"{kind}/{text[:2]}/{text}"


def digest_of(key: str) -> Digest:
    """The digest that `object_key` made a key of.

    Raises:
        FormatError: the key is no such key; something else was put into the store.
    """
    kind, _, rest = key.partition("/")
    digest = Digest.parse(rest.rpartition("/")[2])
    if object_key(kind, digest) != key:
        raise FormatError(f"{key} is not where an object of that name belongs")
    return digest

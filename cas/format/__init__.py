"""The stored bytes: frozen values, their canonical form, strict decoders. Pure functions, no I/O.

Specified byte by byte in docs/format.md; every object has a vector in tests/vectors.
"""

from cas.format.commit import Commit, Param
from cas.format.digest import EMPTY, Buffer, Digest
from cas.format.lease import Lease
from cas.format.manifest import Location, Manifest
from cas.format.pack import PackBuilder, PackEntry
from cas.format.recipe import MAX_CHUNK_BYTES, ChunkRef, Recipe
from cas.format.ref import RefRecord
from cas.format.store_format import StoreFormat
from cas.format.tree import Tree, TreeEntry

__all__ = [
    "EMPTY",
    "MAX_CHUNK_BYTES",
    "Buffer",
    "ChunkRef",
    "Commit",
    "Digest",
    "Lease",
    "Location",
    "Manifest",
    "PackBuilder",
    "PackEntry",
    "Param",
    "Recipe",
    "RefRecord",
    "StoreFormat",
    "Tree",
    "TreeEntry",
]

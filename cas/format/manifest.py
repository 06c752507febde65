"""Manifests: all that is needed to materialize one checkpoint, in one object.

A manifest holds a checkpoint's tree, the recipes of its blobs, and where each
chunk lies. The tree must hash to the manifest's key; the recipes are proved by
the blobs they rebuild; the locations are hints that repack may refresh.
Specified in docs/format.md section 6, pinned by tests/vectors/manifest.json.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from cas.errors import CorruptError, FormatError
from cas.format.digest import DIGEST_BYTES, EMPTY, Digest
from cas.format.envelope import check_fields, seal, unseal
from cas.format.pack import PackEntry
from cas.format.recipe import ChunkRef, Recipe
from cas.format.tree import Tree

__all__ = ["MAX_MANIFEST_BYTES", "Location", "Manifest"]

_MAGIC = b"CASMANI\x01"
_ROW = struct.Struct("<32sQIIIIHH")  # digest, offset, pack, stored, raw, base (0: none, else row + 1), codec, zero
_INDEX = struct.Struct("<I")
MAX_MANIFEST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Location:
    """Where a chunk lies: its pack, and its entry there."""

    pack: Digest
    entry: PackEntry


@dataclass(frozen=True, slots=True)
class Manifest:
    """One checkpoint's tree, its blobs' recipes, and its chunks' locations.

    Attributes:
        tree: the files; ``tree.hash`` is the key the manifest is stored under.
        recipes: by blob digest, for every blob of two chunks or more.
        locations: by chunk digest, for every chunk of every blob and every base these need.
    """

    tree: Tree
    recipes: Mapping[Digest, Recipe]
    locations: Mapping[Digest, Location]

    def __post_init__(self) -> None:
        for recipe in self.recipes.values():
            if len(recipe.chunks) < 2:
                raise FormatError(f"blob {recipe.blob} has a recipe of {len(recipe.chunks)} chunks; it needs none")
        for entry in self.tree.files:
            chunks = self.recipe(entry.blob).chunks
            for chunk in chunks:
                location = self.locations.get(chunk.digest)
                if location is None or location.entry.raw_bytes != chunk.size_bytes:
                    raise FormatError(f"{entry.path}: chunk {chunk.digest} has no location of its size")
            if sum(chunk.size_bytes for chunk in chunks) != entry.size_bytes:
                raise FormatError(f"{entry.path}: its chunks do not add up to {entry.size_bytes} bytes")
        for location in self.locations.values():
            base = location.entry.base
            if base is not None and (base == location.entry.digest or base not in self.locations):
                raise FormatError(f"chunk {location.entry.digest} has no usable base {base}")

    def recipe(self, blob: Digest) -> Recipe:
        """How to rebuild ``blob``, one of this checkpoint's.

        Raises:
            FormatError: the manifest does not say.
        """
        if blob == EMPTY:
            return Recipe(blob, ())
        if (recipe := self.recipes.get(blob)) is not None:
            return recipe
        if (location := self.locations.get(blob)) is not None:
            return Recipe(blob, (ChunkRef(blob, location.entry.raw_bytes),))
        raise FormatError(f"no recipe for blob {blob}")

    @classmethod
    def of(cls, tree: Tree, recipes: Iterable[Recipe], locations: Iterable[Location]) -> Manifest:
        """A manifest that keeps those recipes that are needed at all."""
        return cls(
            tree,
            {recipe.blob: recipe for recipe in recipes if len(recipe.chunks) > 1},
            {location.entry.digest: location for location in locations},
        )

    def encode(self) -> bytes:
        """The sealed bytes."""
        packs = sorted({location.pack for location in self.locations.values()})
        pack_rows = {pack: row for row, pack in enumerate(packs)}
        chunks = sorted(self.locations)
        rows = {chunk: row for row, chunk in enumerate(chunks)}
        table = bytearray()
        for chunk in chunks:
            location = self.locations[chunk]
            entry = location.entry
            base = rows[entry.base] + 1 if entry.base else 0
            table += _ROW.pack(
                chunk.raw, entry.offset, pack_rows[location.pack], entry.stored_bytes, entry.raw_bytes,
                base, entry.codec, 0,
            )  # fmt: skip
        recipes = [
            [blob.raw, b"".join(_INDEX.pack(rows[chunk.digest]) for chunk in self.recipes[blob].chunks)]
            for blob in sorted(self.recipes)
        ]
        body = {
            "chunks": bytes(table),
            "packs": [pack.raw for pack in packs],
            "recipes": recipes,
            "tree": self.tree.encode(),
        }
        return seal(_MAGIC, body)

    @classmethod
    def decode(cls, data: bytes, key: Digest | None, where: str) -> Manifest:
        """Read a manifest stored under ``key`` (None: under whatever it hashes to).

        Raises:
            CorruptError: the checksum does not fit, or the tree does not hash to ``key``.
            FormatError: malformed, not sorted, or incomplete.
        """
        body = unseal(_MAGIC, data, where)
        fields = check_fields(body, {"chunks": bytes, "packs": list, "recipes": list, "tree": bytes}, where)
        tree = Tree.decode(fields["tree"], f"tree of {where}")
        if key is not None and tree.hash != key:
            raise CorruptError(key, tree.hash, where)
        packs = [Digest(pack) for pack in _all_bytes(fields["packs"], where)]
        if packs != sorted(set(packs)):
            raise FormatError(f"{where}: its packs are not sorted and distinct")
        locations = _locations(fields["chunks"], packs, where)
        recipes = [_recipe(row, locations, where) for row in fields["recipes"]]
        if [recipe.blob for recipe in recipes] != sorted({recipe.blob for recipe in recipes}):
            raise FormatError(f"{where}: its recipes are not sorted and distinct")
        return cls(
            tree,
            {recipe.blob: recipe for recipe in recipes},
            {location.entry.digest: location for location in locations},
        )


def _all_bytes(items: list[object], where: str) -> list[bytes]:
    found = [item for item in items if isinstance(item, bytes)]
    if len(found) != len(items):
        raise FormatError(f"{where}: a digest is not bytes")
    return found


def _locations(table: bytes, packs: list[Digest], where: str) -> list[Location]:
    if len(table) % _ROW.size:
        raise FormatError(f"{where}: {len(table)} bytes are not whole chunk rows")
    rows = list(_ROW.iter_unpack(table))
    digests = [Digest(row[0]) for row in rows]
    if any(one >= other for one, other in pairwise(digests)):
        raise FormatError(f"{where}: its chunks are not sorted and distinct")
    found = []
    for digest, (_, offset, pack, stored, raw, base, codec, zero) in zip(digests, rows, strict=True):
        if zero or pack >= len(packs) or base > len(digests):
            raise FormatError(f"{where}: chunk {digest} names a pack or base that is not there")
        entry = PackEntry(digest, offset, stored, raw, codec, digests[base - 1] if base else None)
        found.append(Location(packs[pack], entry))
    return found


def _recipe(row: object, locations: list[Location], where: str) -> Recipe:
    if not (isinstance(row, list) and [type(item) for item in row] == [bytes, bytes] and len(row[0]) == DIGEST_BYTES):
        raise FormatError(f"{where}: a recipe needs a blob and its chunks")
    blob, table = row
    if len(table) % _INDEX.size:
        raise FormatError(f"{where}: {len(table)} bytes are not whole chunk numbers")
    chunks = []
    for (index,) in _INDEX.iter_unpack(table):
        if index >= len(locations):
            raise FormatError(f"{where}: a recipe names chunk {index} of {len(locations)}")
        entry = locations[index].entry
        chunks.append(ChunkRef(entry.digest, entry.raw_bytes))
    return Recipe(Digest(blob), tuple(chunks))

"""Manifests: all that is needed to materialize one checkpoint, in one object.

A manifest holds a checkpoint's tree, the recipes of its blobs, and where each
chunk lies. The tree must hash to the manifest's key; the recipes are proved by
the blobs they rebuild; the locations are hints that repack may refresh.
Specified in docs/format.md section 6, pinned by tests/vectors/manifest.json.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from cas.errors import CorruptError, FormatError
from cas.format.digest import DIGEST_BYTES, EMPTY, Digest
from cas.format.envelope import check_fields, seal, unseal
from cas.format.pack import PackEntry
from cas.format.recipe import ChunkRef, Recipe
from cas.format.tree import Tree

__all__ = ["MAX_BASES", "MAX_MANIFEST_BYTES", "Location", "Manifest"]

_MAGIC = b"CASMANI\x01"
_ROW = struct.Struct("<32sQIIIIHH")  # digest, offset, pack, stored, raw, base (0: none, else row + 1), codec, zero
_INDEX = struct.Struct("<I")
MAX_MANIFEST_BYTES = 1 << 30
MAX_BASES = 64
_raw = attrgetter("raw")


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
        recipes: by blob digest, for every blob of two chunks or more and no other.
        locations: by chunk digest, for every chunk of every blob, every base these need and no other.
            A chunk has at most `MAX_BASES` bases under each other.
    """

    tree: Tree
    recipes: Mapping[Digest, Recipe]
    locations: Mapping[Digest, Location]

    def __post_init__(self) -> None:
        for blob, recipe in self.recipes.items():
            if recipe.blob != blob or len(recipe.chunks) < 2:
                raise FormatError(f"blob {blob} has a recipe of {len(recipe.chunks)} chunks; it needs none or another")
        examples = {entry.blob: entry.path for entry in self.tree.files}
        sizes_bytes: dict[Digest, int] = {}
        used: set[Digest] = set()
        for blob, path in examples.items():
            recipe = self.recipe(blob)
            for chunk in recipe.chunks:
                location = self.locations.get(chunk.digest)
                if location is None or location.entry.raw_bytes != chunk.size_bytes:
                    raise FormatError(f"{path}: chunk {chunk.digest} has no location of its size")
                used.add(chunk.digest)
            sizes_bytes[blob] = recipe.size_bytes
        for entry in self.tree.files:
            if sizes_bytes[entry.blob] != entry.size_bytes:
                raise FormatError(f"{entry.path}: its chunks do not add up to {entry.size_bytes} bytes")
        if stray := self.recipes.keys() - examples.keys():
            raise FormatError(f"no file has blob {min(stray)}, and it has a recipe")
        if stray := self.locations.keys() - _with_bases(used, self.locations):
            raise FormatError(f"no file needs chunk {min(stray)}, and it has a location")

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
        """A manifest of what the tree needs of these recipes and locations."""
        blobs = {entry.blob for entry in tree.files}
        needed = {recipe.blob: recipe for recipe in recipes if recipe.blob in blobs and len(recipe.chunks) > 1}
        known = {location.entry.digest: location for location in locations}
        used = blobs - needed.keys() - {EMPTY}
        used.update(chunk.digest for recipe in needed.values() for chunk in recipe.chunks)
        return cls(tree, needed, {digest: known[digest] for digest in _with_bases(used & known.keys(), known)})

    def encode(self) -> bytes:
        """The sealed bytes.

        Raises:
            FormatError: they would be more than `MAX_MANIFEST_BYTES`.
        """
        packs = sorted({location.pack for location in self.locations.values()}, key=_raw)
        pack_rows = {pack: row for row, pack in enumerate(packs)}
        chunks = sorted(self.locations, key=_raw)
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
        data = seal(_MAGIC, body)
        _check_size(data, f"the manifest of {self.tree.hash}")
        return data

    @classmethod
    def decode(cls, data: bytes, key: Digest | None, where: str) -> Manifest:
        """Read a manifest stored under ``key`` (None: under whatever it hashes to).

        Raises:
            CorruptError: the checksum does not fit, or the tree does not hash to ``key``.
            FormatError: malformed, not sorted, or incomplete.
        """
        _check_size(data, where)
        body = unseal(_MAGIC, data, where)
        fields = check_fields(body, {"chunks": bytes, "packs": list, "recipes": list, "tree": bytes}, where)
        tree = Tree.decode(fields["tree"], f"tree of {where}")
        if key is not None and tree.hash != key:
            raise CorruptError(key, tree.hash, where)
        packs = [Digest(pack) for pack in _all_bytes(fields["packs"], where)]
        if packs != sorted(set(packs)):
            raise FormatError(f"{where}: its packs are not sorted and distinct")
        locations = _locations(fields["chunks"], packs, where)
        chunks = [ChunkRef(location.entry.digest, location.entry.raw_bytes) for location in locations]
        recipes = [_recipe(row, chunks, where) for row in fields["recipes"]]
        if any(one.blob >= other.blob for one, other in pairwise(recipes)):
            raise FormatError(f"{where}: its recipes are not sorted and distinct")
        return cls(
            tree,
            {recipe.blob: recipe for recipe in recipes},
            {location.entry.digest: location for location in locations},
        )


def _check_size(data: bytes, where: str) -> None:
    if len(data) > MAX_MANIFEST_BYTES:
        raise FormatError(f"{where} has {len(data)} bytes; a manifest has up to {MAX_MANIFEST_BYTES}")


def _with_bases(chunks: Set[Digest], locations: Mapping[Digest, Location]) -> set[Digest]:
    """``chunks`` and every base that decoding them needs; all must have locations."""
    needed = set(chunks)
    for chunk in chunks:
        digest, bases = chunk, 0
        while True:
            location = locations.get(digest)
            if location is None or location.entry.digest != digest:
                raise FormatError(f"chunk {chunk} needs {digest}, which has no location")
            if (base := location.entry.base) is None:
                break
            if (bases := bases + 1) > MAX_BASES:
                raise FormatError(f"chunk {chunk} has more than {MAX_BASES} bases under each other, or is one of them")
            needed.add(base)
            digest = base
    return needed


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
    if any(one[0] >= other[0] for one, other in pairwise(rows)):
        raise FormatError(f"{where}: its chunks are not sorted and distinct")
    if {row[2] for row in rows} != set(range(len(packs))):
        raise FormatError(f"{where}: its chunks name other packs than it lists")
    found = []
    for digest, (_, offset, pack, stored, raw, base, codec, zero) in zip(digests, rows, strict=True):
        if zero or base > len(digests):
            raise FormatError(
                f"{where}: chunk {digest} names a base that is not there, or a reserved field is not zero"
            )
        entry = PackEntry(digest, offset, stored, raw, codec, digests[base - 1] if base else None)
        found.append(Location(packs[pack], entry))
    return found


def _recipe(row: object, chunks: list[ChunkRef], where: str) -> Recipe:
    if not (isinstance(row, list) and [type(item) for item in row] == [bytes, bytes] and len(row[0]) == DIGEST_BYTES):
        raise FormatError(f"{where}: a recipe needs a blob and its chunks")
    blob, table = row
    if len(table) % _INDEX.size:
        raise FormatError(f"{where}: {len(table)} bytes are not whole chunk numbers")
    numbers = [number for (number,) in _INDEX.iter_unpack(table)]
    if max(numbers, default=0) >= len(chunks):
        raise FormatError(f"{where}: a recipe names chunk {max(numbers, default=0)} of {len(chunks)}")
    return Recipe(Digest(blob), tuple(chunks[number] for number in numbers))

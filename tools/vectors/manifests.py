"""Vectors of manifests."""

from __future__ import annotations

import struct

from cas.format import ChunkRef, Digest, Location, Manifest, PackEntry, Recipe, Tree
from cas.format.envelope import seal
from vectors.common import ALPHA, BETA, ZEROS, Json, entry, refused, replaced, sealed
from vectors.packs import BASED, BASED_ENTRIES, BASED_PACK, PACK, PACK_ENTRIES, RAW, pack_entry_json
from vectors.trees import TREES, tree_json


def manifest_row(at: PackEntry) -> bytes:
    return struct.pack("<32sQIIIIHH", at.digest.raw, at.offset, 0, at.stored_bytes, at.raw_bytes, 0, at.codec, 0)


def manifest_json(manifest: Manifest) -> Json:
    return {
        **tree_json(manifest.tree),
        "recipes": {
            str(recipe.blob): [[str(chunk.digest), chunk.size_bytes] for chunk in recipe.chunks]
            for recipe in manifest.recipes.values()
        },
        "locations": [
            {"pack": str(location.pack), **pack_entry_json(location.entry)}
            for _, location in sorted(manifest.locations.items())
        ],
    }


def manifest_vectors() -> Json:
    alpha, zeros, beta = PACK_ENTRIES
    whole = Recipe(
        Digest.of(ALPHA + ZEROS + ALPHA), tuple(ChunkRef(at.digest, at.raw_bytes) for at in (alpha, zeros, alpha))
    )
    tree = TREES["alpha, beta and zeros"]
    based_tree = Tree.of([entry("b", BASED)])
    manifests = {
        "nothing at all": Manifest.of(Tree(()), [], []),
        "alpha, beta and zeros, in the first pack of pack.json": Manifest.of(
            tree, [whole], [Location(PACK, at) for at in PACK_ENTRIES]
        ),
        "a chunk with a base, which no file has": Manifest.of(
            based_tree, [], [Location(BASED_PACK, at) for at in BASED_ENTRIES]
        ),
        "two packs": Manifest.of(
            tree, [whole], [Location(BASED_PACK, BASED_ENTRIES[0]), *(Location(PACK, at) for at in (zeros, beta))]
        ),
    }

    data = manifests["alpha, beta and zeros, in the first pack of pack.json"].encode()
    rows = sorted(manifest_row(at) for at in PACK_ENTRIES)
    place = {row[:32]: number for number, row in enumerate(rows)}
    numbers = [place[at.digest.raw] for at in (alpha, zeros, alpha)]
    recipe = [whole.blob.raw, struct.pack("<3I", *numbers)]
    recipe_of_one = [beta.digest.raw, struct.pack("<I", place[beta.digest.raw])]

    def parts(
        rows: list[bytes] = rows, recipes: list[object] | None = None, packs: list[Digest] | None = None
    ) -> bytes:
        body = {
            "chunks": b"".join(rows),
            "packs": [pack.raw for pack in packs or [PACK]],
            "recipes": [recipe] if recipes is None else recipes,
            "tree": tree.encode(),
        }
        return seal(b"CASMANI\x01", body)

    def changed(row: int, at: int, form: str, number: int) -> list[bytes]:
        """The rows, with a number at ``at`` of one of them replaced."""
        return [replaced(old, at, struct.pack(form, number)) if n == row else old for n, old in enumerate(rows)]

    gamma = PackEntry(Digest.of(b"gamma"), 104, 5, 5, RAW)
    two = sorted([PACK, BASED_PACK])
    moved = [replaced(row, 40, struct.pack("<I", two.index(PACK))) for row in rows]
    ring = [replaced(row, 52, struct.pack("<I", base)) for row, base in zip(rows, (2, 3, 1), strict=True)]
    stray_recipe = [Digest.of(ALPHA + BETA).raw, struct.pack("<2I", place[alpha.digest.raw], place[beta.digest.raw])]
    assert parts() == data
    bad = [
        ("CorruptError", "nothing", b""),
        ("CorruptError", "the last byte lost", data[:-1]),
        ("CorruptError", "a byte too many", data + b"\0"),
        ("CorruptError", "a flipped bit", replaced(data, 100, bytes([data[100] ^ 16]))),
        ("CorruptError", "another checkpoint's", manifests["nothing at all"].encode()),
        ("FormatError", "a newer version", sealed(b"CASMANI\x02", data[8:-32])),
        ("FormatError", "another kind of object", sealed(b"CASREFS\x01", data[8:-32])),
        ("FormatError", "a body with a byte too many", sealed(b"CASMANI\x01", data[8:-32] + b"\0")),
        ("FormatError", "a field missing", seal(b"CASMANI\x01", {"tree": tree.encode()})),
        ("FormatError", "a chunk without a location", parts(rows=rows[1:])),
        ("FormatError", "a recipe missing", parts(recipes=[])),
        ("FormatError", "a recipe that is too short", parts(recipes=[[recipe[0], recipe[1][:-4]]])),
        ("FormatError", "a recipe of one chunk", parts(recipes=sorted([recipe, recipe_of_one]))),
        ("FormatError", "a recipe twice", parts(recipes=[recipe, recipe])),
        ("FormatError", "a recipe that no file needs", parts(recipes=sorted([recipe, stray_recipe]))),
        ("FormatError", "a recipe with a chunk not listed", parts(recipes=[[recipe[0], struct.pack("<3I", 0, 1, 3)]])),
        ("FormatError", "a recipe that is not whole numbers", parts(recipes=[[recipe[0], recipe[1][:-1]]])),
        ("FormatError", "a recipe that is a map", parts(recipes=[{}])),
        ("FormatError", "a chunk that no file needs", parts(rows=sorted([*rows, manifest_row(gamma)]))),
        ("FormatError", "a pack that no chunk lies in", parts(rows=moved, packs=two)),
        ("FormatError", "a pack that is not listed", parts(rows=changed(1, 40, "<I", 1))),
        ("FormatError", "packs that are not sorted", parts(rows=changed(1, 40, "<I", 1), packs=two[::-1])),
        ("FormatError", "chunks that are not sorted", parts(rows=rows[::-1])),
        ("FormatError", "a chunk twice", parts(rows=[*rows, rows[-1]])),
        ("FormatError", "half a row", parts(rows=[*rows[:-1], rows[-1][:-1]])),
        ("FormatError", "a chunk of another size", parts(rows=changed(place[zeros.digest.raw], 48, "<I", 4095))),
        ("FormatError", "a chunk over 16 MiB", parts(rows=changed(place[beta.digest.raw], 48, "<I", (16 << 20) + 1))),
        ("FormatError", "a reserved field that is not zero", parts(rows=changed(0, 58, "<H", 1))),
        ("FormatError", "a base that is not listed", parts(rows=changed(0, 52, "<I", 4))),
        ("FormatError", "a chunk that is its own base", parts(rows=changed(0, 52, "<I", 1))),
        ("FormatError", "bases in a ring", parts(rows=ring)),
    ]
    return {
        "accepted": [
            {"name": name, "hash": str(m.tree.hash), **manifest_json(m), "bytes": m.encode().hex()}
            for name, m in manifests.items()
        ],
        "refused_under": str(tree.hash),
        "refused": [refused(*case) for case in bad],
    }

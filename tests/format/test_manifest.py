"""Manifests: everything a checkpoint needs and nothing else, or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import CorruptError, FormatError
from cas.format import EMPTY, ChunkRef, Digest, Location, Manifest, PackEntry, Recipe, Tree, TreeEntry, manifest
from cas.format.manifest import MAX_BASES
from cas.format.pack import HEADER_BYTES, RECORD_BYTES


@dataclass(frozen=True)
class Parts:
    """What a manifest is made of, with things that it does not need."""

    tree: Tree
    recipes: list[Recipe]
    locations: list[Location]


def chunk(number: int) -> bytes:
    return bytes([number]) * (number % 7 + 1)


def locate(number: int, base: int | None = None, pack: int = 0, codec: int = 0) -> Location:
    raw = chunk(number)
    at = HEADER_BYTES + RECORD_BYTES + 1000 * number
    under = None if base is None else Digest.of(chunk(base))
    return Location(Digest(bytes([pack]) * 32), PackEntry(Digest.of(raw), at, len(raw), len(raw), codec, under))


def recipe_of(numbers: list[int]) -> Recipe:
    refs = tuple(ChunkRef(Digest.of(chunk(n)), len(chunk(n))) for n in numbers)
    return Recipe(Digest.of(b"".join(map(chunk, numbers))), refs)


@st.composite
def parts(draw: st.DrawFn) -> Parts:
    """A checkpoint of files made of chunks 0 to 9; a chunk may have a higher one as its base."""
    contents = draw(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5))
    recipes = [recipe_of(numbers) for numbers in contents]
    tree = Tree.of(
        TreeEntry(f"file {n}", recipe.size_bytes, False, recipe.blob if recipe.chunks else EMPTY)
        for n, recipe in enumerate(recipes)
    )
    bases = [draw(st.none() | st.integers(n + 1, 12)) for n in range(12)] + [None]
    locations = [
        locate(n, base, draw(st.integers(0, 3)), draw(st.integers(0, 2**16 - 1))) for n, base in enumerate(bases)
    ]
    return Parts(tree, [*recipes, recipe_of([10, 11])], locations)


def needed(made: Manifest) -> set[Digest]:
    """Every chunk that some file has, and the bases under them."""
    found: set[Digest] = set()
    waiting = [c.digest for entry in made.tree.files for c in made.recipe(entry.blob).chunks]
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            base = made.locations[digest].entry.base
            waiting += [base] if base else []
    return found


@given(parts())
@settings(max_examples=50)
def test_what_is_written_is_read(given_parts: Parts) -> None:
    """decode is the inverse of encode, by the key and without it."""
    made = Manifest.of(given_parts.tree, given_parts.recipes, given_parts.locations)
    data = made.encode()

    assert Manifest.decode(data, made.tree.hash, "manifest") == made
    assert Manifest.decode(data, None, "manifest").encode() == data


@given(parts(), st.data())
@settings(max_examples=50)
def test_there_is_one_form(given_parts: Parts, data: st.DataObject) -> None:
    """The order in which recipes and locations were found does not show in the bytes."""
    made = Manifest.of(given_parts.tree, given_parts.recipes, given_parts.locations)
    recipes = data.draw(st.permutations(given_parts.recipes))
    locations = data.draw(st.permutations(given_parts.locations))

    assert Manifest.of(given_parts.tree, recipes, locations).encode() == made.encode()


@given(parts())
@settings(max_examples=50)
def test_it_holds_what_the_tree_needs_and_no_more(given_parts: Parts) -> None:
    """`of` leaves out what no file needs, and the rest rebuilds every file."""
    made = Manifest.of(given_parts.tree, given_parts.recipes, given_parts.locations)
    by_digest = {Digest.of(chunk(n)): chunk(n) for n in range(13)}

    assert made.locations.keys() == needed(made)
    assert all(len(recipe.chunks) > 1 for recipe in made.recipes.values())
    for entry in made.tree.files:
        content = b"".join(by_digest[c.digest] for c in made.recipe(entry.blob).chunks)
        assert (Digest.of(content), len(content)) == (entry.blob, entry.size_bytes)


@given(parts(), st.data())
@settings(max_examples=50)
def test_a_missing_chunk_is_refused(given_parts: Parts, data: st.DataObject) -> None:
    """A manifest without the location of a chunk, or of a base, could not be pulled."""
    made = Manifest.of(given_parts.tree, given_parts.recipes, given_parts.locations)
    for lost in data.draw(st.sets(st.sampled_from(sorted(made.locations)), min_size=1)) if made.locations else ():
        rest = {digest: location for digest, location in made.locations.items() if digest != lost}
        with pytest.raises(FormatError):
            Manifest(made.tree, made.recipes, rest)
        with pytest.raises(FormatError):
            Manifest.of(made.tree, made.recipes.values(), rest.values())


@given(parts())
@settings(max_examples=50)
def test_the_key_is_the_checkpoint_hash(given_parts: Parts) -> None:
    """A manifest under another checkpoint's key is corrupt, however well-formed."""
    made = Manifest.of(given_parts.tree, given_parts.recipes, given_parts.locations)

    with pytest.raises(CorruptError, match=str(made.tree.hash)):
        Manifest.decode(made.encode(), Digest.of(b"another"), "manifest")


@given(parts(), st.integers(0, 3))
@settings(max_examples=50)
def test_places_are_not_in_the_hash(given_parts: Parts, pack: int) -> None:
    """Repacking changes the manifest's bytes and never its key."""
    made = Manifest.of(given_parts.tree, given_parts.recipes, given_parts.locations)
    moved = [replace(location, pack=Digest(bytes([pack + 9]) * 32)) for location in made.locations.values()]
    repacked = Manifest.of(made.tree, made.recipes.values(), moved)

    assert repacked.tree.hash == made.tree.hash
    assert (repacked.encode() == made.encode()) == (not made.locations)


def one_file(*numbers: int, locations: list[Location]) -> Manifest:
    recipe = recipe_of(list(numbers))
    return Manifest.of(Tree.of([TreeEntry("a", recipe.size_bytes, False, recipe.blob)]), [recipe], locations)


def test_a_file_of_one_chunk_needs_no_recipe() -> None:
    """The chunk has the blob's own name."""
    made = one_file(3, locations=[locate(3)])

    assert made.recipes == {}
    assert [c.digest for c in made.recipe(Digest.of(chunk(3))).chunks] == [Digest.of(chunk(3))]
    assert made.recipe(EMPTY).chunks == ()
    with pytest.raises(FormatError, match="no recipe"):
        made.recipe(Digest.of(b"another"))


def test_bases_are_bounded() -> None:
    """A chunk with 64 bases under each other can be read, one with 65 is refused, and so is a ring."""
    chain = [locate(n, n + 1) for n in range(1, MAX_BASES + 1)] + [locate(MAX_BASES + 1)]
    ring = [locate(1, 2), locate(2, 3), locate(3, 1)]

    assert len(one_file(1, locations=chain).locations) == MAX_BASES + 1
    with pytest.raises(FormatError, match="bases"):
        one_file(0, locations=[locate(0, 1), *chain])
    with pytest.raises(FormatError, match="bases"):
        one_file(1, locations=ring)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"recipes": {}}, "no recipe"),
        ({"recipes": {EMPTY: recipe_of([1, 2])}}, "recipe"),
        ({"recipes": {recipe_of([1, 2]).blob: recipe_of([1, 2, 1])}}, "recipe"),
        ({"recipes": {recipe_of(n).blob: recipe_of(n) for n in ([1, 2], [2, 1])}}, "no file has blob"),
        ({"recipes": {recipe_of([1, 2]).blob: replace(recipe_of([1, 2, 1]), blob=recipe_of([1, 2]).blob)}}, "add up"),
        ({"locations": {}}, "no location"),
        ({"locations": {Digest.of(chunk(n)): locate(n) for n in (1, 2, 3)}}, "no file needs"),
        ({"locations": {Digest.of(chunk(1)): locate(1), Digest.of(chunk(2)): locate(1)}}, "no location"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictions_are_refused(change: dict[str, Any], why: str) -> None:
    """Whatever does not fit together is refused where the manifest is made, not where it is read."""
    made = one_file(1, 2, locations=[locate(1), locate(2)])

    with pytest.raises(FormatError, match=why):
        replace(made, **change)


def test_two_files_of_one_blob_have_one_size() -> None:
    """Every file's size is checked, not only the first of its blob."""
    good = one_file(1, 2, locations=[locate(1), locate(2)])
    entry = good.tree.files[0]
    tree = Tree.of([entry, replace(entry, path="b", size_bytes=entry.size_bytes + 1)])

    with pytest.raises(FormatError, match="add up"):
        replace(good, tree=tree)


def test_the_size_of_a_manifest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read back is not written."""
    made = one_file(1, 2, locations=[locate(1), locate(2)])
    data = made.encode()
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", len(data) - 1)

    with pytest.raises(FormatError, match="up to"):
        made.encode()
    with pytest.raises(FormatError, match="up to"):
        Manifest.decode(data, made.tree.hash, "manifest")

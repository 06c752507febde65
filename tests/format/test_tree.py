"""Trees: the checkpoint hash is the content's alone, and every path is safe to restore."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cas.errors import FormatError, NotFoundError
from cas.format import EMPTY, Digest, Tree, TreeEntry
from cas.format.paths import MAX_COMPONENT_BYTES, check_path
from cas.format.tree import MAX_FILE_BYTES

names = st.text(st.sampled_from("aA-./é😀\uffff"), min_size=1, max_size=6)


@st.composite
def entries(draw: st.DrawFn, path: str | None = None) -> TreeEntry:
    if path is None:
        path = draw(names.filter(is_plain))
    content = draw(st.integers(0, 3).map(bytes))
    return TreeEntry(path, len(content), draw(st.booleans()), Digest.of(content))


def is_plain(path: str) -> bool:
    """What a path must be, said another way than the code does."""
    parts = path.split("/")
    return all(part not in ("", ".", "..") and "\0" not in part and len(part.encode()) <= 255 for part in parts)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    paths = draw(st.sets(names.filter(is_plain), max_size=6))
    plain = [path for path in sorted(paths) if not any(other.startswith(path + "/") for other in paths)]
    directories = {path for path in plain if draw(st.integers(0, 4)) == 0}
    return Tree.of([draw(entries(path)) for path in plain if path not in directories], directories)


@given(trees())
def test_what_is_written_is_read(tree: Tree) -> None:
    """decode is the inverse of encode, and both agree about the hash."""
    read = Tree.decode(tree.encode())

    assert read == tree
    assert read.hash == tree.hash


@given(trees(), st.data())
@settings(max_examples=50)
def test_the_order_of_entries_does_not_matter(tree: Tree, data: st.DataObject) -> None:
    """Two scans of a directory list it in different orders, and get one hash."""
    files = data.draw(st.permutations(tree.files))
    directories = data.draw(st.permutations(tree.empty_directories))

    assert Tree.of(files, directories).hash == tree.hash


@given(trees(), trees())
@settings(max_examples=50)
def test_equal_hashes_mean_equal_trees(one: Tree, other: Tree) -> None:
    """Whatever differs, the hash differs."""
    assert (one.hash == other.hash) == (one == other)


@given(entries())
def test_every_field_is_in_the_hash(entry: TreeEntry) -> None:
    """Path, content, executable bit, and being there at all."""
    longer = bytes(entry.size_bytes + 1)
    others = [
        replace(entry, path=entry.path + "x"),
        replace(entry, executable=not entry.executable),
        replace(entry, size_bytes=len(longer), blob=Digest.of(longer)),
    ]
    if entry.size_bytes:
        others.append(replace(entry, blob=Digest.of(b"\1" * entry.size_bytes)))
        others.append(replace(entry, size_bytes=entry.size_bytes + 1))
    hashes = [Tree.of(files).hash for files in ([], [entry], *([other] for other in others))]
    hashes.append(Tree.of([], [entry.path]).hash)

    assert len(set(hashes)) == len(hashes)


@given(trees())
@settings(max_examples=20)
def test_a_tree_is_not_a_file(tree: Tree) -> None:
    """A file that holds a tree's very bytes has another name than the tree."""
    assert Digest.of(tree.encode()) != tree.hash


@given(st.lists(names.filter(is_plain), min_size=1, max_size=6), st.data())
def test_no_path_is_two_things(paths: list[str], data: st.DataObject) -> None:
    """Any set of files and empty directories that a file system could not hold is refused."""
    directories = [path for path in paths if data.draw(st.booleans())]
    files = [TreeEntry(path, 0, False, EMPTY) for path in paths if path not in directories]
    leaves = [*(file.path for file in files), *directories]
    possible = len(set(leaves)) == len(leaves) and not any(
        other.startswith(path + "/") for path in leaves for other in leaves
    )

    if possible:
        assert Tree.of(files, directories).files == tuple(sorted(files))
    else:
        with pytest.raises(FormatError):
            Tree.of(files, directories)


@given(st.text(st.sampled_from("a./\0\\é"), max_size=8))
def test_paths_are_plain_or_refused(path: str) -> None:
    """Nothing that could leave the target of a restore is ever in a tree."""
    if path and is_plain(path):
        assert check_path(path) == path
    else:
        with pytest.raises(FormatError):
            check_path(path)


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("x" * MAX_COMPONENT_BYTES, True),
        ("x" * (MAX_COMPONENT_BYTES + 1), False),
        ("é" * 127 + "x", True),
        ("é" * 128, False),
        ("a/" + "x" * (MAX_COMPONENT_BYTES + 1) + "/b", False),
        ("/".join(["x" * 255] * 16), True),
        ("/".join(["x" * 255] * 16) + "/", False),
        ("/".join(["x" * 255] * 16) + "/x", False),
        ("\udcff", False),
    ],
    ids=lambda value: value if isinstance(value, bool) else ascii(value)[:20],
)
def test_lengths_are_counted_in_bytes(path: str, fits: bool) -> None:
    """A name may have 255 bytes of UTF-8 and a path 4096; a name that is no UTF-8 has no place."""
    if fits:
        assert check_path(path) == path
    else:
        with pytest.raises(FormatError):
            check_path(path)


@pytest.mark.parametrize("size_bytes", [-1, MAX_FILE_BYTES + 1])
def test_impossible_sizes_are_refused(size_bytes: int) -> None:
    """A size that no file has would only be allocated for."""
    with pytest.raises(FormatError):
        TreeEntry("a", size_bytes, False, Digest.of(b"a"))


@given(st.integers(0, 2), st.booleans())
def test_only_the_empty_blob_is_empty(size_bytes: int, empty: bool) -> None:
    """A size of zero and the digest of nothing always come together."""
    blob = EMPTY if empty else Digest.of(b"a")
    if (size_bytes == 0) == empty:
        assert TreeEntry("a", size_bytes, False, blob).blob == blob
    else:
        with pytest.raises(FormatError):
            TreeEntry("a", size_bytes, False, blob)


@given(trees(), names)
@settings(max_examples=50)
def test_find_gives_the_file_or_nothing(tree: Tree, name: str) -> None:
    """A path is found if and only if it is there, and `entry` says what there is instead."""
    by_path = {entry.path: entry for entry in tree.files}

    assert all(tree.find(path) == entry for path, entry in by_path.items())
    assert tree.find(name) == by_path.get(name)
    assume(name not in by_path)
    with pytest.raises(NotFoundError, match=str(tree.hash)):
        tree.entry(name)


def test_the_size_is_what_a_copy_would_take() -> None:
    """The same blob counts as often as it is there."""
    tree = Tree.of([TreeEntry(path, 3, False, Digest.of(b"abc")) for path in ("a", "b")])

    assert tree.size_bytes == 6
    assert tree.entry("b").size_bytes == 3

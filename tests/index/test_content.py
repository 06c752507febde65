"""What the index says about checkpoints, blobs and beginnings of hashes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.errors import FormatError
from cas.format import EMPTY, Commit, Digest, Location, Manifest, PackEntry, Tree, TreeEntry

examples = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def manifest_of(contents: dict[str, int]) -> Manifest:
    """A checkpoint of one-chunk files: path to a number that stands for the content; 0 is empty."""
    blobs = {number: Digest.of(f"{number}".encode()) if number else EMPTY for number in contents.values()}
    tree = Tree.of(TreeEntry(path, number, False, blobs[number]) for path, number in contents.items())
    entries = [PackEntry(blobs[number], 200 + number, 1, number, 0) for number in blobs if number]
    return Manifest.of(tree, [], [Location(Digest.of(b"pack"), entry) for entry in entries])


trees = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 6), max_size=4)


@examples
@given(contents=st.lists(trees, max_size=6), random=st.randoms())
def test_a_known_blob_leads_to_the_least_checkpoint_that_holds_it(index, contents, random):
    """The answer depends on which checkpoints there are, not on the order they came in."""
    manifests = [manifest_of(tree) for tree in contents]
    with index.rebuilding():
        for manifest in random.sample(manifests, len(manifests)) + manifests[:1]:
            index.add_checkpoint(manifest)

    expected: dict[Digest, Digest] = {}
    for manifest in manifests:
        for entry in manifest.tree.files:
            if entry.blob != EMPTY:
                expected[entry.blob] = min(manifest.tree.hash, expected.get(entry.blob, manifest.tree.hash))
    asked = [*expected, EMPTY, Digest.of(b"unknown").raw]
    assert index.find_blobs(asked) == expected

    distinct = {manifest.tree.hash: manifest.tree for manifest in manifests}
    found = index.stats()
    assert found.checkpoints == len(distinct)
    assert found.logical_bytes == sum(tree.size_bytes for tree in distinct.values())


def test_stats_count_a_checkpoint_once_and_every_commit(index):
    """Logical bytes are those of distinct checkpoints; committed bytes those of a copy for each commit."""
    manifest = manifest_of({"a": 5, "b": 6})
    index.add_checkpoint(manifest)
    for step in range(3):
        index.add_commit(Commit(manifest.tree.hash, step=step))
    index.add_commit(Commit(Digest.of(b"a checkpoint not seen yet")))

    found = index.stats()
    assert (found.checkpoints, found.commits) == (1, 4)
    assert (found.logical_bytes, found.committed_bytes) == (11, 33)


@examples
@given(numbers=st.sets(st.integers(0, 300), max_size=30), pick=st.randoms(), length=st.integers(1, 64))
def test_a_prefix_finds_exactly_the_hashes_that_begin_so(index, numbers, pick, length):
    """For checkpoints and for commits, whatever the number of digits, odd ones too."""
    commits = [Commit(Digest.of(b"x"), step=number) for number in numbers]
    manifests = [manifest_of({"f": number}) for number in numbers]
    with index.rebuilding():
        for commit, manifest in zip(commits, manifests, strict=True):
            index.add_commit(commit)
            index.add_checkpoint(manifest)

    ids = sorted(commit.id for commit in commits)
    hashes = sorted(manifest.tree.hash for manifest in manifests)
    prefix = str(pick.choice([*ids, *hashes, Digest.of(b"none")]))[:length]
    assert index.find_commits_by_prefix(prefix) == [one for one in ids if str(one).startswith(prefix)]
    assert index.find_checkpoints_by_prefix(prefix) == [one for one in hashes if str(one).startswith(prefix)]


@pytest.mark.parametrize("prefix", ["", "0" * 65, "xyz", "ABCDEF01", " 0", "é"])
def test_what_cannot_begin_a_hash_is_refused(index, prefix):
    """No wildcard, no capital and no empty prefix reaches the database."""
    with pytest.raises(FormatError, match="hexadecimal"):
        index.find_commits_by_prefix(prefix)

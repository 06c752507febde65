"""Many facts at once are the same facts; a ref's move is taken only with all that comes before it."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.format import EMPTY, Commit, Digest, Location, Manifest, PackEntry, RefRecord, Tree, TreeEntry

examples = settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])

CHECKPOINT = Manifest.of(Tree.of([TreeEntry("a", 0, False, EMPTY)]), [], [])


def digest(number: int) -> Digest:
    return Digest.of(f"{number}".encode())


def pack_of(number: int, chunks: list[int]) -> tuple[Digest, int, list[PackEntry]]:
    entries = [
        PackEntry(digest(chunk), 200 + 100 * at, 10 + chunk, 100 + chunk, chunk % 3, digest(99) if chunk % 2 else None)
        for at, chunk in enumerate(chunks)
    ]
    return digest(1000 + number), 4096 + number, entries


def manifest_of(blobs: list[int]) -> Manifest:
    """A checkpoint of one-chunk files; blob 0 is empty."""
    tree = Tree.of(TreeEntry(f"{at}", blob, False, digest(blob) if blob else EMPTY) for at, blob in enumerate(blobs))
    entries = [PackEntry(digest(blob), 200 + blob, 1, blob, 0) for blob in {*blobs} - {0}]
    return Manifest.of(tree, [], [Location(digest(1000), entry) for entry in entries])


packs = st.dictionaries(st.integers(0, 4), st.lists(st.integers(0, 30), max_size=40), max_size=5)
manifests = st.lists(st.lists(st.integers(0, 12), max_size=12).map(manifest_of), max_size=6)
values = st.integers(-3, 3) | st.floats() | st.text("aé\0", max_size=3) | st.none()
commits = st.lists(
    st.builds(
        Commit,
        st.integers(0, 3).map(digest),
        st.lists(st.integers(0, 5).map(digest), max_size=3, unique=True).map(tuple),
        st.integers(0, (1 << 64) - 1),
        run=st.sampled_from(["", "r", "\0"]),
        step=st.none() | st.integers(-5, (1 << 64) - 1),
        metrics=st.dictionaries(st.text("xy", max_size=2), st.integers(0, 9) | st.floats(), max_size=4),
        params=st.dictionaries(st.text("xy", max_size=2), values, max_size=4),
    ),
    max_size=40,
)
records = st.lists(
    st.builds(
        lambda name, sequence: RefRecord(name, sequence, digest(sequence) if sequence % 3 else None, bytes(16), 0),
        st.sampled_from([f"ref/{number}" for number in range(12)]),
        st.integers(1, 5),
    ),
    max_size=30,
)


@examples
@given(packs=packs, manifests=manifests, commits=commits, records=records)
def test_facts_told_at_once_are_those_told_one_by_one(index, packs, manifests, commits, records):
    """Of packs, checkpoints, commits and refs, few or many; also where half of them were known before."""
    contents = [pack_of(number, chunks) for number, chunks in packs.items()]
    index.clear()
    for pack in contents:
        index.add_pack(*pack, 1)
    for manifest in manifests:
        index.add_checkpoint(manifest)
    for commit in commits:
        index.add_commit(commit)
    for record in records:
        index.set_ref(record)
    one_by_one = index.dump()
    for known in (0, 1, 2):
        with index.rebuilding():
            if known:
                index.add_packs(contents[::known], 0)
                index.add_checkpoints(manifests[::known])
                index.add_commits(commits[::known])
                index.set_refs(records[::known])
            index.add_packs(contents, 1)
            index.add_checkpoints(manifests)
            index.add_commits(commits)
            index.set_refs(records)
        assert index.dump() == one_by_one


def test_what_is_known_is_told_from_what_is_not(index):
    """Of packs, also by generation; of checkpoints and commits."""
    commit = Commit(CHECKPOINT.tree.hash, (digest(7),))
    index.add_packs([pack_of(1, [1]), pack_of(2, [])], 3)
    index.add_checkpoint(CHECKPOINT)
    index.add_commit(commit)
    assert index.known_packs([digest(1001), digest(1002).raw, digest(1003)]) == {digest(1001), digest(1002)}
    assert index.known_packs([digest(1001)], 3) == {digest(1001)}
    assert index.known_packs([digest(1001)], 4) == index.known_packs([]) == set()
    assert index.known_checkpoints([CHECKPOINT.tree.hash, digest(1)]) == {CHECKPOINT.tree.hash}
    assert index.known_commits([commit.id, digest(7)]) == {commit.id}
    assert index.has_child(digest(7))
    assert not index.has_child(commit.id)


@pytest.mark.parametrize("lacking", ["nothing", "a record", "a parent", "the checkpoint"])
def test_a_move_is_followed_only_if_nothing_before_it_is_unknown(index, lacking):
    """All or nothing; and again it is already known."""
    parents = [Commit(CHECKPOINT.tree.hash, step=step) for step in range(2)]
    commit = Commit(CHECKPOINT.tree.hash, tuple(parent.id for parent in parents), metrics={"loss": math.inf})
    if lacking != "the checkpoint":
        index.add_checkpoint(CHECKPOINT)
    index.add_commits(parents[: 1 if lacking == "a parent" else 2])
    index.set_ref(RefRecord("main", 3, parents[0].id, bytes(16), 0))
    record = RefRecord("main", 5 if lacking == "a record" else 4, commit.id, bytes(16), 0)
    before = index.dump()
    assert index.follow(record, commit) == (lacking == "nothing")
    if lacking == "nothing":
        assert index.find_commit(commit.id) == commit
        assert index.refs() == {"main": commit.id}
        assert index.ref_sequence("main") == 4
        assert index.follow(record, commit)
    else:
        assert index.dump() == before
        assert index.ref_sequence("main") == 3


def test_a_ref_follows_to_what_is_known_and_into_deletion(index):
    """Without a commit of its own to learn; the first record of a name is number 1."""
    commit = Commit(digest(1))
    assert index.ref_sequence("tag") == 0
    assert not index.follow(RefRecord("tag", 1, commit.id, bytes(16), 0))
    index.add_commit(commit)
    assert not index.follow(RefRecord("tag", 2, commit.id, bytes(16), 0))
    assert index.follow(RefRecord("tag", 1, commit.id, bytes(16), 0))
    assert index.refs() == {"tag": commit.id}
    assert index.follow(RefRecord("tag", 2, None, bytes(16), 0))
    assert index.refs() == {}
    assert index.follow(RefRecord("tag", 1, commit.id, bytes(16), 0))  # told late: known already
    assert index.ref_sequence("tag") == 2

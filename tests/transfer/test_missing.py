"""Which chunks must be sent, where some are built on others: laws, since nothing else makes such stores at will."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cas.format import Digest, Location, Manifest, PackEntry, Tree, TreeEntry
from cas.transfer.content import missing_chunks

CHUNKS = [Digest.of(str(number).encode()) for number in range(8)]


@st.composite
def stores(draw):
    """Where chunks lie in one store: each is built on nothing, or on one that comes before it in some order."""
    order = draw(st.permutations(CHUNKS))
    pack = Digest.of(str(draw(st.integers(0, 3))).encode())
    found = {}
    for place, digest in enumerate(order):
        base = order[draw(st.integers(0, place - 1))] if place and draw(st.booleans()) else None
        found[digest] = Location(pack, PackEntry(digest, 200 + 90 * place, 10, 10, 3 if base else 0, base))
    return found


def closed(digests, locations):
    """``digests`` and the bases they need."""
    waiting, found = list(digests), {}
    while waiting:
        digest = waiting.pop()
        found[digest] = locations[digest]
        if (base := locations[digest].entry.base) is not None and base not in found:
            waiting.append(base)
    return found


def depth(digest, locations):
    base = locations[digest].entry.base
    return 0 if base is None else 1 + depth(base, locations)


@given(source=stores(), target=stores(), used=st.sets(st.sampled_from(CHUNKS), min_size=1),
       there=st.sets(st.sampled_from(CHUNKS)))  # fmt: skip
def test_what_is_sent_and_what_is_there_make_a_readable_checkpoint(source, target, used, there):
    """Whatever either store builds its chunks on: no ring, no base missing, no chain longer than it was."""
    tree = Tree.of(TreeEntry(f"file-{digest}", 10, False, digest) for digest in used)
    manifest = Manifest.of(tree, [], source.values())
    known = closed(there, target)
    sent = missing_chunks(manifest, known, set())

    combined = known | {location.entry.digest: location for location in sent}
    arrived = Manifest.of(tree, [], combined.values())
    for digest in arrived.locations:
        at = target if arrived.locations[digest] is target.get(digest) else source
        assert depth(digest, arrived.locations) <= max(depth(digest, at), depth(digest, source))
    assert sent == sorted(sent, key=lambda at: (at.pack, at.entry.offset))
    assert {at.entry.digest for at in sent}.isdisjoint(known)


@given(source=stores(), used=st.sets(st.sampled_from(CHUNKS), min_size=1))
def test_all_of_it_is_sent_once(source, used):
    """To an empty store everything with its bases; to one that has it all, or is being sent it, nothing."""
    tree = Tree.of(TreeEntry(f"file-{digest}", 10, False, digest) for digest in used)
    manifest = Manifest.of(tree, [], source.values())

    assert {at.entry.digest for at in missing_chunks(manifest, {}, set())} == manifest.locations.keys()
    assert missing_chunks(manifest, dict(manifest.locations), set()) == []
    assert missing_chunks(manifest, {}, set(manifest.locations)) == []

"""What the index says about packs and chunks."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.format import Digest, Location, PackEntry

examples = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def digest(number: int) -> Digest:
    return Digest.of(f"{number}".encode())


def pack_of(number: int, chunks: list[int], based: bool = False) -> tuple[Digest, int, list[PackEntry]]:
    """A pack whose content follows from its number, as a digest's does."""
    entries = [
        PackEntry(digest(chunk), 200 + 100 * at, 10 + chunk, 100 + chunk, chunk % 3, digest(99) if based else None)
        for at, chunk in enumerate(chunks)
    ]
    return digest(1000 + number), 4096 + number, entries


packs = st.lists(st.integers(0, 12), max_size=8).map(tuple)
facts = st.dictionaries(st.integers(0, 6), packs, max_size=6).flatmap(
    lambda known: (
        st.lists(
            st.tuples(st.sampled_from(sorted(known)), st.integers(0, 3)).map(
                lambda one: (one[0], known[one[0]], one[1])
            ),
            max_size=12,
        )
        if known
        else st.just([])
    )
)


@examples
@given(facts=facts, random=st.randoms())
def test_what_is_known_does_not_depend_on_the_order_it_was_learnt_in(index, facts, random):
    """Packs told in any order, and any number of times, leave the same rows: so a rebuilt index equals the original."""
    index.clear()
    for number, chunks, generation in facts:
        index.add_pack(*pack_of(number, list(chunks)), generation)
    first = index.dump()

    with index.rebuilding():
        again = facts + facts[:3]
        random.shuffle(again)
        for number, chunks, generation in again:
            index.add_pack(*pack_of(number, list(chunks)), generation)
    assert index.dump() == first


@examples
@given(facts=facts, generation=st.integers(0, 4))
def test_chunks_are_found_where_a_pack_of_the_generation_holds_them(index, facts, generation):
    """The answer is the least pack that was known to be there, with the chunk's first place in it."""
    index.clear()
    learnt: dict[int, int] = {}
    for number, chunks, when in facts:
        index.add_pack(*pack_of(number, list(chunks)), when)
        learnt[number] = max(when, learnt.get(number, 0))

    expected: dict[Digest, Location] = {}
    for number, chunks, _ in facts:
        pack, _, entries = pack_of(number, list(chunks))
        for entry in entries:
            place = Location(pack, entry)
            known = expected.get(entry.digest, place)
            if learnt[number] >= generation and (pack, entry.offset) <= (known.pack, known.entry.offset):
                expected[entry.digest] = place
    assert index.find_chunks([digest(number) for number in range(14)], generation) == expected


def test_an_older_generation_is_unknown_never_present(index):
    """After gc has advanced the generation, nothing is present until it is learnt anew."""
    pack, size, entries = pack_of(1, [1, 2, 3])
    index.add_pack(pack, size, entries, 4)
    wanted = [entry.digest for entry in entries]

    assert len(index.find_chunks(wanted, 4)) == 3
    assert index.find_chunks(wanted, 5) == {}
    assert index.has_pack(pack, 4)
    assert not index.has_pack(pack, 5)

    index.add_pack(pack, size, entries, 5)
    assert len(index.find_chunks(wanted, 5)) == 3


def test_a_second_copy_answers_when_the_first_is_of_an_older_generation(index):
    """A chunk in a condemned pack and in a live one is present."""
    copies = sorted([pack_of(1, [7]), pack_of(2, [7])])
    index.add_pack(*copies[0], 0)
    index.add_pack(*copies[1], 1)

    assert index.find_chunks([digest(7)], 0)[digest(7)].pack == copies[0][0]
    assert index.find_chunks([digest(7)], 1)[digest(7)].pack == copies[1][0]


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1300])
def test_look_ups_of_any_size_answer_for_each_digest(index, count):
    """Batches are an inner matter; bytes and digests, known and unknown, repeated or not, all may be asked."""
    pack, size, entries = pack_of(1, list(range(count)), based=True)
    index.add_pack(pack, size, entries, 0)
    asked = [digest(number) for number in range(count)] + [digest(-1), digest(-2).raw] + [digest(0).raw] * 3

    found = index.find_chunks(asked, 0)
    assert found == {entry.digest: Location(pack, entry) for entry in entries}


def test_stats_count_each_chunk_once(index):
    """Two packs with the same chunk hold more than what is unique; the encoding counted is the one that is used."""
    first, second = sorted([pack_of(1, [1, 2, 4]), pack_of(2, [2, 3])])
    index.add_pack(*first, 0)
    index.add_pack(*second, 0)

    found = index.stats()
    distinct = {1, 2, 3, 4}
    assert found.unique_bytes == sum(100 + number for number in distinct)
    assert found.stored_bytes == sum(10 + number for number in distinct)
    assert found.pack_bytes == first[1] + second[1]
    assert found.by_codec == {0: (1, 103, 13), 1: (2, 205, 25), 2: (1, 102, 12)}

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cas
from cas.format import Digest
from cas.integrations.run_area import RunArea, Sealed, area_url, split_path
from cas.storage import MemoryStorage

TREES = [Digest.of(bytes([number])) for number in range(3)]
NUMBERS = count()
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)


def an_empty_area():
    return RunArea(MemoryStorage(f"area-{next(NUMBERS)}"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("exp/run/trial/checkpoint_000003", ("exp/run/trial/checkpoint_000003", "")),
        ("/exp/run/checkpoint_2026-11-24/a/b.pt", ("exp/run/checkpoint_2026-11-24", "a/b.pt")),
        ("exp/checkpoint_1/checkpoint_2/x", ("exp/checkpoint_1", "checkpoint_2/x")),
        ("exp/run/checkpoint_manager_snapshot.json", ("exp/run/checkpoint_manager_snapshot.json", None)),
        ("exp/run/result.json", ("exp/run/result.json", None)),
        ("", ("", None)),
    ],
)
def test_a_checkpoint_is_told_from_other_files_by_its_directory(path, expected):
    """Whatever lies in a directory that Ray names as a checkpoint belongs to it, and nothing else does."""
    assert split_path(path) == expected


@given(parts=st.lists(NAMES, min_size=1, max_size=4), data=st.binary(max_size=50))
def test_any_name_that_an_experiment_chooses_can_be_a_file(parts, data):
    """Names with brackets, stars, leading dots or percent signs are kept, and come back from listings as they were."""
    area = an_empty_area()
    path = "/".join(parts)
    area.write(path, data)

    assert area.read(path) == data
    assert area.find_size(path) == len(data)
    assert [name for name, _ in area.list("")] == [path]


def test_a_path_stands_for_all_that_several_processes_stored_for_it():
    """Each process of a distributed run stores its own part, and no part replaces another."""
    area = an_empty_area()
    for tree in TREES:
        area.bind("run/checkpoint_0", tree, anew=True)

    assert list(area.binding("run/checkpoint_0").parts.values()) == TREES
    assert not area.binding("run/checkpoint_0").is_committed


def test_a_checkpoint_that_is_uploaded_again_is_not_mixed_with_the_old_one():
    """After a restore Ray may use a name again. What was committed under it is no part of the new one."""
    area = an_empty_area()
    area.bind("run/checkpoint_0", TREES[0], anew=True)
    before = area.binding("run/checkpoint_0")
    area.seal("run/checkpoint_0", Sealed(TREES[2], TREES[0], frozenset(before.parts)))
    area.mark_deleted("run/checkpoint_0")

    assert area.binding("run/checkpoint_0").is_committed
    assert area.binding("run/checkpoint_0").deleted

    area.bind("run/checkpoint_0", TREES[1], anew=True)
    after = area.binding("run/checkpoint_0")

    assert list(after.parts.values()) == [TREES[1]]
    assert after.sealed is None
    assert not after.deleted


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("/data/store", "/data/store.runs"),
        ("/data/.cas/", "/data/.cas.runs"),
        ("s3://bucket/store", "s3://bucket/store.runs"),
        ("memory://name", "memory://name.runs"),
    ],
)
def test_runs_lie_beside_the_store(store, expected):
    """What Ray rewrites never is in the store itself."""
    assert area_url(store) == expected


def test_beside_a_whole_bucket_there_is_nothing():
    """Another bucket would be somebody else's, so the user is asked."""
    with pytest.raises(cas.RefusedError, match="area=URL"):
        area_url("s3://bucket")

"""Mirror: all refs with their history; run again it moves nothing; what went another way is not overwritten."""

from __future__ import annotations

import numpy as np
import pytest

from cas.errors import ConflictError, RefusedError
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.storage import open_storage
from cas.testing.faults import CountingStorage, PassingStorage
from cas.transfer import mirror, transfer

BASE = np.random.default_rng(0).bytes(1 << 20)


def put(repository, text, **kind):
    return repository.put([BytesSource("base", BASE), BytesSource("head", text.encode())], **kind)


def refs(repository):
    return dict(repository.live_refs(detached=True))


def test_everything_comes_along(two):
    """Names, commits that nobody named, and all ancestors, under the ids they had; content once."""
    here, there = two
    for step in range(4):
        put(here, str(step), ref="main")
    put(here, "branch", ref="runs/a/b")
    put(here, "nobody")
    moved = mirror(here, there)

    assert refs(there) == refs(here)
    assert [commit.id for commit in there.history(there.resolve("main").commit)] == [
        commit.id for commit in here.history(here.resolve("main").commit)
    ]
    assert (moved.refs, moved.moved_refs, moved.commits) == (3, 3, 6)
    assert moved.logical_bytes > 6 * len(BASE) > 1.5 * moved.new_bytes
    assert len(list(there.storage.list("packs/"))) == 1
    assert fsck(there, read_data=True).problems == []
    assert {c.id for c in there.index.log()} == {c.id for c in here.index.log()}


def test_again_moves_nothing(two):
    """Not a byte is written: not even a lease is opened."""
    here, there = two
    put(here, "1", ref="main")
    put(here, "2")
    mirror(here, there)
    counting = CountingStorage(open_storage(there.url))
    with Repository(counting, there.declared) as again:
        moved = mirror(here, again)

    assert (moved.moved_refs, moved.commits, moved.moved_bytes) == (0, 0, 0)
    assert counting.calls.keys() <= {"list", "read"}


def test_a_ref_that_follows_is_moved(two):
    """A fast-forward needs no force, and moves only what is new."""
    here, there = two
    put(here, "1", ref="main")
    mirror(here, there)
    put(here, "2", ref="main")
    put(here, "3", ref="main")
    moved = mirror(here, there)

    assert refs(there) == refs(here)
    assert moved.commits == 2
    assert moved.new_bytes < 100


@pytest.mark.parametrize("ahead", [False, True])
def test_a_ref_that_went_another_way_is_refused(two, ahead):
    """Also one that is merely ahead. Nothing moves, whatever else was asked for; force moves it."""
    here, there = two
    put(here, "1", ref="main")
    mirror(here, there)
    theirs = put(there, "theirs", ref="main")
    put(here, "new", ref="other")
    if not ahead:
        put(here, "ours", ref="main")
    before = refs(there)
    with pytest.raises(ConflictError, match="'main'"):
        mirror(here, there)
    with pytest.raises(ConflictError, match="'main'"):
        transfer(here, there, here.resolve("main"))
    assert refs(there) == before
    assert there.index.find_checkpoints_by_prefix(str(here.resolve("other").checkpoint)) == []

    mirror(here, there, force=True)
    assert refs(here).items() <= refs(there).items()
    assert there.resolve(str(theirs.commit.id)).checkpoint == theirs.checkpoint


def test_what_the_target_has_besides_stays(two):
    """A mirror adds; it never deletes a ref."""
    here, there = two
    mine, theirs = put(here, "1", ref="mine"), put(there, "2", ref="theirs")
    mirror(here, there)
    assert refs(there) == {"mine": mine.commit.id, "theirs": theirs.commit.id}
    here.move_ref("mine", None)
    mirror(here, there)
    assert refs(there).keys() == {"mine", "theirs"}


def test_a_ref_deleted_there_comes_back(two):
    """By the record after the deletion."""
    here, there = two
    put(here, "1", ref="main")
    mirror(here, there)
    there.move_ref("main", None)
    mirror(here, there)
    assert refs(there) == refs(here)


def test_history_that_was_left_out_is_filled_in(two):
    """A single push brings one commit; a mirror afterwards brings its ancestors, though no ref moves."""
    here, there = two
    for step in range(3):
        put(here, str(step), ref="main")
    transfer(here, there, here.resolve("main"))
    assert len(list(there.history(there.resolve("main").commit))) == 1
    moved = mirror(here, there)

    assert (moved.moved_refs, moved.commits) == (0, 2)
    assert len(list(there.history(there.resolve("main").commit))) == 3


def test_ancestors_that_the_source_lacks_end_the_history(two, tmp_path):
    """As far as it exists, and no error."""
    here, there = two
    put(here, "1", ref="main")
    put(here, "2", ref="main")
    transfer(here, there, here.resolve("main"))
    with Repository.init(str(tmp_path / "third")) as third:
        assert mirror(there, third).commits == 1
        assert mirror(there, third).commits == 0
        assert refs(third) == refs(there)
        assert fsck(third).problems == []


def test_a_stale_index_points_no_ref_at_nothing(two):
    """What the target's index remembers and its storage has lost is sent again."""
    here, there = two
    put(here, "1", ref="main")
    put(here, "2", ref="main")
    mirror(here, there)
    lost = here.resolve("main~1")
    there.storage.delete(f"commits/{str(lost.commit.id)[:2]}/{lost.commit.id}")
    there.storage.delete(f"manifests/{str(lost.checkpoint)[:2]}/{lost.checkpoint}")
    here.move_ref("old", lost.commit.id)
    mirror(here, there)

    assert there.resolve("old").commit == lost.commit
    assert fsck(there, read_data=True).problems == []


class ReadOnly(PassingStorage):
    """What admits that it cannot create exclusively."""

    exclusive_create = False


def test_a_target_without_refs_is_refused_before_anything_moves(two):
    """Not after an hour of upload."""
    here, there = two
    put(here, "1", ref="main")
    counting = CountingStorage(ReadOnly(open_storage(there.url)))
    with Repository(counting, there.declared) as target:
        for move in (lambda: mirror(here, target), lambda: transfer(here, target, here.resolve("main"))):
            with pytest.raises(RefusedError, match="takes no refs"):
                move()
    assert not counting.calls

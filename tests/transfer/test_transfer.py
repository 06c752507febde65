"""Push and fetch: only what is missing moves, and only what was verified is referenced."""

from __future__ import annotations

import numpy as np
import pytest

from cas.errors import CorruptError
from cas.maintenance import fsck
from cas.repository import BytesSource
from cas.transfer import transfer

BASE = np.random.default_rng(0).normal(size=500_000).astype("f4").tobytes()


def put(repository, text, **kind):
    return repository.put([BytesSource("base", BASE), BytesSource("head", text.encode() * 3000)], **kind)


def test_a_checkpoint_arrives_whole_under_the_same_names(two):
    """Hash, commit id and ref are what they were; the index there knows it too."""
    here, there = two
    result = put(here, "1", ref="runs/a")
    moved = transfer(here, there, here.resolve("runs/a"))

    assert (moved.checkpoint, moved.commit, moved.ref) == (result.checkpoint, result.commit.id, "runs/a")
    assert there.resolve("runs/a").commit == result.commit
    manifest = there.reader.manifest(result.checkpoint)
    assert there.reader.read_blob(manifest, manifest.tree.entry("base")) == BASE
    assert fsck(there, read_data=True).problems == []
    assert there.index.find_commit(result.commit.id) == result.commit


def test_only_what_is_missing_moves(two):
    """A second checkpoint moves its own chunks; a third time nothing moves at all."""
    here, there = two
    put(here, "1", ref="main")
    second = put(here, "2", ref="main")
    first_move = transfer(here, there, here.resolve("main~1"))
    second_move = transfer(here, there, here.resolve("main"))
    again = transfer(here, there, here.resolve("main"))

    assert first_move.moved_bytes > 1_000_000 > second_move.moved_bytes > 0
    assert again.moved_bytes == 0
    assert there.resolve("main~1").commit == here.resolve("main~1").commit
    assert there.put([BytesSource("base", BASE)]).new_bytes == 0
    assert there.resolve("main").checkpoint == second.checkpoint


def test_a_commit_moves_without_its_history(two):
    """Parents are claims about the past; what is not here ends the history."""
    here, there = two
    put(here, "1", ref="main")
    put(here, "2", ref="main")
    transfer(here, there, here.resolve("main"))

    assert len(list(there.history(there.resolve("main").commit))) == 1
    assert fsck(there).problems == []


def test_damage_does_not_travel(two):
    """A flipped bit in the source stops the transfer before anything refers to it."""
    here, there = two
    put(here, "1", ref="main")
    (key,) = [info.key for info in here.storage.list("packs/")]
    data = bytearray(here.storage.read(key))
    data[len(data) // 2] ^= 4
    here.storage.replace(key, [bytes(data)])

    with pytest.raises(CorruptError):
        transfer(here, there, here.resolve("main"))
    assert there.refs.find("main") is None
    assert list(there.storage.list("manifests/")) == []


def test_a_bare_hash_gets_a_commit_once(two):
    """Pushed again it moves nothing and says nothing new; a commit that came by another way will do."""
    here, there = two
    result = put(here, "1", ref="main")
    bare = here.resolve(str(result.checkpoint))
    first, again = transfer(here, there, bare), transfer(here, there, bare)

    assert first.commit == again.commit != result.commit.id
    assert (again.moved_bytes, again.ref) == (0, None)
    assert [name for name, _ in there.live_refs(detached=True)] == [first.ref]


def test_equal_chunks_move_once(two):
    """Whatever files they are in; the figures tell what deduplication saved."""
    here, there = two
    here.put([BytesSource("a", BASE), BytesSource("b", BASE)], ref="main")
    moved = transfer(here, there, here.resolve("main"))
    assert moved.logical_bytes == 2 * len(BASE)
    assert moved.new_bytes == len(BASE) > moved.moved_bytes


class Adding:
    """Progress that adds up what it is told."""

    def __init__(self):
        self.stages, self.raw_bytes, self.stored_bytes = [], 0, 0

    def begin(self, what, total_bytes):
        self.stages.append((what, total_bytes))

    def advance(self, raw_bytes, stored_bytes=0):
        self.raw_bytes += raw_bytes
        self.stored_bytes += stored_bytes

    def end(self):
        self.stages.append("end")


def test_progress_adds_up(two):
    """Raw bytes to the whole that was announced, whatever had to move; stored bytes to what moved."""
    here, there = two
    put(here, "1", ref="main")
    put(here, "2", ref="main")
    for rev in ("main~1", "main", "main"):
        told = Adding()
        moved = transfer(here, there, here.resolve(rev), progress=told)
        assert told.stages == [("transfer", moved.logical_bytes), "end"]
        assert (told.raw_bytes, told.stored_bytes) == (moved.logical_bytes, moved.moved_bytes)

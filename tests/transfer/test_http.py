"""A plain HTTP server over a store's files is a remote to read from: GET and Range are all it needs."""

from __future__ import annotations

import numpy as np
import pytest

import cas
from cas.errors import NotFoundError, RefusedError
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.transfer import transfer

pytestmark = pytest.mark.server

BIG = np.random.default_rng(0).bytes(10 << 20)


@pytest.fixture
def served(tmp_path, serve):
    """A store with one checkpoint in a folder, its hash, and the server over that folder."""
    with Repository.init(str(tmp_path / "store")) as repository:
        result = repository.put([BytesSource("big", BIG), BytesSource("small", b"x")], ref="main")
    return serve(str(tmp_path / "store")), str(result.checkpoint)


def test_a_checkpoint_is_pulled_by_its_hash(served, tmp_path):
    """format.json, the manifest, and ranges of one pack."""
    server, checkpoint = served
    with cas.open(server.endpoint) as store:
        store.pull(checkpoint, tmp_path / "out")

    assert (tmp_path / "out" / "big").read_bytes() == BIG
    assert server.count() == server.count("GET")
    assert [request.target.split("/")[1] for request in server if not request.range] == ["format.json", "manifests"]
    assert len([request for request in server if request.range]) <= 3


def test_it_is_fetched_into_a_store(served, tmp_path):
    """And is as good there as at home."""
    server, checkpoint = served
    with Repository.init(str(tmp_path / "mine")) as mine, Repository.open(server.endpoint) as theirs:
        moved = transfer(theirs, mine, theirs.resolve(checkpoint))
        assert str(moved.checkpoint) == checkpoint
        assert moved.moved_bytes >= len(BIG)
        again = transfer(theirs, mine, theirs.resolve(checkpoint))
        assert (again.moved_bytes, again.commit) == (0, moved.commit)
        assert fsck(mine, read_data=True).problems == []


def test_what_it_cannot_do_is_said(served, tmp_path):
    """Names need a listing, and nothing can be pushed there."""
    server, checkpoint = served
    with Repository.open(server.endpoint) as theirs, Repository.open(str(tmp_path / "store")) as mine:
        with pytest.raises(RefusedError, match="full hash"):
            theirs.resolve("main")
        with pytest.raises(NotFoundError):
            theirs.resolve("0" * 64)
        with pytest.raises(RefusedError, match="read-only"):
            transfer(mine, theirs, mine.resolve(checkpoint))

"""Which part of a cas:// path is the REV."""

from __future__ import annotations

import pytest

from cas.errors import NotFoundError
from cas.repository import BytesSource
from cas.views.places import Place, Places


@pytest.fixture
def commits(repository):
    """``main`` with two commits, ``main/new`` below it, ``runs/a``, and a ref that was deleted."""
    found = {}
    for number, ref in enumerate(["main", "main", "main/new", "runs/a", "old/x"]):
        result = repository.put([BytesSource("new/x", bytes([number]))], ref=ref)
        found[f"{ref}:{number}"] = result
    repository.move_ref("old/x", None)
    return found


@pytest.fixture
def find(repository):
    return Places(repository).find


def test_the_rev_is_the_longest_ref(find, commits):
    """Slashes in refs need no escape."""
    assert find("main/x") == Place(commits["main:1"].checkpoint, "main", "x")
    assert find("main/new/x") == Place(commits["main/new:2"].checkpoint, "main/new", "x")
    assert find("runs/a/b/c") == Place(commits["runs/a:3"].checkpoint, "runs/a", "b/c")
    assert find("/main//x/") == find("main/x")


def test_what_a_longer_ref_hides_is_behind_a_tilde(find, commits):
    """``~0`` is the ref itself, and ends it; ``~1`` is the one before."""
    assert find("main~0/new/x") == Place(commits["main:1"].checkpoint, "main~0", "new/x")
    assert find("main~1/new/x") == Place(commits["main:0"].checkpoint, "main~1", "new/x")
    assert find("main/a~1/x").inner == "a~1/x"


def test_a_hash_is_a_hash_whatever_refs_there_are(repository, commits):
    """Whole or its beginning, of a checkpoint or a commit; and it costs no look at the refs."""
    result = commits["main:1"]
    hash_like = str(result.checkpoint)[:8]
    repository.put([BytesSource("y", b"y")], ref=f"{hash_like}/x")
    find = Places(repository).find
    for rev in (str(result.checkpoint), hash_like, str(result.commit.id)):
        assert find(f"{rev}/x") == Place(result.checkpoint, rev, "x")
    assert find(f"{result.commit.id}~1").checkpoint == commits["main:0"].checkpoint


@pytest.mark.parametrize(
    "path", ["", "/", "nothing", "runs", "runs/b/x", "old/x", "..", "a\0", "0" * 64, "~1", "x" * 300]
)
def test_what_begins_with_no_rev_is_not_found(find, commits, path):
    """Deleted refs and the beginnings of refs too; whatever the text."""
    with pytest.raises(NotFoundError):
        find(path)


def test_refs_below_a_prefix(repository, commits):
    """Live ones with names of their own."""
    places = Places(repository)
    assert places.refs_below("") == {"main", "main/new", "runs/a"}
    assert places.refs_below("runs") == {"runs/a"}
    assert places.refs_below("main") == {"main/new"}
    assert places.refs_below("old") == places.refs_below("..") == set()


def test_a_ref_keeps_its_meaning_while_it_is_looked_at(repository, commits):
    """For one `Places`; the next sees where it has moved."""
    places = Places(repository)
    before = places.find("main").checkpoint
    after = repository.put([BytesSource("z", b"z")], ref="main").checkpoint
    assert places.find("main/q").checkpoint == before != after
    assert Places(repository).find("main/q").checkpoint == after

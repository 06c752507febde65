"""Refs: one winner of every race, no move lost, deleted names stay deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError
from cas.format import Digest
from cas.repository import BytesSource, Repository
from cas.repository.refs import Refs
from cas.storage import open_storage
from cas.testing.faults import PassingStorage


def some(text: str) -> Digest:
    return Digest.of(text.encode())


def test_the_highest_record_wins():
    """Each move is a record of its own; the last one holds."""
    refs = Refs(open_storage("memory://refs-highest"))
    for number in range(12):
        refs.advance("main", some(str(number)), number)

    assert refs.find("main").commit == some("11")
    assert refs.find("main").sequence == 12
    assert list(refs.heads()) == [("main", 12)]


def test_of_many_racers_one_moves_the_ref():
    """The others are told, and nothing of theirs is left."""
    refs = Refs(open_storage("memory://refs-race"))

    def race(number: int) -> bool:
        try:
            refs.advance("main", some(str(number)), 0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert sum(won) == 1
    assert refs.find("main").commit == some(str(won.index(True)))


def test_nested_names_are_apart():
    """``a`` and ``a/b`` are two refs."""
    refs = Refs(open_storage("memory://refs-nested"))
    refs.advance("a/b", some("inner"), 0)
    assert refs.find("a") is None
    refs.advance("a", some("outer"), 0)
    assert (refs.find("a").commit, refs.find("a/b").commit) == (some("outer"), some("inner"))


class CheckThenWrite(PassingStorage):
    """A storage that admits to have no exclusive create."""

    exclusive_create = False


def test_refs_are_refused_where_create_is_not_exclusive():
    """A storage that lets two writers win would lose one of their commits."""
    storage = CheckThenWrite(open_storage("memory://refs-refused"))
    with pytest.raises(RefusedError, match="doctor"):
        Refs(storage).advance("main", some("x"), 0)
    assert list(storage.list("")) == []


def test_writers_that_share_a_ref_lose_no_commit(tmp_path):
    """Eight writers on one branch: a linear history of all their commits."""
    url = str(tmp_path / "store")
    Repository.init(url).close()

    def work(number: int) -> None:
        with Repository.open(url) as repository:
            for step in range(3):
                repository.put([BytesSource("a", f"{number} {step}".encode())], ref="main")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with Repository.open(url) as repository:
        history = list(repository.history(repository.resolve("main").commit))
        assert len(history) == 24
        assert len({commit.checkpoint for commit in history}) == 24


def test_sessions_that_take_turns_say_everything_once(tmp_path):
    """A session knows where it left a ref, and still sees at once that another moved it: no commit is made in vain."""
    url = str(tmp_path / "store")
    with Repository.init(url) as one, Repository.open(url) as other:
        for step in range(6):
            (one, other)[step % 2].put([BytesSource("a", str(step).encode())], ref="main")
        assert len(list(one.history(one.resolve("main").commit))) == 6
        assert len(one.index.log()) == 6


def test_a_deleted_ref_is_gone_and_can_come_back(tmp_path):
    """Deleting is one more record; the content stays."""
    with Repository.init(str(tmp_path / "store")) as repository:
        put = repository.put([BytesSource("a", b"1")], ref="main")
        repository.move_ref("main", None)
        with pytest.raises(NotFoundError, match="main"):
            repository.resolve("main")
        with pytest.raises(NotFoundError, match="main"):
            repository.move_ref("main", None)
        assert repository.resolve(str(put.commit.id)).checkpoint == put.checkpoint
        again = repository.put([BytesSource("a", b"2")], ref="main")
        assert again.commit.parents == ()


@pytest.mark.parametrize("name", ["", "a b", "a~1", "../up", "/abs", "deadbeef", "a/0000000000000001", "-x", "a:b"])
def test_names_with_another_meaning_are_refused(name, tmp_path):
    """A ref that a REV could not tell apart is never made."""
    with Repository.init(str(tmp_path / "store")) as repository, pytest.raises(FormatError):
        repository.put([BytesSource("a", b"1")], ref=name)

"""An index has all commits that refs lead to and no others, whoever wrote them and whatever failed meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import NotFoundError, StorageError
from cas.format import Commit, Digest, StoreFormat
from cas.index import Index
from cas.repository import BytesSource, Repository
from cas.storage import Storage, open_storage
from cas.testing.faults import CountingStorage, FailAt, PassingStorage

HISTORY = ("commits", "commit_parents", "metrics", "params", "refs")


def put(repository: Repository, text: str, ref: str | None = "main", **about) -> Commit:
    said = Commit(Digest.of(b""), time_us=1, message=text, metrics={"loss": 0.5}, params={"lr": 1}, **about)
    return repository.put([BytesSource("a", text.encode())], ref=ref, about=said).commit


def messages(repository: Repository) -> list[str]:
    return sorted(commit.message for commit in repository.index.log())


def reachable(repository: Repository) -> list[Digest]:
    """The commits that any record of any ref leads to, by the store alone."""
    found: set[Digest] = set()
    waiting = [repository.refs.read(*move).commit for move in repository.refs.records()]
    while waiting:
        one = waiting.pop()
        if one is None or one in found:
            continue
        with suppress(NotFoundError):
            waiting += repository.reader.commit(one).parents
            found.add(one)
    return sorted(found)


def assert_index_has_history(repository: Repository) -> None:
    """Every commit that a ref leads to, no other, none twice; and all that a rebuilt index would say of them."""
    assert sorted(commit.id for commit in repository.index.log()) == reachable(repository)
    learnt = repository.index.dump()
    repository.reindex()
    rebuilt = repository.index.dump()
    assert {table: learnt[table] for table in HISTORY} == {table: rebuilt[table] for table in HISTORY}
    assert all(set(rows) <= set(rebuilt[table]) for table, rows in learnt.items())


@contextmanager
def opened_on(storage: Storage) -> Iterator[Repository]:
    """A repository whose storage misbehaves from its first call on."""
    declared = StoreFormat.decode(Path(storage.local_path, "format.json").read_bytes(), "format.json")
    with Repository(storage, declared) as repository:
        yield repository


@pytest.fixture
def session(tmp_path, monkeypatch) -> Iterator[Callable[[str], Repository]]:
    """Sessions of several machines that share a store: each has an index of its own."""
    url = str(tmp_path / "store")
    Repository.init(url).close()
    opened: list[Repository] = []

    def start(name: str, storage: Storage | None = None) -> Repository:
        monkeypatch.setenv("CAS_INDEX", str(tmp_path / f"{name}.sqlite"))
        storage = storage or open_storage(url)
        declared = StoreFormat.decode((tmp_path / "store" / "format.json").read_bytes(), "format.json")
        opened.append(Repository(storage, declared))
        assert opened[-1].index.name.endswith(f"{name}.sqlite")
        return opened[-1]

    yield start
    while opened:
        opened.pop().close()


def test_machines_that_take_turns_know_each_others_commits(session):
    """Each put builds on the other's commit, which the index learns with it."""
    one, two = session("one"), session("two")
    for step in range(6):
        put((one, two)[step % 2], str(step))
        assert messages((one, two)[step % 2]) == [str(number) for number in range(step + 1)]
    assert one.catch_up() == 1
    for repository in (one, two):
        assert_index_has_history(repository)


def test_what_a_ref_pointed_at_meanwhile_is_known_too(session):
    """It was moved away and back, or deleted, between two looks: the records of that are in the store."""
    one, two = session("one"), session("two")
    kept = put(one, "kept")
    put(two, "aside", "work")
    aside = put(two, "more", "work")
    two.move_ref("main", aside.id)
    two.move_ref("main", kept.id)
    put(two, "gone", "gone")
    two.move_ref("gone", None)
    assert put(one, "next").parents == (kept.id,)
    assert messages(one) == ["aside", "kept", "more", "next"]
    assert one.catch_up() == 2
    assert messages(one) == ["aside", "gone", "kept", "more", "next"]
    for repository in (one, two):
        repository.catch_up()
        assert_index_has_history(repository)


def test_a_commit_is_known_with_parents_that_others_wrote(session):
    """Whoever names parents need not have heard of them before."""
    one, two = session("one"), session("two")
    put(one, "0", "elsewhere")
    parent = put(two, "1", "elsewhere")
    merged = put(one, "2", "main", parents=(parent.id,))
    assert [commit.message for commit in one.index.log(tip=merged.id)] == ["2", "1", "0"]
    one.catch_up()
    assert_index_has_history(one)


MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["put", "tag", "delete", "look"]), st.sampled_from([None, "x", "y"])),
    max_size=8,
)


@settings(max_examples=12, deadline=None)
@given(moves=MOVES)
def test_whatever_machines_do_in_turns_each_learns_it_all(moves, tmp_path_factory):
    """Puts, moves and deletions by three sessions, two of which share an index."""
    folder = tmp_path_factory.mktemp("turns")
    url = str(folder / "store")
    Repository.init(url).close()
    with Repository.open(url) as one, Repository.open(url) as two, Repository.open(url) as three:
        for repository, name in ((one, "x"), (two, "x"), (three, "y")):
            repository.index = Index.open(folder / name)
            repository.index.bind(repository.declared.store_id)
        for step, (who, what, ref) in enumerate(moves):
            repository = (one, two, three)[who]
            if what == "put":
                put(repository, str(step), ref)
            elif what == "look":
                repository.catch_up()
            elif ref is not None:
                with suppress(NotFoundError):
                    repository.move_ref(ref, repository.resolve("x").commit.id if what == "tag" else None)
        for repository in (one, three):
            repository.catch_up()
            assert repository.catch_up() == 0
            assert_index_has_history(repository)


def test_a_move_that_the_database_did_not_take_is_made_up_for(tmp_path):
    """The ref was made, then the index was busy: the next put of the same session, or the next look, mends it."""
    path = tmp_path / "store" / "index.sqlite"
    with Repository.init(str(tmp_path / "store")) as repository:
        repository.index = Index.open(path, busy_timeout_s=0.05)
        put(repository, "same")
        for ref in ("main", None):
            with closing(sqlite3.connect(path)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StorageError, match="busy"):
                    put(repository, "same", ref, step=1)
        assert len(repository.index.log()) == 1
        put(repository, "same", step=2)
        assert [commit.step for commit in repository.index.log(tip=repository.resolve("main").commit.id)] == [
            2,
            1,
            None,
        ]
        assert repository.catch_up() == 1
        assert_index_has_history(repository)


def test_a_process_that_died_between_ref_and_index_is_made_up_for(tmp_path):
    """An older copy of the index is what it leaves: the first look finds commits of every kind of ref."""
    url = tmp_path / "store"
    with Repository.init(str(url)) as repository:
        put(repository, "known")
    shutil.copy(url / "index.sqlite", tmp_path / "older")
    with Repository.open(str(url)) as repository:
        put(repository, "lost")
        put(repository, "lost too", None)
    (tmp_path / "older").replace(url / "index.sqlite")
    with Repository.open(str(url)) as repository:
        assert messages(repository) == ["known"]
        put(repository, "next")
        assert messages(repository) == ["known", "lost", "next"]
        repository.catch_up()
        assert messages(repository) == ["known", "lost", "lost too", "next"]
        assert_index_has_history(repository)


@pytest.mark.parametrize("records", [1, 256])
def test_a_look_that_is_cut_short_anywhere_is_finished_by_the_next(session, tmp_path, monkeypatch, records):
    """After any number of requests: no commit is known without its ancestors, no ref without its past."""
    monkeypatch.setattr("cas.repository.catch_up._RECORDS", records)
    put(session("behind"), "0")
    other = session("other")
    for step in range(1, 4):
        put(other, str(step))
    put(other, "aside", None)
    for step in count():
        for path in tmp_path.glob("behind.sqlite*"):
            shutil.copy(path, tmp_path / path.name.replace("behind", f"cut-{step}"))
        storage = open_storage(str(tmp_path / "store"))
        failing = FailAt(step, storage, StorageError("gone", transient=True))
        with suppress(StorageError):
            session(f"cut-{step}", failing).catch_up()
        again = session(f"cut-{step}")
        known = {commit.id for commit in again.index.log()}
        assert all(set(commit.parents) <= known for commit in again.index.log())
        again.catch_up()
        assert messages(again) == ["0", "1", "2", "3", "aside"]
        assert_index_has_history(again)
        if not failing.failed:
            break
    assert step > 12  # records, commits, manifests, packs, and the listings


class Overtaken(PassingStorage):
    """Before the record of ``key`` is made, somebody else is quicker, once."""

    def __init__(self, inner: Storage, key: str, first: Callable[[], object]) -> None:
        super().__init__(inner)
        self.key, self.first = key, first

    def create(self, key, data):
        if key == self.key and self.first is not None:
            first, self.first = self.first, None
            first()
        super().create(key, data)


def test_a_commit_that_lost_its_ref_to_another_is_no_history(session, tmp_path):
    """It is in the store, for gc to take; no search finds it, neither now nor after a rebuild."""
    other = session("other")
    put(other, "0")
    storage = Overtaken(open_storage(str(tmp_path / "store")), f"refs/main/{2:016d}", lambda: put(other, "quicker"))
    late = put(session("one", storage), "late")
    one = session("one")
    assert len(list(one.storage.list("commits/"))) == 4
    assert [commit.message for commit in one.history(late)] == ["late", "quicker", "0"]
    assert messages(one) == ["0", "late", "quicker"]
    assert [commit.message for commit, _ in one.index.best("loss", maximize=False, limit=None)].count("late") == 1
    assert one.reindex().commits == 3
    assert_index_has_history(one)


def test_commits_that_were_brought_are_known_once_a_ref_leads_to_them(session, tmp_path):
    """And are not read for that: whoever wrote them has them at hand."""
    counting = CountingStorage(open_storage(str(tmp_path / "store")))
    repository = session("one", counting)
    checkpoint = put(repository, "content").checkpoint
    chain = [Commit(checkpoint, message="0")]
    for step in range(1, 5):
        chain.append(Commit(checkpoint, (chain[-1].id,), message=str(step)))
    for commit in chain[2:]:
        repository.add_commit(commit)
    assert messages(repository) == ["content"]
    counting.calls.clear()
    repository.advance("brought", chain[-1].id, 0)
    assert messages(repository) == ["2", "3", "4", "content"]
    assert counting.calls["read"] == 2  # the ref's record, and the parent that is not there
    for commit in chain[:2]:  # a history that ended is filled in, oldest first
        repository.add_commit(commit)
    assert messages(repository) == ["0", "1", "2", "3", "4", "content"]
    assert_index_has_history(repository)


def damage(url: Path, key: str, how: str) -> None:
    path = url / key
    data = path.read_bytes()
    path.unlink()
    if how == "garbled":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("how", ["garbled", "cut", "missing"])
@pytest.mark.parametrize("kind", ["packs", "manifests", "commits", "refs/work"])
def test_one_bad_object_does_not_keep_a_machine_from_the_others(session, tmp_path, kind, how):
    """Behind or new, a machine puts and searches all that is whole; `reindex` names what it left out."""
    url = tmp_path / "store"
    behind, other = session("behind"), session("other")
    put(behind, "0")
    before = {info.key for info in other.storage.list(f"{kind}/")}
    put(other, "bad", "work")
    (key,) = {info.key for info in other.storage.list(f"{kind}/")} - before
    put(other, "1")
    damage(url, key, how)
    expected = {"0", "1", "bad"} if kind in ("packs", "manifests") else {"0", "1"}

    behind.catch_up()
    assert set(messages(behind)) == expected
    put(behind, "2")
    new = session("new")
    put(new, "3")
    assert set(messages(new)) == expected | {"2", "3"}
    assert len(new.index.best("loss", maximize=False, limit=None)) == len(expected) + 2
    assert new.index.stats().commits == len(expected) + 2
    left_out = [one.key for one in new.reindex().left_out]
    # Of what is simply not there, only a commit that a ref names is missed.
    assert left_out == ([key] if how != "missing" or kind == "commits" else [])
    assert set(messages(new)) == expected | {"2", "3"}
    behind.catch_up()
    assert set(messages(behind)) == set(messages(new))


def test_what_is_whole_of_a_line_is_known_up_to_the_damage(session, tmp_path):
    """A damaged commit says nothing of its parents; records of the ref still lead to them."""
    other = session("other")
    made = [put(other, str(step)) for step in range(5)]
    damage(tmp_path / "store", f"commits/{str(made[2].id)[:2]}/{made[2].id}", "garbled")
    assert messages(session("new")) == ["0", "1", "3", "4"]
    behind = session("behind")
    behind.catch_up()
    assert messages(behind) == ["0", "1", "3", "4"]

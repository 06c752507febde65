"""One SQL database: connections, and transactions that threads and processes may share.

On SQLite and PostgreSQL alike there is one writer at a time, and readers never
wait: they see the state before or after a write, whole. Writers of this process
queue on a lock; those of others on ``BEGIN IMMEDIATE`` or an advisory lock. All
differences between the two databases that are not SQLAlchemy's are in this module.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from cas.errors import RefusedError, StorageError
from cas.index.address import Address
from cas.index.failures import busy_error, translated
from cas.index.filesystem import network_filesystem

__all__ = ["BUSY_TIMEOUT_S", "Database"]

BUSY_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 10
# Connections kept between calls, each with a cache of its own; more are made while more threads are at it.
_POOL = {"pool_size": 2, "max_overflow": -1}

_PRAGMAS = (
    "foreign_keys = ON",
    # The index can be rebuilt, so losing the last transactions to a power cut is fine; a torn file is not.
    "synchronous = NORMAL",
    "cache_size = -65536",  # KiB: all pages of a million chunks, so that inserting at random places stays in memory
    "journal_size_limit = 67108864",  # bytes that the log keeps on disk after a rebuild
)
_WRITE = "cas_write"


class Database:
    """A connected database. Use `Database.open`, close it when done.

    Attributes:
        address: where it is.
        name: what messages call it.
    """

    def __init__(self, address: Address, engine: Engine, busy_timeout_s: float) -> None:
        self.address, self.name = address, address.name
        self._engine, self._busy_timeout_s = engine, busy_timeout_s
        self._turn = threading.Lock()
        self._thread = threading.local()

    @classmethod
    def open(cls, url_or_path: str | os.PathLike[str], busy_timeout_s: float = BUSY_TIMEOUT_S) -> Database:
        """Prepare to connect; an SQLite file and its folders are made if they are not there.

        Raises:
            FormatError: not a URL of SQLite or PostgreSQL.
            RefusedError: SQLite on a network file system, or psycopg is not installed.
            StorageError: the folder cannot be made.
        """
        address = Address.parse(url_or_path)
        engine = _sqlite(address, busy_timeout_s) if address.is_sqlite else _postgres(address)
        return cls(address, engine, busy_timeout_s)

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by; inside `writing` the same one, so that a writer sees what it wrote."""
        if self.address.is_sqlite and self.address.path is None:
            with self.writing() as connection:  # all share the one connection that a database in memory has
                yield connection
            return
        with translated(self.address):
            if (held := self._held()) is not None:
                yield held
            else:
                with self._engine.connect() as connection:
                    yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed if the block ends, undone if it raises. Nested ones are part of the outermost.

        Raises:
            StorageError: transient, when another writer was busy for longer than the time-out.
        """
        if (held := self._held()) is not None:
            with translated(self.address):
                yield held
            return
        if not self._turn.acquire(timeout=self._busy_timeout_s):
            raise busy_error(self.name)
        try:
            with translated(self.address), self._engine.connect() as connection:
                connection = connection.execution_options(**{_WRITE: True})
                with connection.begin():
                    if not self.address.is_sqlite:
                        _take_turn(connection, self._busy_timeout_s)
                    self._thread.connection = connection
                    try:
                        yield connection
                    finally:
                        self._thread.connection = None
        finally:
            self._turn.release()

    def _held(self) -> Connection | None:
        held: Connection | None = getattr(self._thread, "connection", None)
        return held


def _sqlite(address: Address, busy_timeout_s: float) -> Engine:
    path = address.path
    if path is not None:
        if (kind := network_filesystem(path)) is not None:
            raise RefusedError(
                f"index {path} lies on a network file system ({kind}), where SQLite's write-ahead log is not safe;\n"
                "set CAS_INDEX to a file on a local disk, or to postgresql+psycopg://…"
            )
        try:
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"index {path}: cannot make its folder: {error.strerror}") from error
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=lambda: _connect_sqlite(address, busy_timeout_s),
        hide_parameters=True,
        **({"poolclass": StaticPool} if path is None else {"poolclass": QueuePool, **_POOL}),
    )
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_sqlite(address: Address, busy_timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:" if address.path is None else address.path,
        timeout=busy_timeout_s,
        isolation_level=None,  # else the driver would decide when transactions begin, and never immediately
        check_same_thread=False,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if address.path is not None:
            _use_write_ahead_log(connection, address.name, busy_timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection, name: str, busy_timeout_s: float) -> None:
    deadline_s = time.monotonic() + busy_timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # Two processes that open a new file at once: SQLite does not apply its own time-out to this step.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise RefusedError(f"index {name}: SQLite cannot keep a write-ahead log there; set CAS_INDEX to another disk")


def _begin_sqlite(connection: Connection) -> None:
    # A write that began as a read fails at once when another writer was quicker; an immediate one waits.
    immediate = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _postgres(address: Address) -> Engine:
    try:
        return create_engine(
            address.url,
            connect_args={"connect_timeout": _CONNECT_TIMEOUT_S},
            hide_parameters=True,
            pool_pre_ping=True,
            **_POOL,
        )
    except ModuleNotFoundError as error:
        raise RefusedError("an index in PostgreSQL needs psycopg; run `pip install 'cas[postgres]'`") from error


def _take_turn(connection: Connection, busy_timeout_s: float) -> None:
    """One writer at a time, as in SQLite: rows then never deadlock, and a rebuild is alone."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(busy_timeout_s * 1000)}")
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(hashtext('cas index'), hashtext(coalesce(current_schema(), '')))"
    )

"""`Index`: what the rest of cas asks about a store without reading the store.

The object store is the truth; every row here is a fact that was read from it.
All methods may be called from any thread, and any number of processes may have
one index open. A write is done, and seen by everyone, when its method returns.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, delete, insert, select

from cas.errors import RefusedError
from cas.format import Commit, Digest, Location, Manifest, PackEntry, RefRecord
from cas.index import content, history, locations, search, stats, where
from cas.index.database import BUSY_TIMEOUT_S, Database
from cas.index.failures import damaged_error
from cas.index.migration import ensure_schema, read_version
from cas.index.schema import TABLES, checkpoints, chunks, commits, packs, refs, stores

__all__ = ["Index"]


class Index:
    """The index of one store. Use `Index.open`; close it when done, or use it as a context manager.

    Every method raises StorageError when the database fails (transient: busy, or the server does
    not answer) and CorruptError when an SQLite file is damaged; `cas reindex` mends that.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- open and close

    @classmethod
    def open(cls, url_or_path: str | os.PathLike[str], *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Index:
        """Open an index; create it, or upgrade its schema, where that is needed.

        Args:
            url_or_path: an SQLite file, ``sqlite:///PATH``, ``sqlite://`` (in memory: gone when
                closed) or ``postgresql+psycopg://…``; with ``?options=-csearch_path=NAME`` several
                indexes share one PostgreSQL database, each in a schema of its own.
            busy_timeout_s: how long a write waits for other writers.

        Raises:
            FormatError: written by a newer cas, another program's database, or not such a URL.
            RefusedError: SQLite on a network file system, or psycopg is not installed.
            CorruptError: the file is damaged, or is no SQLite database.
            StorageError: it cannot be opened or upgraded.
        """
        database = Database.open(url_or_path, busy_timeout_s)
        try:
            ensure_schema(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @property
    def name(self) -> str:
        """Where the index is, without secrets."""
        return self._database.name

    def schema_version(self) -> str:
        """The version of the schema, such as ``0001``."""
        with self._database.reading() as connection:
            return str(read_version(connection))

    def close(self) -> None:
        """Give back all connections. The index is not used afterwards."""
        self._database.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the whole

    def bind(self, store_id: str) -> None:
        """Make sure that this is the index of that store; a new or cleared one becomes so.

        Raises:
            RefusedError: it is another store's, and what that one has says nothing about this one.
        """
        with self._database.reading() as connection:
            bound = connection.scalar(select(stores.c.id))
        if bound is None:
            with self._database.writing() as connection:
                bound = connection.scalar(select(stores.c.id))
                if bound is None:
                    connection.execute(insert(stores).values(id=store_id))
                    return
        if bound != store_id:
            raise RefusedError(
                f"index {self.name} belongs to store {bound}, not to {store_id};\n"
                "set CAS_INDEX to another one, or unset it"
            )

    def check(self) -> None:
        """Look through a whole SQLite file; a server looks after its own.

        Raises:
            CorruptError: it is damaged somewhere.
        """
        if self._database.address.is_sqlite:
            with self._database.reading() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if found != "ok":
                raise damaged_error(self.name, str(found))

    def is_empty(self) -> bool:
        """Whether nothing was learnt yet."""
        with self._database.reading() as connection:
            return not any(
                connection.execute(select(1).select_from(table).limit(1)).first()
                for table in (packs, checkpoints, commits, refs)
            )

    def clear(self) -> None:
        """Forget everything, also which store it was about."""
        with self._database.writing() as connection:
            for table in reversed(TABLES):
                connection.execute(delete(table))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is added within becomes known together, or not at all."""
        with self._database.writing():
            yield

    @contextmanager
    def rebuilding(self) -> Iterator[None]:
        """Replace everything: the index is cleared, and what this thread adds in the block is its new content.

        One transaction: others see the old content until the block ends, and if it raises, or the
        process dies, the old content stays. Their writes wait for the end, up to their time-out; do
        not wait for another thread's write inside the block.
        """
        with self._database.writing():
            self.clear()
            yield

    def dump(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything the index knows, in one canonical form: equal knowledge gives equal dumps.

        Returns:
            For each table its sorted rows; a pack stands under its digest, not its local number.
        """
        with self._database.reading() as connection:
            return {
                table.name: sorted((tuple(row) for row in connection.execute(_portable(table))), key=repr)
                for table in TABLES
            }

    def stats(self) -> stats.IndexStats:
        """Count what the store holds; a second or two for a million chunks."""
        with self._database.reading() as connection:
            return stats.read_stats(connection)

    # -- packs and chunks

    def add_pack(self, pack: Digest, size_bytes: int, entries: Sequence[PackEntry], generation: int) -> None:
        """Learn that a pack is in the store, or, if it is known, that it still is in a later generation.

        Args:
            pack: its id.
            size_bytes: of the whole object.
            entries: its whole table of contents.
            generation: the store's generation in which the pack was known to be there.
        """
        self.add_packs([(pack, size_bytes, entries)], generation)

    def add_packs(self, packs: Sequence[locations.PackContents], generation: int) -> None:
        """As `add_pack`, of several at once, which is quicker."""
        with self._database.writing() as connection:
            locations.add_packs(connection, packs, generation)

    def has_pack(self, pack: Digest, generation: int = 0) -> bool:
        """Whether the pack is known, in that generation or a later one."""
        return bool(self.known_packs([pack], generation))

    def known_packs(self, packs: Iterable[Digest | bytes], generation: int = 0) -> set[Digest]:
        """Those of the packs that are known, in that generation or a later one."""
        with self._database.reading() as connection:
            return locations.known_packs(connection, packs, generation)

    def find_chunks(self, digests: Iterable[Digest | bytes], generation: int) -> dict[Digest, Location]:
        """Where chunks lie that are known to be present in ``generation``; the others are left out.

        What was learnt in an older generation is unknown, never present: gc may have taken it.
        """
        with self._database.reading() as connection:
            return locations.find_chunks(connection, digests, generation)

    # -- checkpoints and blobs

    def add_checkpoint(self, manifest: Manifest) -> None:
        """Learn of a checkpoint and its blobs. Where its chunks lie is learnt from packs alone."""
        self.add_checkpoints([manifest])

    def add_checkpoints(self, manifests: Iterable[Manifest]) -> None:
        """As `add_checkpoint`, of several at once, which is quicker."""
        with self._database.writing() as connection:
            content.add_checkpoints(connection, manifests)

    def known_checkpoints(self, checkpoints: Iterable[Digest | bytes]) -> set[Digest]:
        """Those of the checkpoints that are known."""
        with self._database.reading() as connection:
            return content.known_checkpoints(connection, checkpoints)

    def find_blobs(self, blobs: Iterable[Digest | bytes]) -> dict[Digest, Digest]:
        """For each known blob a checkpoint whose manifest has its recipe; the others are left out.

        A hint: whether the blob's chunks are present, `find_chunks` knows.
        """
        with self._database.reading() as connection:
            return content.find_blobs(connection, blobs)

    def find_checkpoints_by_prefix(self, prefix: str) -> list[Digest]:
        """The checkpoint hashes that begin with these 1 to 64 hexadecimal digits, in order."""
        with self._database.reading() as connection:
            return content.find_prefix(connection, checkpoints.c.hash, prefix)

    # -- commits and refs

    def add_commit(self, commit: Commit) -> None:
        """Learn of a commit."""
        self.add_commits([commit])

    def add_commits(self, commits: Sequence[Commit]) -> None:
        """As `add_commit`, of several at once, which is quicker."""
        with self._database.writing() as connection:
            history.add_commits(connection, commits)

    def follow(self, record: RefRecord, commit: Commit | None = None) -> bool:
        """Learn of the move of a ref, and of the commit made for it, if nothing that comes before is unknown.

        Args:
            record: where the ref points now.
            commit: the one it points at, unless that is known already.

        Returns:
            False, and nothing was learnt: an earlier record of the ref is unknown, a parent, or the checkpoint.
        """
        with self._database.writing() as connection:
            return history.follow(connection, record, commit)

    def find_commit(self, commit: Digest) -> Commit | None:
        """The commit of that id, equal to what was added, or None."""
        with self._database.reading() as connection:
            return history.find_commit(connection, commit)

    def known_commits(self, commits: Iterable[Digest | bytes]) -> set[Digest]:
        """Those of the commits that are known."""
        with self._database.reading() as connection:
            return history.known_commits(connection, commits)

    def has_child(self, commit: Digest) -> bool:
        """Whether a commit is known that has this one as a parent."""
        with self._database.reading() as connection:
            return history.has_child(connection, commit)

    def find_commits_by_prefix(self, prefix: str) -> list[Digest]:
        """The commit ids that begin with these 1 to 64 hexadecimal digits, in order."""
        with self._database.reading() as connection:
            return content.find_prefix(connection, commits.c.id, prefix)

    def commits_of(self, checkpoint: Digest) -> list[Commit]:
        """All commits of a checkpoint, newest first."""
        with self._database.reading() as connection:
            return history.commits_of(connection, checkpoint)

    def log(
        self,
        *,
        run: str | None = None,
        trial: str | None = None,
        where: Sequence[str] = (),
        tip: Digest | None = None,
        limit: int | None = None,
    ) -> list[Commit]:
        """Commits, newest first.

        Args:
            run, trial: only those of this run or trial.
            where: searches (docs/search.md), all of which must be true of a commit.
            tip: only this commit and its first parents, as far as the index knows them.
            limit: at most so many.

        Raises:
            FormatError: a search is malformed.
        """
        condition = self._condition(where)
        with self._database.reading() as connection:
            return history.log(connection, run, trial, limit, condition, tip)

    def best(
        self,
        metric: str,
        *,
        maximize: bool,
        run: str | None = None,
        trial: str | None = None,
        where: Sequence[str] = (),
        limit: int | None = 1,
    ) -> list[tuple[Commit, float]]:
        """The commits with the highest or lowest ``metric`` and its value, the best first.

        Of equals the oldest comes first. A commit without the metric, or with NaN, is never among them.

        Args:
            metric: its name.
            maximize: whether the highest is best.
            run, trial, where, limit: as for `log`.

        Raises:
            FormatError: a search is malformed.
        """
        condition = self._condition(where)
        with self._database.reading() as connection:
            return history.best(connection, metric, maximize, run, limit, trial, condition)

    def _condition(self, searches: Sequence[str]) -> ColumnElement[bool] | None:
        """What must hold for all of them to be true, before any database is asked."""
        sqlite = self._database.address.is_sqlite
        found = [search.condition(where.parse(text), sqlite) for text in searches]
        return and_(*found) if found else None

    def set_ref(self, record: RefRecord) -> None:
        """Learn of a move of a ref. The highest sequence wins, in whatever order they arrive."""
        self.set_refs([record])

    def set_refs(self, records: Iterable[RefRecord]) -> None:
        """As `set_ref`, of several at once, which is quicker."""
        with self._database.writing() as connection:
            history.set_refs(connection, records)

    def refs(self) -> dict[str, Digest]:
        """Every ref that is not deleted and the commit it points at, in order of names."""
        with self._database.reading() as connection:
            return history.refs_now(connection)

    def ref_sequence(self, name: str) -> int:
        """The highest sequence known of one ref, 0 for a name that is not known."""
        with self._database.reading() as connection:
            return history.ref_sequence(connection, name)

    def ref_sequences(self) -> dict[str, int]:
        """The highest sequence known of every ref, deleted ones included."""
        with self._database.reading() as connection:
            return history.ref_sequences(connection)


def _portable(table: Table) -> Select[Any]:
    """All rows of a table, without the numbers that this database happened to give packs."""
    columns = [packs.c.digest if column is chunks.c.pack else column for column in table.c if column is not packs.c.id]
    return select(*columns).select_from(chunks.join(packs) if table is chunks else table)

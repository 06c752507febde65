"""Schema versions: made, upgraded, or refused with the way out."""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.schema import CreateIndex, CreateTable

from cas.errors import CorruptError, FormatError, StorageError
from cas.format import Commit, Digest
from cas.index import discard_index, open_index, upgrade
from cas.index.database import Database
from cas.index.migration import SCHEMA_VERSION, ensure_schema, migrations_folder, read_version, upgrade_schema
from cas.index.schema import VERSION_TABLE, metadata

_LATER = "9999"
_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "{later}"
down_revision = "{now}"


def upgrade():
    op.add_column("commits", sa.Column("mood", sa.Text))
    if {fail}:
        raise RuntimeError("the machine stopped here")
"""


@pytest.fixture
def future(tmp_path):
    """Makes the migrations folder of a later cas, whose newest revision adds a column and may then die."""

    def make(fail: bool = False):
        folder = tmp_path / f"migrations-{fail}"
        shutil.copytree(migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
        later = _NEXT.format(fail=fail, later=_LATER, now=SCHEMA_VERSION)
        (folder / "versions" / f"{_LATER}_mood.py").write_text(later)
        return folder

    return make


def test_migrations_make_exactly_the_models_schema(url, index):
    """Alembic finds nothing to change; on SQLite the two even read the same, letter by letter."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    options = {"version_table": VERSION_TABLE, "compare_type": True}
    with Database.open(url) as database, database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        if connection.dialect.name == "sqlite":
            made = connection.scalars(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
            modelled = [str(CreateTable(table).compile(connection)) for table in metadata.sorted_tables]
            modelled += [str(CreateIndex(i).compile(connection)) for t in metadata.sorted_tables for i in t.indexes]
            ours = {_plain(sql) for sql in made if VERSION_TABLE not in sql}
            assert ours == {_plain(sql) for sql in modelled}


def _plain(sql: str) -> str:
    return " ".join(sql.split())


def test_the_newest_migration_is_the_version_this_code_asks_for():
    """The constant that saves opening from importing Alembic tells the truth."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert revisions[0] == SCHEMA_VERSION
    assert revisions == sorted(revisions, reverse=True)
    assert all(len(revision) == 4 and revision.isdecimal() for revision in revisions)


def test_a_new_migration_starts_from_the_template(tmp_path):
    """`alembic.command.revision` writes a module that fails until somebody fills it in."""
    from alembic import command
    from alembic.config import Config

    folder = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = Config()
    config.set_main_option("script_location", str(folder))
    script = command.revision(config, message="Moods", rev_id=_LATER)
    assert (script.revision, script.down_revision, script.doc) == (_LATER, SCHEMA_VERSION, "Moods.")
    with pytest.raises(NotImplementedError):
        script.module.upgrade()


def test_upgrade_says_what_it_did(url):
    """From nothing, then again: the versions before and after."""
    assert upgrade(url) == (None, SCHEMA_VERSION)
    assert upgrade(url) == (SCHEMA_VERSION, SCHEMA_VERSION)
    with open_index(url) as index:
        assert index.schema_version() == SCHEMA_VERSION


def test_an_older_index_is_upgraded_and_keeps_what_it_knows(url, index, future):
    """The later cas opens what this one made; this one then refuses it and says to upgrade cas."""
    commit = Commit(Digest.of(b"c"), message="from before")
    index.add_commit(commit)
    index.close()
    with Database.open(url) as database:
        assert upgrade_schema(database, future(), _LATER) == (SCHEMA_VERSION, _LATER)
        with database.reading() as connection:
            assert read_version(connection) == _LATER
            assert connection.execute(text("SELECT message, mood FROM commits")).all() == [("from before", None)]

    with pytest.raises(FormatError, match=rf"{_LATER}, newer than this cas reads \({SCHEMA_VERSION}\); upgrade cas"):
        open_index(url)


def test_an_upgrade_that_dies_half_way_changes_nothing(url, index, future):
    """The schema and the version move in one transaction, on SQLite too."""
    index.close()
    with Database.open(url) as database:
        with pytest.raises(RuntimeError, match="stopped here"):
            upgrade_schema(database, future(fail=True), _LATER)
        ensure_schema(database)
        with database.reading() as connection:
            assert read_version(connection) == SCHEMA_VERSION
    with open_index(url) as again:
        assert again.log() == []


def test_an_older_index_that_cannot_be_upgraded_now_says_what_to_run(tmp_path, index, url):
    """Locked or read-only: the message names the versions and `cas db upgrade`."""
    index.close()
    with Database.open(url) as database, database.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"))
    with Database.open(url) as blocker, blocker.writing(), Database.open(url, busy_timeout_s=0.05) as database:
        wanted = rf"(?s)schema 0000, this cas needs {SCHEMA_VERSION}.*`cas db upgrade`"
        with pytest.raises(StorageError, match=wanted) as caught:
            ensure_schema(database)
        assert caught.value.transient


@pytest.mark.parametrize("version", ["'0000'", "'banana'", "''"])
def test_a_version_that_never_was_is_damage(url, index, version):
    """Not an error to upgrade from, not newer: the index is to be rebuilt."""
    index.close()
    with Database.open(url) as database, database.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = {version}"))
    with pytest.raises(CorruptError, match="`cas reindex`"):
        open_index(url)


def test_an_index_of_schema_0001_learns_to_search_params(url, tmp_path):
    """What 0002 makes of the commits' bytes equals what this cas makes of the commits."""
    folder = tmp_path / "migrations-0001"
    shutil.copytree(migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "0002*"))
    commits = [
        Commit(
            Digest.of(b"c"), time_us=at, params={"n": at, "adam": {"lr": 0.1, "deep": {"inf": -math.inf}}, "s": "a\0"}
        )
        for at in range(3)
    ]
    commits.append(Commit(Digest.of(b"c"), params={"long" * 100: None, "nan": math.nan, "l": [1.5, {"a": True}]}))
    with Database.open(url) as database:
        upgrade_schema(database, folder, "0001")
        with database.writing() as connection:
            for commit in commits:
                values = {"id": commit.id.raw, "encoded": commit.encode(), "time": commit.time_us}
                connection.execute(
                    text(
                        "INSERT INTO commits (id, checkpoint, time_us, author, message, run, trial, encoded)"
                        " VALUES (:id, :id, :time, '', '', '', '', :encoded)"
                    ),
                    values,
                )
        assert upgrade_schema(database) == ("0001", SCHEMA_VERSION)

    with open_index(url) as index:
        upgraded = index.dump()["params"]
        with index.rebuilding():
            for commit in commits:
                index.add_commit(commit)
        assert index.dump()["params"] == upgraded
        assert len(upgraded) == 3 * 6 + 3


def test_another_programs_database_is_left_alone(tmp_path):
    """MLflow's tables have some of the same names."""
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE metrics (key TEXT, value REAL)")
    with pytest.raises(FormatError, match="another program's table 'metrics'"):
        open_index(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("metrics",)]


def test_discard_removes_the_index_and_nothing_else(url, index):
    """Afterwards an empty one can be made in its place."""
    index.add_commit(Commit(Digest.of(b"c")))
    index.close()
    discard_index(url)
    discard_index(url)
    assert upgrade(url) == (None, SCHEMA_VERSION)
    with open_index(url) as again:
        assert again.is_empty()

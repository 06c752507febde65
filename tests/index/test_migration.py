"""Schema versions: made, upgraded, or refused with the way out."""

from __future__ import annotations

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

_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("commits", sa.Column("mood", sa.Text))
    if {fail}:
        raise RuntimeError("the machine stopped here")
"""


@pytest.fixture
def future(tmp_path):
    """Makes the migrations folder of a later cas, whose revision 0002 adds a column and may then die."""

    def make(fail: bool = False):
        folder = tmp_path / f"migrations-{fail}"
        shutil.copytree(migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "0002_mood.py").write_text(_NEXT.format(fail=fail))
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
        assert upgrade_schema(database, future(), "0002") == ("0001", "0002")
        with database.reading() as connection:
            assert read_version(connection) == "0002"
            assert connection.execute(text("SELECT message, mood FROM commits")).all() == [("from before", None)]

    with pytest.raises(FormatError, match=r"0002, newer than this cas reads \(0001\); upgrade cas"):
        open_index(url)


def test_an_upgrade_that_dies_half_way_changes_nothing(url, index, future):
    """The schema and the version move in one transaction, on SQLite too."""
    index.close()
    with Database.open(url) as database:
        with pytest.raises(RuntimeError, match="stopped here"):
            upgrade_schema(database, future(fail=True), "0002")
        ensure_schema(database)
        with database.reading() as connection:
            assert read_version(connection) == "0001"
    with open_index(url) as again:
        assert again.log() == []


def test_an_older_index_that_cannot_be_upgraded_now_says_what_to_run(tmp_path, index, url):
    """Locked or read-only: the message names the versions and `cas db upgrade`."""
    index.close()
    with Database.open(url) as database, database.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"))
    with Database.open(url) as blocker, blocker.writing(), Database.open(url, busy_timeout_s=0.05) as database:
        with pytest.raises(StorageError, match=r"(?s)schema 0000, this cas needs 0001.*`cas db upgrade`") as caught:
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

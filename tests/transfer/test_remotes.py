"""Remotes: names for other stores, kept with a store, without secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError
from cas.transfer import Remotes


@pytest.fixture(params=["folder", "memory"])
def remotes(request, tmp_path):
    """Those of a store in a folder, and of one that is elsewhere."""
    return Remotes(str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_names_are_kept(remotes, tmp_path):
    """In order; a path becomes absolute, since the next command may run elsewhere."""
    assert remotes.names() == {}
    remotes.add("origin", "s3://bucket/store")
    remotes.add("backup", "some/folder")
    assert list(remotes.names().items()) == [
        ("backup", str(Path.cwd() / "some" / "folder")),
        ("origin", "s3://bucket/store"),
    ]
    remotes.remove("origin")
    assert remotes.names().keys() == {"backup"}
    with pytest.raises(NotFoundError, match="origin"):
        remotes.remove("origin")


def test_a_name_stands_for_its_url(remotes):
    """Whatever else is given is a URL or a path as it is."""
    remotes.add("origin", "s3://bucket/store")
    assert remotes.locate("origin") == "s3://bucket/store"
    for other in ("./origin", "other", "/origin", "s3://origin", "~/origin"):
        assert remotes.locate(other) == other


def test_a_name_is_not_taken_twice(remotes):
    """The same again is no conflict."""
    remotes.add("origin", "s3://bucket/store")
    remotes.add("origin", "s3://bucket/store")
    with pytest.raises(ConflictError, match="remove"):
        remotes.add("origin", "s3://bucket/another")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a b", "-x", "s3://x", "a\n", "é"])
def test_a_name_cannot_pass_for_a_path_or_url(remotes, name):
    """Nor for an option."""
    with pytest.raises(FormatError):
        remotes.add(name, "s3://bucket/store")


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/store", "https://host/store?token=secret", "sftp://me@host/secret"]
)
def test_secrets_are_refused(remotes, url):
    """By a message that does not show them, and nothing is written."""
    with pytest.raises(RefusedError) as caught:
        remotes.add("origin", url)
    assert "me:" not in str(caught.value)
    assert "token" not in str(caught.value)
    assert remotes.names() == {}


def test_stores_have_their_own(tmp_path):
    """In the store's folder, else in the user's configuration."""
    Remotes(str(tmp_path / "one")).add("origin", "s3://bucket/one")
    Remotes("memory://one").add("origin", "s3://bucket/two")
    assert Remotes(str(tmp_path / "two")).names() == Remotes("memory://two").names() == {}
    assert json.loads((tmp_path / "one" / "remotes.json").read_text()) == {"origin": "s3://bucket/one"}
    assert len(list(Path(os.environ["HOME"]).rglob("remotes/*.json"))) == 1


def test_a_file_that_was_spoilt_is_said_to_be(tmp_path):
    """By its path."""
    for text in ("{", "[]", '{"a": 1}'):
        (tmp_path / "remotes.json").write_text(text)
        with pytest.raises(FormatError, match=r"remotes\.json"):
            Remotes(str(tmp_path)).names()

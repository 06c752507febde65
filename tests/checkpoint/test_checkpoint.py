"""The Checkpoint object: any tour through its views gives the same hash, and views never alias."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cas
from cas.checkpoint import Checkpoint
from cas.errors import CorruptError, FormatError, NotFoundError

DATA = {
    "weights": np.arange(12, dtype="f4").reshape(3, 4),
    "nested": {"bias": np.ones(3), "scale": np.float64(0.5)},
    "epoch": 3,
    "names": ("a", "b"),
    "loss": [0.5, 0.25],
}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    url = tmp_path / "store"
    cas.Store.init(url).close()
    monkeypatch.setenv("CAS_STORE", str(url))
    return url


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "model"
    (folder / "empty").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(5000))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def equal(one, other) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def hop(checkpoint: Checkpoint, view: str, folder: Path) -> Checkpoint:
    """The same content through another view."""
    if view == "dict":
        return Checkpoint.from_dict(checkpoint.to_dict())
    if view == "bytes":
        return Checkpoint.from_bytes(checkpoint.to_bytes())
    if view == "directory":
        return Checkpoint.from_directory(checkpoint.to_directory(folder / os.urandom(4).hex()))
    if view == "hash":
        return Checkpoint.from_hash(checkpoint.hash)
    return pickle.loads(pickle.dumps(checkpoint))


TOURS = st.lists(st.sampled_from(["dict", "bytes", "directory", "hash", "pickle"]), max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tour=TOURS)
def test_any_tour_of_a_dict_keeps_its_hash(tour, store, tmp_path_factory):
    """And at its end the dict is what it was, types and all."""
    checkpoint, folder = Checkpoint.from_dict(DATA), tmp_path_factory.mktemp("tour")
    expected = checkpoint.hash
    for view in tour:
        checkpoint = hop(checkpoint, view, folder)
    assert checkpoint.hash == expected
    assert equal(checkpoint.to_dict(), DATA)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tour=TOURS)
def test_any_tour_of_a_directory_keeps_its_hash(tour, store, tmp_path_factory):
    """Executables and empty directories included."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "model" / "empty").mkdir(parents=True)
    (folder / "model" / "run.sh").write_text("x")
    (folder / "model" / "run.sh").chmod(0o755)
    checkpoint = Checkpoint.from_directory(folder / "model")
    expected = checkpoint.hash
    for view in tour:
        checkpoint = hop(checkpoint, view, folder)
    assert checkpoint.hash == expected
    end = Path(checkpoint.to_directory(folder / "end"))
    assert (end / "empty").is_dir()
    assert os.access(end / "run.sh", os.X_OK)


def test_keys_added_to_a_directorys_dict_survive(directory, tmp_path):
    """They become a dict's files beside the directory's own, and every further hop keeps both."""
    data = Checkpoint.from_directory(directory).to_dict()
    data["epoch"] = 7
    grown = Checkpoint.from_dict(data)
    back = Checkpoint.from_directory(grown.to_directory(tmp_path / "out"))

    assert back.hash == grown.hash
    assert back.to_dict()["epoch"] == 7
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (directory / "weights.bin").read_bytes()


def test_files_dropped_into_a_dicts_directory_survive(tmp_path):
    """The dict's own keys come back, and the file with them."""
    folder = Path(Checkpoint.from_dict(DATA).to_directory(tmp_path / "out"))
    (folder / "notes.txt").write_text("good one")
    again = Checkpoint.from_directory(folder).to_dict()

    assert again.pop("cas.files") == {"notes.txt": b"good one"}
    assert equal(again, DATA)


def test_views_never_alias(directory):
    """What a caller does to a dict it gave or was given stays the caller's."""
    given = {"weights": np.zeros(4), "list": [1]}
    checkpoint = Checkpoint.from_dict(given)
    given["weights"][:] = 9
    given["list"].append(2)
    first = checkpoint.to_dict()
    first["weights"][:] = 5
    first["list"].append(3)

    assert equal(checkpoint.to_dict(), {"weights": np.zeros(4), "list": [1]})
    expected = checkpoint.hash
    assert checkpoint.to_dict()["list"] == [1]
    assert checkpoint.hash == expected


def test_a_hash_does_not_move_when_its_source_is_edited(directory):
    """From the moment it is known, the store answers."""
    checkpoint = Checkpoint.from_directory(directory)
    before, content = checkpoint.hash, (directory / "weights.bin").read_bytes()
    (directory / "weights.bin").write_bytes(b"other")

    assert checkpoint.hash == before
    assert checkpoint.to_dict()["cas.files"]["weights.bin"] == content
    assert Checkpoint.from_directory(directory).hash != before


def test_hash_makes_the_content_durable_and_a_root(directory):
    """Once, however often it is asked for."""
    checkpoint = Checkpoint.from_directory(directory)
    assert checkpoint.hash == checkpoint.hash == Checkpoint.from_directory(directory).hash
    with cas.open() as store:
        assert [str(commit.checkpoint) for commit in store.log()] == [checkpoint.hash]
        assert len(store.refs(everything=True)) == 1


def test_from_hash_touches_nothing_until_asked(directory):
    """Even a store that is not there is no error before something is read."""
    known = Checkpoint.from_directory(directory).hash
    far = Checkpoint.from_hash(known, store="/nowhere/at/all")
    assert far.hash == known
    with pytest.raises(NotFoundError, match="cas init"):
        far.to_dict()
    with pytest.raises(FormatError, match="64"):
        Checkpoint.from_hash("abc")


def test_a_pickle_is_a_reference(store):
    """A few hundred bytes whatever the size, and it works in another process."""
    checkpoint = Checkpoint.from_dict({"weights": np.zeros(1_000_000)})
    pickled = pickle.dumps(checkpoint)
    assert len(pickled) < 400
    code = "import sys, pickle; c = pickle.load(sys.stdin.buffer); print(c.hash, c.to_dict()['weights'].shape)"
    out = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True).stdout.decode()
    assert out.split() == [checkpoint.hash, "(1000000,)"]


def test_bytes_need_no_store(directory, monkeypatch):
    """They load where there is nothing, and damage to them is found."""
    data = Checkpoint.from_directory(directory).to_bytes()
    monkeypatch.setenv("CAS_STORE", "/nowhere/at/all")
    assert Checkpoint.from_bytes(data).to_dict()["cas.files"]["run.sh"] == b"#!/bin/sh\n"
    for damaged in (data[:-1], data + b"x", data[:30], bytes([*data[:-1], data[-1] ^ 1])):
        with pytest.raises(CorruptError):
            Checkpoint.from_bytes(damaged)
    with pytest.raises(FormatError):
        Checkpoint.from_bytes(b"something else, long enough")


def test_as_directory_of_a_local_directory_is_that_directory(directory):
    """And it is still there afterwards."""
    checkpoint = Checkpoint.from_directory(directory)
    with checkpoint.as_directory() as path:
        assert Path(path) == directory
    assert directory.is_dir()


def test_as_directory_of_anything_else_is_removed(store):
    """Also when the body raises."""
    with Checkpoint.from_dict(DATA).as_directory() as path:
        assert os.listdir(path)
    assert not os.path.exists(path)
    with pytest.raises(ValueError, match="mine"), Checkpoint.from_dict(DATA).as_directory() as path:
        raise ValueError("mine")
    assert not os.path.exists(path)


def test_to_directory_makes_one_where_none_is_given(directory):
    """A new one with every call."""
    checkpoint = Checkpoint.from_directory(directory)
    one, other = checkpoint.to_directory(), checkpoint.to_directory()
    assert one != other
    assert sorted(os.listdir(one)) == sorted(os.listdir(directory))


def test_what_is_no_checkpoint_is_refused(tmp_path):
    """Missing and mistaken inputs, by name."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotFoundError, match="nowhere"):
        Checkpoint.from_directory(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="file"):
        Checkpoint.from_directory(tmp_path / "file")
    for data in ({}, [1], None):
        with pytest.raises(FormatError):
            Checkpoint.from_dict(data)
    with pytest.raises(FormatError):
        assert Checkpoint.from_dict({"cas.files": {"../up": b""}}).hash


def test_a_repr_is_short(directory, tmp_path):
    """Under 120 characters, and it says where the content is."""
    for checkpoint in (
        Checkpoint.from_dict(DATA), Checkpoint.from_directory(directory),
        Checkpoint.from_hash("0" * 64, store=f"s3://{'bucket' * 20}/prefix"),
    ):  # fmt: skip
        assert repr(checkpoint).startswith("Checkpoint(")
        assert len(repr(checkpoint)) < 120


def test_what_an_ordered_dict_carries_survives():
    """PyTorch's state_dict has ``_metadata`` on itself, and loading needs it."""
    from collections import OrderedDict

    state = OrderedDict(bias=np.zeros(2), a=1)
    state._metadata = {"": {"version": 1}}
    back = Checkpoint.from_dict(state).to_dict()
    assert (type(back), list(back), back._metadata) == (OrderedDict, ["bias", "a"], {"": {"version": 1}})

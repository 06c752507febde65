"""What Ray AIR's Checkpoint promised (its own tests assert it), kept on content hashes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import cas
from cas.checkpoint import Checkpoint
from cas.errors import FormatError, NotFoundError, RefusedError

DATA = {"metric": 5, "weights": np.arange(6.0)}
HOPS = ["dict", "bytes", "directory", "uri", "store uri", "hash", "pickle", "pickle by value"]


class Stub(Checkpoint):
    _SERIALIZED_ATTRS = ("foo",)


class DerivedStub(Stub):
    pass


class Other(Checkpoint):
    _SERIALIZED_ATTRS = ("foo", "bar")


class Scaler:
    """A preprocessor that only pickle can store."""

    def __init__(self, factor):
        self.factor = factor

    def __eq__(self, other):
        return type(other) is Scaler and other.factor == self.factor

    __hash__ = None


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    url = tmp_path / "store"
    cas.Store.init(url).close()
    monkeypatch.setenv("CAS_STORE", str(url))
    return url


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(5000))
    (folder / "sub" / "notes.txt").write_text("notes")
    return folder


def hop(checkpoint: Checkpoint, view: str, kind: type[Checkpoint] = Checkpoint) -> Checkpoint:
    """The same checkpoint through another view, read as ``kind``."""
    name = os.urandom(8).hex()
    if view == "dict":
        return kind.from_dict(checkpoint.to_dict())
    if view == "bytes":
        return kind.from_bytes(checkpoint.to_bytes())
    if view == "directory":
        return kind.from_directory(checkpoint.to_directory(Path.cwd() / name))
    if view == "uri":
        return kind.from_uri(checkpoint.to_uri(f"memory://{name}"))
    if view == "store uri":
        return kind.from_uri(checkpoint.to_uri(f"cas+file://{os.environ['CAS_STORE']}")).typed()
    if view == "hash":
        return kind.from_hash(checkpoint.hash).typed()
    return pickle.loads(pickle.dumps(checkpoint.by_value() if view == "pickle by value" else checkpoint))


# -- classes


@pytest.mark.parametrize("view", HOPS)
def test_a_subclass_travels_with_its_attributes(view):
    """Read as the class above it, it comes back as what it was, with what it lists, and not with what it does not."""
    made = Stub.from_dict(DATA)
    made.foo, made.bar = ("listed", 1), "not listed"
    found = hop(made, view)
    assert type(found) is Stub
    assert found.foo == ("listed", 1)
    assert getattr(found, "bar", None) is None
    assert found.to_dict()["metric"] == 5
    assert found.hash == made.hash


@pytest.mark.parametrize("view", HOPS)
def test_a_directory_of_a_subclass_travels_too(view, directory):
    """With its files."""
    made = Stub.from_directory(directory)
    made.foo = 7
    found = hop(made, view)
    assert (type(found), found.foo) == (Stub, 7)
    with found.as_directory() as path:
        assert Path(path, "sub", "notes.txt").read_text() == "notes"
    assert found.hash == made.hash


@pytest.mark.parametrize("view", HOPS[:4])
def test_the_more_derived_class_wins(view):
    """Of the one that reads and the one that was stored."""
    assert type(hop(Stub.from_dict(DATA), view, Checkpoint)) is Stub
    assert type(hop(Checkpoint.from_dict(DATA), view, Stub)) is Stub
    assert type(hop(DerivedStub.from_dict(DATA), view, Stub)) is DerivedStub
    assert type(hop(Stub.from_dict(DATA), view, DerivedStub)) is DerivedStub
    with pytest.raises(ValueError, match=r"Other\.from_checkpoint"):
        hop(Stub.from_dict(DATA), view, Other)


def test_by_hash_the_class_is_looked_at_when_asked_for():
    """And a sibling is refused then."""
    digest = Stub.from_dict(DATA).hash
    assert type(Checkpoint.from_hash(digest)) is Checkpoint
    assert type(Checkpoint.from_hash(digest).typed()) is Stub
    with pytest.raises(ValueError, match="Stub"):
        Other.from_hash(digest).typed()


def test_a_hash_stays_whatever_class_reads_it():
    """Reading is not writing."""
    digest = Checkpoint.from_dict(DATA).hash
    assert Stub.from_hash(digest).hash == digest
    assert Stub.from_checkpoint(Checkpoint.from_hash(digest)).hash == digest


def test_a_class_that_nobody_knows_here_is_left_alone():
    """No module is imported because data name it; the content still says what it was."""
    made = Stub.from_dict(DATA)
    files = made.to_dict()["cas.files"]
    (path,) = files
    files = {path: files[path].replace(b"Stub", b"Stab")}
    found = Checkpoint.from_dict({**DATA, "cas.files": files})
    assert type(found) is Checkpoint
    assert found.to_dict()["cas.files"] == files


def test_conversion_keeps_what_both_classes_list():
    """`from_checkpoint` also makes a sibling; the same class is the same object."""
    made = Stub.from_dict(DATA)
    made.foo = 1
    assert Stub.from_checkpoint(made) is made
    other = Other.from_checkpoint(made)
    assert (type(other), other.foo) == (Other, 1)
    assert type(hop(other, "bytes")) is Other
    assert not hasattr(Checkpoint.from_checkpoint(made), "foo")


def test_an_attribute_must_be_plain():
    """The error names it."""
    made = Stub.from_dict(DATA)
    made.foo = np.ones(3)
    with pytest.raises(FormatError, match="'foo'"):
        made.to_bytes()


# -- what is added on the way


@pytest.mark.parametrize("view", HOPS)
def test_a_key_added_to_a_directorys_dict_survives(view, directory):
    """Every further hop."""
    data = Checkpoint.from_directory(directory).to_dict()
    found = hop(Checkpoint.from_dict({**data, "epoch": 3}), view)
    assert found.to_dict()["epoch"] == 3
    with found.as_directory() as path:
        assert Path(path, "sub", "notes.txt").read_text() == "notes"


@pytest.mark.parametrize("view", HOPS)
def test_a_file_dropped_into_a_dicts_directory_survives(view, tmp_path):
    """Every further hop, and so does a key added afterwards."""
    folder = Path(Checkpoint.from_dict(DATA).to_directory(tmp_path / "dict"))
    (folder / "sub").mkdir()
    (folder / "sub" / "vocabulary.txt").write_text("a b c")
    data = Checkpoint.from_directory(folder).to_dict()
    found = hop(Checkpoint.from_dict({**data, "added": 1}), view).to_dict()
    assert found["cas.files"]["sub/vocabulary.txt"] == b"a b c"
    assert (found["metric"], found["added"]) == (5, 1)


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/etc/passwd", "a\0b", ""])
def test_a_dicts_files_stay_inside(path):
    """Names that lead elsewhere are refused before anything is written."""
    with pytest.raises(FormatError):
        Checkpoint.from_dict({"cas.files": {path: b"x"}}).to_directory()


# -- preprocessor and metadata


@pytest.mark.parametrize("view", HOPS)
@pytest.mark.parametrize("born", ["dict", "directory"])
def test_a_preprocessor_travels(born, view, directory, monkeypatch):
    """Set on either kind, found after every hop; None takes it away again."""
    monkeypatch.setenv("CAS_ALLOW_PICKLE", "1")
    made = Checkpoint.from_dict(DATA) if born == "dict" else Checkpoint.from_directory(directory)
    plain = made.hash
    assert made.get_preprocessor() is None
    made.set_preprocessor(Scaler(2))
    found = hop(made, view)
    assert found.get_preprocessor() == Scaler(2)
    assert found.hash != plain
    found.set_preprocessor(Scaler(3))
    assert hop(found, view).get_preprocessor() == Scaler(3)
    found.set_preprocessor(None)
    assert hop(found, view).get_preprocessor() is None
    assert found.hash == plain


def test_a_pickled_preprocessor_needs_permission():
    """To be stored and to be loaded; the message names its type and the way."""
    made = Checkpoint.from_dict(DATA)
    with pytest.raises(RefusedError, match=r"(?s)Scaler.*allow_pickle=True"):
        made.set_preprocessor(Scaler(2))
    made.set_preprocessor(Scaler(2), allow_pickle=True)
    with pytest.raises(RefusedError, match=r"cas-preprocessor\.pkl.*CAS_ALLOW_PICKLE=1"):
        made.get_preprocessor()
    assert made.get_preprocessor(allow_pickle=True) == Scaler(2)


def test_a_preprocessor_leaves_the_callers_directory_alone(directory):
    """It is put over the content, not into it."""
    before = sorted(directory.rglob("*"))
    made = Checkpoint.from_directory(directory)
    made.set_preprocessor(Scaler(1), allow_pickle=True)
    made.set_metadata({"a": 1})
    assert made.hash
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize("view", HOPS)
def test_metadata(view):
    """Empty at first; `update` merges, `set` replaces, and both travel."""
    made = Checkpoint.from_dict(DATA)
    assert made.get_metadata() == {}
    made.set_metadata({"a": 1, "b": {"c": [1.5, None]}})
    made.update_metadata({"a": 2})
    assert hop(made, view).get_metadata() == {"a": 2, "b": {"c": [1.5, None]}}
    made.set_metadata({})
    assert made.hash == Checkpoint.from_dict(DATA).hash
    with pytest.raises(TypeError):
        made.set_metadata({"a": object()})


# -- where it is


def test_path_uri_and_representation(directory, store):
    """Of every kind of backing."""
    made = Checkpoint.from_dict(DATA)
    kind, value = made.get_internal_representation()
    assert (made.path, made.uri, kind, value["metric"]) == (None, None, "data_dict", 5)
    local = Checkpoint.from_directory(directory)
    assert local.path == str(directory)
    assert local.uri == directory.as_uri()
    assert local.get_internal_representation() == ("local_path", str(directory))
    remote = Checkpoint.from_uri("memory://somewhere/model")
    assert remote.path == remote.uri == "memory://somewhere/model"
    stored = Checkpoint.from_hash(made.hash)
    assert stored.path == stored.uri == f"cas+{store.as_uri()}#{made.hash}"
    assert stored.get_internal_representation() == ("uri", stored.uri)
    assert Checkpoint.from_uri(stored.uri).hash == made.hash


def test_a_deleted_uri_is_noticed_when_it_is_read():
    """`from_uri` says nothing."""
    gone = Checkpoint.from_uri("memory://never/there")
    with pytest.raises(NotFoundError):
        gone.to_directory()


def test_a_checkpoint_is_no_path():
    """And the error says what to call."""
    with pytest.raises(TypeError, match="as_directory"):
        os.path.exists(Checkpoint.from_dict(DATA))


def test_repr_is_short(directory, tmp_path):
    """Under 120 characters, for any backing."""
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    made = [Checkpoint.from_dict(DATA), Checkpoint.from_directory(deep), Checkpoint.from_uri(f"memory://{'u' * 300}")]
    changed = DerivedStub.from_directory(deep)
    changed.set_metadata({"a": 1})
    stored = Checkpoint.from_dict(DATA)
    assert stored.hash
    for checkpoint in [*made, changed, stored]:
        assert repr(checkpoint).startswith(f"{type(checkpoint).__name__}(")
        assert len(repr(checkpoint)) < 120


# -- views never alias


def test_a_hash_does_not_move_when_the_source_is_edited(directory):
    """Once asked for."""
    made = Checkpoint.from_directory(directory)
    digest, before = made.hash, (directory / "weights.bin").read_bytes()
    (directory / "weights.bin").write_bytes(b"edited")
    assert made.hash == digest
    assert Checkpoint.from_hash(digest).to_dict()["cas.files"]["weights.bin"] == before


def test_a_returned_dict_is_the_callers():
    """What is done to it, or to the one that was given, never reaches the content."""
    data = {"list": [1], "weights": np.zeros(3)}
    made = Checkpoint.from_dict(data)
    data["list"].append(2)
    data["weights"][:] = 1
    found = made.to_dict()
    found["list"].append(3)
    found["weights"][:] = 2
    assert made.to_dict()["list"] == [1]
    assert made.to_dict()["weights"].tolist() == [0, 0, 0]


# -- pickles


def test_a_pickle_in_memory_alone_carries_the_content(monkeypatch):
    """A store in memory is nobody else's."""
    with cas.open("memory://pickled", create=True) as store:
        made = store.get(str(store.put(DATA).checkpoint))
        data = pickle.dumps(made)
    monkeypatch.setenv("CAS_STORE", "memory://another")
    assert pickle.loads(data).to_dict()["metric"] == 5
    assert len(data) > 300


def test_what_a_pickle_carries_can_be_chosen(monkeypatch):
    """For all, or for one."""
    made = Checkpoint.from_dict({"text": "x" * 100_000})
    assert len(pickle.dumps(made)) < 1000
    assert len(pickle.dumps(made.by_value())) > 100_000
    monkeypatch.setenv("CAS_PICKLE", "value")
    assert len(pickle.dumps(made)) > 100_000
    monkeypatch.setenv("CAS_PICKLE", "sometimes")
    with pytest.raises(FormatError, match="CAS_PICKLE"):
        pickle.dumps(made)


def test_bytes_need_no_store(monkeypatch, tmp_path):
    """Nor the one that they came from."""
    data = Checkpoint.from_dict(DATA).to_bytes()
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "nothing here"))
    assert Checkpoint.from_bytes(data).to_dict()["metric"] == 5


def test_an_attribute_set_on_a_stored_checkpoint_is_read_back():
    """Though its files were open before: they are another checkpoint's now."""
    made = Stub.from_hash(Stub.from_dict(DATA).hash)
    before = made.hash
    assert "tensors.safetensors" in {tensor.path for tensor in made.tensors().values()}
    made.foo = 9
    assert made.hash != before
    assert Stub.from_hash(made.hash).foo == 9
    assert "foo" in str(made.open("cas-checkpoint.msgpack").read())

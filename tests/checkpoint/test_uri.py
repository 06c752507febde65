"""from_uri and to_uri: to a store and to a plain directory of files, on every kind of place."""

from __future__ import annotations

import pickle
import urllib.request
import uuid

import fsspec
import numpy as np
import pytest

import cas
from cas.errors import ConflictError, CorruptError, FormatError, NotFoundError, RefusedError, StorageError
from cas.testing.requests import CountingProxy

BIG = np.random.default_rng(0).bytes(20 << 20)
FILES = {"config.json": b'{"layers": 2}', "deep/er/weights.bin": BIG, "empty": b""}


@pytest.fixture
def folder(tmp_path):
    """The files, as some tool left them."""
    for name, data in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "model"


@pytest.fixture(scope="module")
def moto():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto, tmp_path, monkeypatch):
    """A counter before an S3 server with a bucket ``models``."""
    with urllib.request.urlopen(urllib.request.Request(f"{moto}/models", method="PUT")):
        pass
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with CountingProxy(moto) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture(params=["file", "memory", pytest.param("s3", marks=pytest.mark.server)])
def place(request, tmp_path):
    """A URL below which nothing is yet."""
    name = f"run-{uuid.uuid4().hex}"
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://models/{name}"
    return f"memory://{name}" if request.param == "memory" else (tmp_path / name).as_uri()


def read_tree(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_plain_directory_there_and_back(place, folder, tmp_path):
    """Other tools see plain files; back from there they have the hash they had."""
    here = cas.Checkpoint.from_directory(folder)
    uri = f"{place}/model"
    assert here.to_uri(uri) == uri
    with fsspec.open(f"{uri}/deep/er/weights.bin", "rb") as file:
        assert file.read() == BIG

    there = cas.Checkpoint.from_uri(uri)
    assert read_tree(tmp_path / "model") == FILES
    assert there.to_directory(tmp_path / "out") == str(tmp_path / "out")
    assert read_tree(tmp_path / "out") == FILES
    assert there.hash == here.hash
    assert cas.Checkpoint.from_uri(uri).to_bytes() == here.to_bytes()


def test_a_store_there_and_back(place, folder, tmp_path):
    """The URI that comes back has the hash; equal content is not sent again; the store keeps it."""
    store = f"cas+{place}/store"
    cas.Store.init(store.removeprefix("cas+")).close()
    here = cas.Checkpoint.from_directory(folder)
    uri = here.to_uri(store)
    assert uri == f"{store}#{here.hash}"
    assert here.to_uri(store) == uri

    there = cas.Checkpoint.from_uri(uri)
    assert there.hash == here.hash
    there.to_directory(tmp_path / "out")
    assert read_tree(tmp_path / "out") == FILES
    with cas.open(store.removeprefix("cas+")) as opened:
        assert len(opened.log()) == 1
        opened.tag("best", here.hash)
    assert cas.Checkpoint.from_uri(f"{store}#best").hash == here.hash


def test_from_store_to_store_chunks_move_as_they_are(tmp_path):
    """A checkpoint in one store goes to another without being unpacked."""
    data = {"weights": np.arange(500_000.0)}
    for name in ("one", "two"):
        cas.Store.init(tmp_path / name).close()
    first = cas.Checkpoint.from_dict(data, store=tmp_path / "one").to_uri(f"cas+file://{tmp_path}/one")
    second = cas.Checkpoint.from_uri(first).to_uri(f"cas+file://{tmp_path}/two")

    assert second.partition("#")[2] == first.partition("#")[2]
    found = cas.Checkpoint.from_uri(second).to_dict()
    assert np.array_equal(found["weights"], data["weights"])
    with cas.open(tmp_path / "one") as one, cas.open(tmp_path / "two") as two:
        assert two.stats().stored_bytes == one.stats().stored_bytes
        assert len(two.log()) == 1


def test_nothing_is_read_before_it_is_asked_for(place):
    """A URI whose directory, store or bucket is gone is no error until somebody reads."""
    gone = f"{place}/nothing"
    for uri in (gone, f"cas+{gone}#{'0' * 64}"):
        checkpoint = cas.Checkpoint.from_uri(uri)
        assert "nothing" in repr(checkpoint) or "0000" in repr(checkpoint)
        with pytest.raises(NotFoundError):
            checkpoint.to_directory()


def test_a_directory_that_was_deleted(place, folder):
    """from_uri is silent, to_directory raises NotFoundError."""
    uri = f"{place}/model"
    cas.Checkpoint.from_directory(folder).to_uri(uri)
    fs, path = fsspec.url_to_fs(uri)
    fs.rm(path, recursive=True)
    checkpoint = cas.Checkpoint.from_uri(uri)
    with pytest.raises(NotFoundError):
        checkpoint.to_directory()


@pytest.mark.server
def test_a_bucket_is_read_by_ranges_and_once(s3, folder, tmp_path, monkeypatch):
    """Making it asks for one small file, which says what class it was; its hash costs one listing, and each
    file's bytes once, at most 8 MiB at a time."""
    uri = f"s3://models/{uuid.uuid4().hex}"
    cas.Checkpoint.from_directory(folder).to_uri(uri)
    s3.clear()
    checkpoint = cas.Checkpoint.from_uri(uri, store=tmp_path / "store")
    repr(checkpoint)
    assert s3.count() == 1

    cas.Store.init(tmp_path / "store").close()
    assert checkpoint.hash == cas.Checkpoint.from_directory(folder).hash
    size_bytes = sum(map(len, FILES.values()))
    assert max(request.received_bytes for request in s3) <= 8 << 20
    assert sum(request.received_bytes for request in s3 if request.range) <= 1.05 * size_bytes
    assert s3.lists <= 2

    s3.clear()
    assert checkpoint.to_directory(tmp_path / "out") == str(tmp_path / "out")  # from the store, by now
    assert s3.count() == 0
    cas.Checkpoint.from_uri(uri).to_directory(tmp_path / "again")
    assert sum(request.received_bytes for request in s3 if request.range) <= 1.05 * size_bytes


def test_files_that_are_there_are_not_overwritten_unasked(place, folder, tmp_path):
    """Equal ones stay, others stop it before anything is written; ``overwrite`` replaces them."""
    uri = f"{place}/model"
    cas.Checkpoint.from_directory(folder).to_uri(uri)
    assert cas.Checkpoint.from_directory(folder).to_uri(uri) == uri
    (folder / "config.json").write_bytes(b'{"layers": 3}')
    (folder / "another").write_bytes(b"new")
    changed = cas.Checkpoint.from_directory(folder)
    with pytest.raises(ConflictError, match=r"config\.json"):
        changed.to_uri(uri)
    assert cas.Checkpoint.from_uri(uri).to_dict()["cas.files"].keys() == FILES.keys()
    changed.to_uri(uri, overwrite=True)
    assert cas.Checkpoint.from_uri(uri).hash == changed.hash


def test_the_same_place_by_either_kind_of_uri(place, folder):
    """``cas+`` alone decides: without it a store's own objects are plain files like any others."""
    url = f"{place}/store"
    cas.Store.init(url).close()
    uri = cas.Checkpoint.from_directory(folder).to_uri(f"cas+{url}")
    if url.startswith("memory"):
        return  # fsspec's memory and cas's are two
    assert "format.json" in cas.Checkpoint.from_uri(url).to_dict()["cas.files"]
    assert cas.Checkpoint.from_uri(uri).to_dict()["cas.files"].keys() == FILES.keys()


def test_a_pickled_reference_reads_from_the_store_that_was_named(tmp_path, folder):
    """A few hundred bytes, whatever the size."""
    cas.Store.init(tmp_path / "store").close()
    uri = cas.Checkpoint.from_directory(folder).to_uri(f"cas+file://{tmp_path}/store")
    pickled = pickle.dumps(cas.Checkpoint.from_uri(uri))
    assert len(pickled) < 500
    assert pickle.loads(pickled).hash == uri.partition("#")[2]


def test_a_local_uri_is_its_directory(folder):
    """As from a path: `as_directory` gives the directory itself."""
    with cas.Checkpoint.from_uri(folder.as_uri()).as_directory() as path:
        assert path == str(folder)


@pytest.mark.parametrize(
    ("uri", "error", "word"),
    [
        ("/a/path", FormatError, "from_directory"),
        ("cas+/a/path#" + "0" * 64, FormatError, "cas\\+URL"),
        ("cas+s3://bucket/store", FormatError, "#<hash>"),
        ("cas+https://me:secret@host/store#" + "0" * 64, RefusedError, "environment"),
        ("file://elsewhere/path", FormatError, "file:///"),
    ],
)
def test_what_is_no_uri_is_refused(uri, error, word):
    """At once, and without showing a password."""
    with pytest.raises(error, match=word) as caught:
        cas.Checkpoint.from_uri(uri)
    assert "secret" not in str(caught.value)


def test_a_fragment_is_no_place_to_write_to(tmp_path):
    """The hash is the result, so nobody gives it."""
    checkpoint = cas.Checkpoint.from_dict({"a": 1})
    with pytest.raises(FormatError, match="fragment"):
        checkpoint.to_uri(f"cas+file://{tmp_path}/store#main")
    with pytest.raises(NotFoundError, match="cas init"):
        checkpoint.to_uri(f"cas+file://{tmp_path}/store")


def test_a_file_is_no_directory():
    """Named as it was given."""
    uri = f"memory://{uuid.uuid4().hex}/file"
    with fsspec.open(uri, "wb") as file:
        file.write(b"x")
    with pytest.raises(FormatError, match="is a file"):
        cas.Checkpoint.from_uri(uri).to_dict()


def test_a_file_that_changes_while_it_is_read_is_refused():
    """A checkpoint is of one moment."""
    uri = f"memory://{uuid.uuid4().hex}"
    with fsspec.open(f"{uri}/w", "wb") as file:
        file.write(b"x" * 1000)
    (source,), _ = cas.Checkpoint.from_uri(uri).sources()
    with source.open() as read_at:
        assert bytes(read_at(10, 3)) == b"xxx"
        with fsspec.open(f"{uri}/w", "wb") as file:
            file.write(b"y" * 500)
        with pytest.raises(ConflictError, match="changed"):
            read_at(0, 1000)
    with pytest.raises(ConflictError, match="changed"):
        source.settle(None)


def test_empty_directories_are_kept_where_there_are_any(tmp_path):
    """In fsspec's memory, as in a local folder; a bucket has none."""
    (tmp_path / "model" / "logs").mkdir(parents=True)
    (tmp_path / "model" / "w").write_bytes(b"x")
    uri = f"memory://{uuid.uuid4().hex}"
    fs, path = fsspec.url_to_fs(uri)
    fs.put(f"{tmp_path}/model", path, recursive=True)
    fs.makedirs(f"{path}/logs", exist_ok=True)
    assert cas.Checkpoint.from_uri(uri).hash == cas.Checkpoint.from_directory(tmp_path / "model").hash


def test_errors_show_no_secrets():
    """Neither the message nor what it was raised from."""
    uri = "ftp://me:secret@127.0.0.1:1/dir"
    checkpoint = cas.Checkpoint.from_uri(uri)
    with pytest.raises(StorageError) as caught:
        checkpoint.to_directory()
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__) + repr(checkpoint)


def test_damage_in_a_store_does_not_travel(tmp_path):
    """A flipped bit in the store that it comes from stops it."""
    for name in ("one", "two"):
        cas.Store.init(tmp_path / name).close()
    uri = cas.Checkpoint.from_dict({"w": np.random.default_rng(0).bytes(9999)}).to_uri(f"cas+file://{tmp_path}/one")
    (pack,) = [path for path in (tmp_path / "one" / "packs").rglob("*") if path.is_file()]
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(CorruptError):
        cas.Checkpoint.from_uri(uri).to_uri(f"cas+file://{tmp_path}/two")

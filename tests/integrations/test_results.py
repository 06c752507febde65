"""From Ray's checkpoints to cas and back; Ray is imported, and not started."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cas
from cas.integrations.results import checkpoint_of_result, to_ray

pytest.importorskip("ray")

from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning:ray")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "deep" / "empty").mkdir(parents=True)
    np.save(folder / "weights.npy", np.arange(300_000, dtype="f4"))
    (folder / "deep" / "state.json").write_text("{}")
    return folder


@pytest.fixture
def store(tmp_path):
    url = str(tmp_path / "store")
    cas.Store.init(url).close()
    return url


def ray_checkpoint(path, filesystem=None):
    from ray.train import Checkpoint

    return Checkpoint(str(path), filesystem=filesystem or LocalFileSystem())


@pytest.mark.parametrize("place", ["local", "elsewhere"])
def test_any_checkpoint_of_ray_is_one_of_cas(model, store, place):
    """On this machine's disk or on whatever pyarrow reaches: the files are the same, and so is the hash."""
    if place == "local":
        result = ray_checkpoint(model)
    else:
        result = ray_checkpoint("model", SubTreeFileSystem(str(model.parent), LocalFileSystem()))
    checkpoint = checkpoint_of_result(SimpleNamespace(checkpoint=result), cas.Checkpoint, store)

    assert checkpoint.tensors()["weights"].shape == (300_000,)
    assert checkpoint.hash == cas.Checkpoint.from_directory(model, store=store).hash
    with checkpoint.as_directory() as directory:
        assert (model / "weights.npy").read_bytes() == Path(directory, "weights.npy").read_bytes()


def test_metadata_survives_both_ways(model, store):
    """What was said to Ray is said to cas, and what was said to cas is said to Ray."""
    theirs = ray_checkpoint(model)
    theirs.set_metadata({"epoch": 3})
    ours = checkpoint_of_result(theirs, cas.Checkpoint, store)
    ours.update_metadata({"note": "x"})
    back = to_ray(ours)

    assert back.get_metadata() == {"epoch": 3, "note": "x"}
    assert theirs.get_metadata() == {"epoch": 3}


def test_a_checkpoint_given_to_ray_is_read_where_it_arrives(model, store):
    """It travels as a reference, needs no directory of the sender's, and comes back as the same checkpoint."""
    ours = cas.Checkpoint.from_directory(model, store=store)
    theirs = pickle.loads(pickle.dumps(to_ray(ours)))

    with theirs.as_directory() as directory:
        assert (model / "weights.npy").read_bytes() == Path(directory, "weights.npy").read_bytes()
    back = checkpoint_of_result(theirs, cas.Checkpoint)
    assert back.hash == ours.hash
    assert back.uri == f"cas+file://{store}#{ours.hash}"


def test_a_directory_that_is_gone_is_an_error(tmp_path, store):
    """Retention may have taken it; nothing empty is made of that."""
    gone = ray_checkpoint("gone", SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    with pytest.raises(cas.NotFoundError, match="no directory gone"):
        checkpoint_of_result(gone, cas.Checkpoint, store).hash  # noqa: B018
    with pytest.raises(cas.NotFoundError, match="gone"):
        checkpoint_of_result(ray_checkpoint(tmp_path / "gone"), cas.Checkpoint, store)


def test_a_result_without_a_checkpoint_says_so():
    """And why, if the run failed."""
    failed = SimpleNamespace(checkpoint=None, error=ValueError("x"))
    with pytest.raises(cas.NotFoundError, match=r"no checkpoint[\s\S]*failed by ValueError"):
        checkpoint_of_result(failed, cas.Checkpoint)


def test_what_is_no_result_is_refused():
    """A grid of results has a best one, and the message says how to get it."""
    with pytest.raises(cas.FormatError, match="no Result"):
        checkpoint_of_result(3, cas.Checkpoint)
    with pytest.raises(cas.FormatError, match="get_best_result"):
        checkpoint_of_result(SimpleNamespace(get_best_result=None), cas.Checkpoint)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, store):
    """Half of one checkpoint and half of another never get a hash."""
    from pyarrow.fs import FileInfo, FileType

    from cas.integrations.arrow_directory import _ArrowFile

    files = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    (tmp_path / "x").write_bytes(b"1234")
    longer = _ArrowFile(files, "x", FileInfo("x", FileType.File, size=10))
    with longer.open() as read_at, pytest.raises(cas.ConflictError, match="changed"):
        read_at(0, 10)
    with pytest.raises(cas.ConflictError, match="changed"):
        longer.settle(None)
    (tmp_path / "x").unlink()
    with pytest.raises(cas.ConflictError, match="changed"), longer.open():
        pass

"""SklearnCheckpoint: estimators come back by skops, and nothing is unpickled without a word."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.sklearn import SklearnCheckpoint
from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError

pytest.importorskip("sklearn")
pytest.importorskip("skops")

import joblib
from sklearn.cluster import Birch
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

INPUTS, TARGETS = make_classification(n_samples=60, n_features=5, random_state=0)


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture(scope="module")
def estimator():
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(INPUTS, TARGETS)


def hops(checkpoint, folder):
    """The same checkpoint after each kind of trip, read as whatever it was made as."""
    yield "as it is", checkpoint
    yield "dict", Checkpoint.from_dict(checkpoint.to_dict())
    yield "bytes", Checkpoint.from_bytes(checkpoint.to_bytes())
    yield "directory", Checkpoint.from_directory(checkpoint.to_directory(folder / "hop"))
    yield "hash", Checkpoint.from_hash(checkpoint.hash).typed()


def test_an_estimator_comes_back_over_every_hop(estimator, tmp_path):
    """It predicts the same, whichever way it went, and nobody had to allow anything."""
    for hop, checkpoint in hops(SklearnCheckpoint.from_estimator(estimator), tmp_path):
        assert type(checkpoint) is SklearnCheckpoint, hop
        loaded = checkpoint.get_estimator()
        np.testing.assert_array_equal(loaded.predict_proba(INPUTS), estimator.predict_proba(INPUTS), hop)


def test_saving_again_gives_the_same_hash(estimator):
    """Also saving what was loaded, and the same training a second time."""
    checkpoint = SklearnCheckpoint.from_estimator(estimator)
    again = make_pipeline(StandardScaler(), LogisticRegression()).fit(INPUTS, TARGETS)

    assert SklearnCheckpoint.from_estimator(again).hash == checkpoint.hash
    assert SklearnCheckpoint.from_estimator(checkpoint.get_estimator()).hash == checkpoint.hash


def test_its_arrays_are_lazy_tensors(estimator):
    """Single arrays of a stored estimator are read without the rest."""
    stored = SklearnCheckpoint.from_hash(SklearnCheckpoint.from_estimator(estimator).hash)
    found = [tensor.numpy() for tensor in stored.tensors("model.skops").values()]

    assert any(np.array_equal(array, estimator[-1].coef_) for array in found)


def test_the_checkpoint_is_of_the_directory_that_was_given(estimator, tmp_path):
    """Ray's required path is an option: the file is written there, and never over another one."""
    folder = tmp_path / "made"
    checkpoint = SklearnCheckpoint.from_estimator(estimator, path=folder)

    assert checkpoint.path == str(folder)
    assert (folder / "model.skops").is_file()
    np.testing.assert_array_equal(checkpoint.get_estimator().predict(INPUTS), estimator.predict(INPUTS))
    with pytest.raises(ConflictError):
        SklearnCheckpoint.from_estimator(StandardScaler(), path=folder)


def test_a_preprocessor_travels_along(estimator):
    """Beside the estimator, by skops as well."""
    scaler = StandardScaler().fit(INPUTS)
    checkpoint = SklearnCheckpoint.from_estimator(estimator, preprocessor=scaler)
    found = Checkpoint.from_hash(checkpoint.hash).get_preprocessor()

    np.testing.assert_array_equal(found.mean_, scaler.mean_)


def test_trees_need_a_word():
    """skops does not trust trees of a file; the refusal names the type, and both ways to trust it work."""
    forest = RandomForestClassifier(3, random_state=0).fit(INPUTS, TARGETS)
    checkpoint = SklearnCheckpoint.from_estimator(forest)

    with pytest.raises(RefusedError, match=r"model\.skops holds a sklearn\.tree\._tree\.Tree.*\n.*trusted="):
        checkpoint.get_estimator()
    for allowance in ({"trusted": ["sklearn.tree._tree.Tree"]}, {"allow_pickle": True}):
        loaded = checkpoint.get_estimator(**allowance)
        np.testing.assert_array_equal(loaded.predict_proba(INPUTS), forest.predict_proba(INPUTS))


def test_what_skops_cannot_store_is_pickled_by_permission_only(monkeypatch):
    """Writing and reading each need a permission; the environment gives both."""
    tree = Birch(n_clusters=2).fit(INPUTS)
    with pytest.raises(RefusedError, match=r"Birch cannot be stored by skops.*\n.*allow_pickle=True"):
        SklearnCheckpoint.from_estimator(tree)
    checkpoint = SklearnCheckpoint.from_estimator(tree, allow_pickle=True)
    with pytest.raises(RefusedError, match=r"model\.pkl .*is a pickle.*\n.*allow_pickle=True"):
        checkpoint.get_estimator()
    np.testing.assert_array_equal(checkpoint.get_estimator(allow_pickle=True).predict(INPUTS), tree.predict(INPUTS))

    monkeypatch.setenv("CAS_ALLOW_PICKLE", "1")
    checkpoint = SklearnCheckpoint.from_estimator(tree)
    np.testing.assert_array_equal(checkpoint.get_estimator().predict(INPUTS), tree.predict(INPUTS))
    with pytest.raises(RefusedError):
        checkpoint.get_estimator(allow_pickle=False)


@pytest.mark.parametrize("name", ["model", "model.pkl", "model.joblib"])
def test_pickles_that_other_code_wrote_are_read_by_permission(name, estimator, tmp_path):
    """Ray's file 'model', a pickle and a compressed joblib file."""
    folder = tmp_path / "made"
    folder.mkdir()
    if name == "model.joblib":
        joblib.dump(estimator, folder / name, compress=3)
    else:
        (folder / name).write_bytes(pickle.dumps(estimator))
    checkpoint = SklearnCheckpoint.from_directory(folder)

    with pytest.raises(RefusedError, match=f"{name} of .*is a pickle"):
        checkpoint.get_estimator()
    np.testing.assert_array_equal(
        checkpoint.get_estimator(allow_pickle=True).predict(INPUTS), estimator.predict(INPUTS)
    )


def test_a_dict_that_other_code_made_is_read(estimator):
    """An estimator pickled into a dict, or its file's bytes."""
    pickled = SklearnCheckpoint.from_dict({"estimator": estimator}, allow_pickle=True)
    with pytest.raises(RefusedError, match=r"'estimator' is a pickled .*Pipeline"):
        pickled.get_estimator()
    np.testing.assert_array_equal(pickled.get_estimator(allow_pickle=True).predict(INPUTS), estimator.predict(INPUTS))
    data = SklearnCheckpoint.from_estimator(estimator).open("model.skops").read()
    loaded = SklearnCheckpoint.from_dict({"model": data}).get_estimator()
    np.testing.assert_array_equal(loaded.predict(INPUTS), estimator.predict(INPUTS))


@pytest.mark.parametrize("name", ["model", "model.pkl", "model.joblib", "model.skops"])
def test_a_hostile_file_is_not_run(name, tmp_path):
    """Whatever it is called, a pickle that runs code does not, unless somebody allowed it."""
    canary = tmp_path / "canary"
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / name).write_bytes(pickle.dumps(Canary(canary)))
    checkpoint = SklearnCheckpoint.from_directory(tmp_path / "made")

    with pytest.raises(RefusedError, match=name):
        checkpoint.get_estimator()
    assert not canary.exists()
    checkpoint.get_estimator(allow_pickle=True)
    assert canary.exists()


def test_what_is_no_estimator_is_refused():
    """Something else, a checkpoint without a model and a damaged pickle each say what is wrong."""
    with pytest.raises(FormatError, match="dict is no estimator"):
        SklearnCheckpoint.from_estimator({})
    with pytest.raises(NotFoundError, match=r"neither a file model\.skops"):
        SklearnCheckpoint.from_dict({"epoch": 1}).get_estimator()
    with pytest.raises(FormatError, match="cannot be unpickled"):
        SklearnCheckpoint.from_dict({"model": b"damaged"}).get_estimator(allow_pickle=True)

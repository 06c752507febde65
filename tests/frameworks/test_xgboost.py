"""XGBoostCheckpoint: trained boosters come back as they were, in XGBoost's own bytes."""

from __future__ import annotations

import numpy as np
import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.xgboost import XGBoostCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

xgboost = pytest.importorskip("xgboost")

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(80, 4)).astype(np.float32)
TARGETS = (INPUTS[:, 0] + INPUTS[:, 1] > 0).astype(np.int64)
PARAMS = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 0}


@pytest.fixture(scope="module")
def booster():
    data = xgboost.DMatrix(INPUTS, TARGETS, feature_names=["a", "b", "c", "d"])
    return xgboost.train(PARAMS, data, num_boost_round=5)


def predictions(booster):
    return booster.predict(xgboost.DMatrix(INPUTS, feature_names=booster.feature_names))


def hops(checkpoint, folder):
    """The same checkpoint after each kind of trip, read as whatever it was made as."""
    yield "as it is", checkpoint
    yield "dict", Checkpoint.from_dict(checkpoint.to_dict())
    yield "bytes", Checkpoint.from_bytes(checkpoint.to_bytes())
    yield "directory", Checkpoint.from_directory(checkpoint.to_directory(folder / "hop"))
    yield "hash", Checkpoint.from_hash(checkpoint.hash).typed()


def test_a_booster_comes_back_over_every_hop(booster, tmp_path):
    """Predictions, names of features and attributes are those of the trained booster, whichever way it went."""
    booster.set_attr(note="kept")
    for hop, checkpoint in hops(XGBoostCheckpoint.from_model(booster), tmp_path):
        assert type(checkpoint) is XGBoostCheckpoint, hop
        loaded = checkpoint.get_model()
        np.testing.assert_array_equal(predictions(loaded), predictions(booster), hop)
        assert loaded.feature_names == ["a", "b", "c", "d"], hop
        assert loaded.attr("note") == "kept", hop


def test_the_file_is_xgboosts_own_and_the_same_every_time(booster, tmp_path):
    """model.ubj is what save_model writes; a second save, and a save of what was loaded, give the same hash."""
    checkpoint = XGBoostCheckpoint.from_model(booster)
    booster.save_model(tmp_path / "own.ubj")

    with checkpoint.open("model.ubj") as file:
        assert file.read() == (tmp_path / "own.ubj").read_bytes()
    assert XGBoostCheckpoint.from_model(booster).hash == checkpoint.hash
    assert XGBoostCheckpoint.from_model(checkpoint.get_model()).hash == checkpoint.hash


def test_an_estimators_booster_is_taken():
    """XGBClassifier is accepted, and a new one can take the booster up."""
    pytest.importorskip("sklearn")
    estimator = xgboost.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1).fit(INPUTS, TARGETS)
    loaded = XGBoostCheckpoint.from_model(estimator).get_model()

    np.testing.assert_array_equal(loaded.inplace_predict(INPUTS), estimator.predict_proba(INPUTS)[:, 1])
    again = xgboost.XGBClassifier()
    again.load_model(loaded.save_raw())
    np.testing.assert_array_equal(again.predict(INPUTS), estimator.predict(INPUTS))


@pytest.mark.parametrize("name", ["model.ubj", "model.json", "model"])
@pytest.mark.parametrize("raw_format", ["ubj", "json"])
def test_files_that_other_code_wrote_are_read(name, raw_format, booster, tmp_path):
    """Ray's names for the file, with either format in it, in a directory that cas did not make."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / name).write_bytes(booster.save_raw(raw_format))
    loaded = XGBoostCheckpoint.from_directory(tmp_path / "made").get_model()

    np.testing.assert_array_equal(predictions(loaded), predictions(booster))


def test_a_dict_that_other_code_made_is_read(booster):
    """The booster's bytes under 'model' are enough; the booster itself needs a permission, both ways."""
    plain = Checkpoint.from_dict({"model": bytes(booster.save_raw()), "epoch": 3})
    np.testing.assert_array_equal(
        predictions(XGBoostCheckpoint.from_checkpoint(plain).get_model()), predictions(booster)
    )
    pickled = XGBoostCheckpoint.from_dict({"model": booster}, allow_pickle=True)
    with pytest.raises(RefusedError, match=r"'model' is a pickled .*allow_pickle=True"):
        pickled.get_model()
    np.testing.assert_array_equal(predictions(pickled.get_model(allow_pickle=True)), predictions(booster))


def test_what_is_no_booster_is_refused():
    """Something else, an untrained estimator, a dict without a model and a damaged file each say what is wrong."""
    with pytest.raises(FormatError, match="dict is no booster"):
        XGBoostCheckpoint.from_model({})
    with pytest.raises(NotFoundError, match=r"neither a file model\.ubj"):
        XGBoostCheckpoint.from_dict({"epoch": 1}).get_model()
    with pytest.raises(FormatError, match="the dict's 'model' is a list"):
        XGBoostCheckpoint.from_dict({"model": [1]}).get_model()
    for content in (b"", b"{", b"{}", b"pickle", b'{"version":[3,2,0]}'):
        with pytest.raises(FormatError, match="no model of XGBoost's"):
            XGBoostCheckpoint.from_dict({"model": content}).get_model()


def test_an_untrained_estimator_has_no_booster():
    """It says so instead of storing an empty one."""
    pytest.importorskip("sklearn")
    with pytest.raises(FormatError, match="not trained"):
        XGBoostCheckpoint.from_model(xgboost.XGBClassifier())


def test_a_preprocessor_travels_along(booster):
    """A scaler given with the booster comes back with it."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    pytest.importorskip("skops")
    scaler = preprocessing.StandardScaler().fit(INPUTS)
    checkpoint = XGBoostCheckpoint.from_model(booster, preprocessor=scaler)
    found = Checkpoint.from_hash(checkpoint.hash).get_preprocessor()

    np.testing.assert_array_equal(found.transform(INPUTS), scaler.transform(INPUTS))

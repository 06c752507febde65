"""LightGBMCheckpoint: trained boosters come back as they were, in LightGBM's own text."""

from __future__ import annotations

import numpy as np
import pytest

from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.lightgbm import LightGBMCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

lightgbm = pytest.importorskip("lightgbm")

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(80, 4))
TARGETS = (INPUTS[:, 0] + INPUTS[:, 1] > 0).astype(np.int64)
PARAMS = {"objective": "binary", "num_leaves": 4, "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 5}


@pytest.fixture(scope="module")
def booster():
    return lightgbm.train(PARAMS, lightgbm.Dataset(INPUTS, TARGETS, feature_name=list("abcd")), num_boost_round=5)


def hops(checkpoint, folder):
    """The same checkpoint after each kind of trip, read as whatever it was made as."""
    yield "as it is", checkpoint
    yield "dict", Checkpoint.from_dict(checkpoint.to_dict())
    yield "bytes", Checkpoint.from_bytes(checkpoint.to_bytes())
    yield "directory", Checkpoint.from_directory(checkpoint.to_directory(folder / "hop"))
    yield "hash", Checkpoint.from_hash(checkpoint.hash).typed()


def test_a_booster_comes_back_over_every_hop(booster, tmp_path):
    """Predictions and names of features are those of the trained booster, whichever way it went."""
    for hop, checkpoint in hops(LightGBMCheckpoint.from_model(booster), tmp_path):
        assert type(checkpoint) is LightGBMCheckpoint, hop
        loaded = checkpoint.get_model()
        np.testing.assert_array_equal(loaded.predict(INPUTS), booster.predict(INPUTS), hop)
        assert loaded.feature_name() == list("abcd"), hop


def test_the_file_is_lightgbms_own_and_the_same_every_time(booster, tmp_path):
    """model.txt is what save_model writes; a second save, and a save of what was loaded, give the same hash."""
    checkpoint = LightGBMCheckpoint.from_model(booster)
    booster.save_model(tmp_path / "own.txt")

    with checkpoint.open("model.txt") as file:
        assert file.read() == (tmp_path / "own.txt").read_bytes()
    assert LightGBMCheckpoint.from_model(booster).hash == checkpoint.hash
    assert LightGBMCheckpoint.from_model(checkpoint.get_model()).hash == checkpoint.hash


def test_a_booster_that_stopped_early_predicts_the_same():
    """What is stored is what predicts by default: the trees up to the best iteration."""
    train = lightgbm.Dataset(INPUTS[:60], TARGETS[:60])
    stop = lightgbm.early_stopping(2, verbose=False)
    valid = train.create_valid(INPUTS[60:], 1 - TARGETS[60:])
    booster = lightgbm.train(PARAMS, train, num_boost_round=30, valid_sets=[valid], callbacks=[stop])
    loaded = LightGBMCheckpoint.from_model(booster).get_model()

    assert 0 < booster.best_iteration < 30
    np.testing.assert_array_equal(loaded.predict(INPUTS), booster.predict(INPUTS))


def test_an_estimators_booster_is_taken():
    """LGBMClassifier is accepted."""
    pytest.importorskip("sklearn")
    estimator = lightgbm.LGBMClassifier(n_estimators=4, num_leaves=4, n_jobs=1, verbosity=-1).fit(INPUTS, TARGETS)
    loaded = LightGBMCheckpoint.from_model(estimator).get_model()

    np.testing.assert_array_equal(loaded.predict(INPUTS), estimator.booster_.predict(INPUTS))


def test_categories_of_a_table_travel_along():
    """A column of categories is coded on loading as it was in training."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"x": INPUTS[:, 0], "kind": pandas.Categorical(np.where(TARGETS, "u", "v"))})
    booster = lightgbm.train(PARAMS, lightgbm.Dataset(table, TARGETS), num_boost_round=3)
    loaded = LightGBMCheckpoint.from_model(booster).get_model()

    np.testing.assert_array_equal(loaded.predict(table), booster.predict(table))


@pytest.mark.parametrize("name", ["model.txt", "model"])
def test_files_that_other_code_wrote_are_read(name, booster, tmp_path):
    """Ray's names for the file, in a directory that cas did not make."""
    (tmp_path / "made").mkdir()
    booster.save_model(tmp_path / "made" / name)
    loaded = LightGBMCheckpoint.from_directory(tmp_path / "made").get_model()

    np.testing.assert_array_equal(loaded.predict(INPUTS), booster.predict(INPUTS))


def test_a_dict_that_other_code_made_is_read(booster):
    """The booster's text under 'model' is enough; the booster itself needs a permission, both ways."""
    for content in (booster.model_to_string(), booster.model_to_string().encode()):
        plain = Checkpoint.from_dict({"model": content, "epoch": 3})
        loaded = LightGBMCheckpoint.from_checkpoint(plain).get_model()
        np.testing.assert_array_equal(loaded.predict(INPUTS), booster.predict(INPUTS))
    pickled = LightGBMCheckpoint.from_dict({"model": booster}, allow_pickle=True)
    with pytest.raises(RefusedError, match=r"'model' is a pickled .*allow_pickle=True"):
        pickled.get_model()
    np.testing.assert_array_equal(pickled.get_model(allow_pickle=True).predict(INPUTS), booster.predict(INPUTS))


def test_what_is_no_booster_is_refused(capfd):
    """Something else, a dict without a model and a damaged file each say what is wrong, and print nothing."""
    with pytest.raises(FormatError, match="dict is no booster"):
        LightGBMCheckpoint.from_model({})
    with pytest.raises(NotFoundError, match=r"neither a file model\.txt"):
        LightGBMCheckpoint.from_dict({"epoch": 1}).get_model()
    for content in (b"", b"pickle", b"\xff\xfe"):
        with pytest.raises(FormatError, match="no model"):
            LightGBMCheckpoint.from_dict({"model": content}).get_model()
    assert capfd.readouterr() == ("", "")


def test_an_untrained_estimator_has_no_booster():
    """It says so instead of storing an empty one."""
    pytest.importorskip("sklearn")
    with pytest.raises(FormatError, match="not trained"):
        LightGBMCheckpoint.from_model(lightgbm.LGBMClassifier())

"""to_air_checkpoint: each kind of model becomes the checkpoint that fits it, and nothing is imported to find out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cas.checkpoint.frameworks.air import to_air_checkpoint
from cas.errors import FormatError

INPUTS = np.random.default_rng(0).normal(size=(40, 3))
TARGETS = (INPUTS[:, 0] > 0).astype(np.int64)


def torch_module():
    return pytest.importorskip("torch").nn.Linear(3, 1)


def state_dict():
    return torch_module().state_dict()


def xgboost_estimator():
    xgboost = pytest.importorskip("xgboost")
    pytest.importorskip("sklearn")
    return xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(INPUTS, TARGETS)


def xgboost_booster():
    return xgboost_estimator().get_booster()


def lightgbm_estimator():
    lightgbm = pytest.importorskip("lightgbm")
    pytest.importorskip("sklearn")
    return lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbosity=-1).fit(INPUTS, TARGETS)


def lightgbm_booster():
    return lightgbm_estimator().booster_


def estimator():
    pytest.importorskip("skops")
    return pytest.importorskip("sklearn.linear_model").LogisticRegression().fit(INPUTS, TARGETS)


def pytree():
    return {"layer": [pytest.importorskip("jax").numpy.arange(3.0)]}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (torch_module, "TorchCheckpoint"),
        (state_dict, "TorchCheckpoint"),
        (xgboost_estimator, "XGBoostCheckpoint"),
        (xgboost_booster, "XGBoostCheckpoint"),
        (lightgbm_estimator, "LightGBMCheckpoint"),
        (lightgbm_booster, "LightGBMCheckpoint"),
        (estimator, "SklearnCheckpoint"),
        pytest.param(pytree, "JaxCheckpoint", marks=pytest.mark.slow),
    ],
)
def test_a_model_becomes_the_checkpoint_that_fits_it(make, expected):
    """Of the most particular class: a booster's estimator is stored by its booster, not by skops."""
    assert type(to_air_checkpoint(make())).__name__ == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_models_that_are_modules_as_well_keep_their_kind():
    """Lightning's modules are torch's too, and Keras's models are their own."""
    lightning = pytest.importorskip("lightning.pytorch")
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    module = lightning.LightningModule()
    module.layer = torch_module()

    assert type(to_air_checkpoint(module)).__name__ == "LightningCheckpoint"
    assert type(to_air_checkpoint(model)).__name__ == "TensorflowCheckpoint"


@pytest.mark.slow
def test_a_transformers_model_keeps_its_configuration():
    """It is stored the way that from_pretrained reads."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=16
    )
    checkpoint = to_air_checkpoint(transformers.BertModel(config))

    assert type(checkpoint).__name__ == "TransformersCheckpoint"
    with checkpoint.open("config.json") as file:
        assert b"hidden_size" in file.read()


def test_an_mlflow_directory_is_known_by_its_description(tmp_path):
    """A path with MLmodel in it, without MLflow being there."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")

    for path in (tmp_path / "made", str(tmp_path / "made")):
        assert type(to_air_checkpoint(path)).__name__ == "MLflowCheckpoint"


def test_settings_reach_the_constructor():
    """A preprocessor given here is the checkpoint's."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = preprocessing.StandardScaler().fit(INPUTS)
    checkpoint = to_air_checkpoint(estimator(), preprocessor=scaler)

    np.testing.assert_array_equal(checkpoint.get_preprocessor().mean_, scaler.mean_)


@pytest.mark.parametrize("model", [3, "text", {}, {"a": 1}, object(), None])
def test_anything_else_is_an_error_that_says_what_would_do(model):
    """The list names every kind."""
    with pytest.raises(FormatError, match=r"no model that cas knows.*a torch\.nn\.Module.*an MLflow model's directory"):
        to_air_checkpoint(model)


def test_no_framework_is_imported_to_find_out():
    """A process that has none loaded still has none afterwards."""
    program = """
import sys
from cas.checkpoint.frameworks.air import to_air_checkpoint
try:
    to_air_checkpoint({"a": 1})
except ValueError:
    pass
heavy = {"torch", "tensorflow", "keras", "jax", "sklearn", "xgboost", "lightgbm", "transformers", "lightning", "mlflow"}
sys.stdout.write(" ".join(sorted(heavy & sys.modules.keys())))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""

"""TensorflowPredictor: Keras weights, whole models and SavedModels out of a hash."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf

from cas import Checkpoint
from cas.checkpoint.frameworks.tensorflow import TensorflowCheckpoint
from cas.errors import FormatError, RefusedError
from cas.predictors import TensorflowPredictor, predictor_of

pytestmark = [
    pytest.mark.slow,
    # Keras reads its own variables in a way that NumPy 2 warns about.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

INPUTS = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)


def build():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = build()
    model.compile("adam", "mse")
    model.fit(INPUTS, INPUTS[:, :2], epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def expected(model):
    return model(INPUTS, training=False).numpy()


def test_predict_weights(model, expected):
    """Trained weights by hash and a function that builds the model: the model's own answers, in each form."""
    checkpoint = Checkpoint.from_hash(TensorflowCheckpoint.from_model(model).hash)
    assert predictor_of(checkpoint) is TensorflowPredictor
    predictor = TensorflowPredictor.from_checkpoint(checkpoint, model_definition=build)
    np.testing.assert_allclose(predictor.predict(INPUTS)["predictions"], expected, rtol=1e-5)
    table = predictor.predict(pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(INPUTS.ravel()), 4)}))
    assert isinstance(table, pa.Table)
    np.testing.assert_allclose(np.stack(table["predictions"].to_numpy()), expected, rtol=1e-5)
    wide = predictor.predict(INPUTS.astype(np.float64), dtype="float32")
    np.testing.assert_allclose(wide["predictions"], expected, rtol=1e-5)
    with pytest.raises(FormatError, match="weights alone"):
        TensorflowPredictor.from_checkpoint(checkpoint)


def test_predict_whole_models(model, expected, tmp_path):
    """A .keras file, and a SavedModel, need no definition."""
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    for made in (
        TensorflowCheckpoint.from_h5(tmp_path / "model.keras"),
        TensorflowCheckpoint.from_saved_model(tmp_path / "saved"),
    ):
        predictor = TensorflowPredictor.from_checkpoint(Checkpoint.from_hash(made.hash), allow_pickle=True)
        np.testing.assert_allclose(predictor.predict(INPUTS)["predictions"], expected, rtol=1e-5)


def test_columns_and_outputs():
    """Many columns are a dict of tensors; a dict of tensors is columns; a list says what to override."""

    class Summing(keras.Model):
        def call(self, inputs, training=False):
            return {"sum": inputs["a"] + inputs["b"]}

    class Listing(keras.Model):
        def call(self, inputs, training=False):
            return [inputs, inputs]

    answer = TensorflowPredictor(model=Summing()).predict(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}))
    assert answer["sum"].tolist() == [4.0, 6.0]
    with pytest.raises(ValueError, match="override call_model"):
        TensorflowPredictor(model=Listing()).predict(np.zeros(2))

    class Naming(TensorflowPredictor):
        def call_model(self, inputs):
            return dict(zip("xy", super().call_model(inputs), strict=True))

    predictor = Naming(model=Listing())
    assert list(predictor.predict(np.zeros(2))) == ["x", "y"]
    assert repr(predictor) == "Naming(model=Listing, use_gpu=False)"


def test_what_is_refused(model):
    """A dtype that is none, and a GPU that is not there."""
    with pytest.raises(FormatError, match="'flaot'"):
        TensorflowPredictor(model=model).predict(INPUTS, dtype="flaot")
    if not tf.config.list_physical_devices("GPU"):
        with pytest.raises(RefusedError, match="no GPU"):
            TensorflowPredictor(model=model, use_gpu=True)

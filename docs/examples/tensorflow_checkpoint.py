"""A trained Keras model made into a checkpoint, and loaded elsewhere by its hash alone."""

import tempfile

import keras
import numpy as np

import cas
from cas.checkpoint.frameworks.tensorflow import TensorflowCheckpoint


def build_model() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])


inputs = np.random.default_rng(0).random((64, 2), dtype=np.float32)
model = build_model()
model.compile(optimizer="adam", loss="mse")
model.fit(inputs, inputs.sum(axis=1, keepdims=True), epochs=2, verbose=0)

with tempfile.TemporaryDirectory() as folder:
    cas.open(f"{folder}/store", create=True).close()
    digest = TensorflowCheckpoint.from_model(model, store=f"{folder}/store").hash

    loaded = TensorflowCheckpoint.from_hash(digest, store=f"{folder}/store").get_model(build_model)
    assert np.array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    print(digest)

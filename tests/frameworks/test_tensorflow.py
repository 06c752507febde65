"""TensorflowCheckpoint: weights, whole Keras models and SavedModels come back; code in them does not run unasked."""

from __future__ import annotations

import base64
import json
import marshal
import shutil

import numpy as np
import pytest

import cas
from cas.checkpoint import Checkpoint
from cas.checkpoint.frameworks.tensorflow import TensorflowCheckpoint
from cas.errors import FormatError, NotFoundError, RefusedError

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

pytestmark = [
    pytest.mark.slow,
    # Keras reads its own variables in a way that NumPy 2 warns about.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

Flavor = TensorflowCheckpoint.Flavor
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(32, 4)).astype(np.float32)
TARGETS = INPUTS[:, :1] - INPUTS[:, 1:2]


def build():
    """A model whose layers have other automatic names each time."""
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.1)]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = build()
    model.compile("adam", "mse")
    model.fit(INPUTS, TARGETS, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model"
    model.export(path, verbose=False)
    return path


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for name in ("own.h5", "own.keras"):
        model.save(folder / name)
    return folder


def predictions(model):
    return np.asarray(model(INPUTS, training=False))


def hops(checkpoint, folder):
    """The same checkpoint after each kind of trip, read as whatever it was made as."""
    yield "as it is", checkpoint
    yield "dict", Checkpoint.from_dict(checkpoint.to_dict())
    yield "bytes", Checkpoint.from_bytes(checkpoint.to_bytes())
    yield "directory", Checkpoint.from_directory(checkpoint.to_directory(folder / "hop"))
    yield "hash", Checkpoint.from_hash(checkpoint.hash).typed()


def test_weights_come_back_over_every_hop(model, tmp_path):
    """Into a model, or into what a function builds; the flavor says that there are only weights."""
    for hop, checkpoint in hops(TensorflowCheckpoint.from_model(model), tmp_path):
        assert (type(checkpoint), checkpoint.flavor) == (TensorflowCheckpoint, Flavor.MODEL_WEIGHTS), hop
        np.testing.assert_array_equal(predictions(checkpoint.get_model(build)), predictions(model), hop)
    again = build()
    assert checkpoint.get_model(again) is again
    np.testing.assert_array_equal(predictions(again), predictions(model))


def test_weights_go_into_a_compiled_model(model):
    """What the optimizer of either remembers plays no part."""
    other = build()
    other.compile("sgd", "mse")
    other.fit(INPUTS, TARGETS, verbose=0)
    TensorflowCheckpoint.from_model(model).get_model(other)

    np.testing.assert_array_equal(predictions(other), predictions(model))
    other.fit(INPUTS, TARGETS, verbose=0)


def test_equal_weights_have_one_hash(model):
    """Neither automatic names of layers, nor the time, nor the optimizer's memory are part of the weights."""
    other = build()
    other.set_weights(model.get_weights())

    assert [layer.name for layer in other.layers] != [layer.name for layer in model.layers]
    assert TensorflowCheckpoint.from_model(other).hash == TensorflowCheckpoint.from_model(model).hash


def test_weights_are_lazy_tensors(model):
    """One layer of a stored checkpoint is read without the rest, under the name in Keras's own weight files."""
    stored = TensorflowCheckpoint.from_hash(TensorflowCheckpoint.from_model(model).hash)
    tensors = stored.tensors()

    np.testing.assert_array_equal(tensors["layers/dense/vars/0"].numpy(), model.layers[0].get_weights()[0])
    assert not any(name.startswith("optimizer") for name in tensors)


def test_equal_tensors_of_another_framework_cost_nothing(model, store):
    """A plain dict of the same arrays shares their chunks with the Keras checkpoint."""
    big = keras.Sequential([keras.Input((512,)), keras.layers.Dense(512, use_bias=False)])
    TensorflowCheckpoint.from_model(big).hash  # noqa: B018 - stores it
    with cas.Store.open(store) as opened:
        result = opened.put({"other": {"kernel": big.get_weights()[0]}})
        assert result.new_bytes < 10_000 < result.logical_bytes


def test_half_precision_weights_come_back():
    """bfloat16 is stored as such, in two bytes."""

    def halves():
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="bfloat16")])

    first = halves()
    checkpoint = TensorflowCheckpoint.from_model(first)
    assert {tensor.dtype for tensor in checkpoint.tensors().values()} == {"BF16"}
    for left, right in zip(checkpoint.get_model(halves).get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(np.asarray(left, np.float32), np.asarray(right, np.float32))


def test_weights_need_their_model(model):
    """No model, something else, one that is not built, or one of another shape each say what is wrong."""
    checkpoint = TensorflowCheckpoint.from_model(model)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(FormatError, match=r"call get_model\(model\)"):
        checkpoint.get_model()
    with pytest.raises(FormatError, match="int is no Keras model"):
        checkpoint.get_model(3)
    with pytest.raises(FormatError, match="has no weights yet"):
        checkpoint.get_model(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(FormatError, match="does not hold the weights"):
        checkpoint.get_model(other)
    with pytest.raises(FormatError, match="dict is no Keras model"):
        TensorflowCheckpoint.from_model({})


@pytest.mark.parametrize("key", ["model", "model_weights"])
def test_weights_in_a_dict_are_read(key, model):
    """Ray AIR's form, and that of its examples: a list of arrays under a key."""
    checkpoint = TensorflowCheckpoint.from_dict({key: model.get_weights(), "epoch": 2})

    np.testing.assert_array_equal(predictions(checkpoint.get_model(build)), predictions(model))


def test_keras_own_weight_file_is_read(model, tmp_path):
    """A directory that a training loop wrote, without cas."""
    (tmp_path / "made").mkdir()
    model.save_weights(tmp_path / "made" / "epoch-2.weights.h5")
    checkpoint = TensorflowCheckpoint.from_directory(tmp_path / "made")

    assert checkpoint.flavor is Flavor.MODEL_WEIGHTS
    np.testing.assert_array_equal(predictions(checkpoint.get_model(build)), predictions(model))


@pytest.mark.parametrize("name", ["own.h5", "own.keras"])
def test_a_whole_model_comes_back_over_every_hop(name, model, saved, tmp_path):
    """The file is kept byte for byte, and no model is needed to load it."""
    checkpoint = TensorflowCheckpoint.from_h5(saved / name)
    with checkpoint.open(f"model.{name.rpartition('.')[2]}") as file:
        assert file.read() == (saved / name).read_bytes()
    for hop, each in hops(checkpoint, tmp_path):
        assert each.flavor is Flavor.H5, hop
        np.testing.assert_array_equal(predictions(each.get_model()), predictions(model), hop)
    with pytest.warns(UserWarning, match="is not used"):
        checkpoint.get_model(build)


def test_a_saved_model_comes_back_over_every_hop(model, exported, tmp_path):
    """What TensorFlow exported serves the same, wherever it went."""
    for hop, checkpoint in hops(TensorflowCheckpoint.from_saved_model(exported), tmp_path):
        assert checkpoint.flavor is Flavor.SAVED_MODEL, hop
        loaded = checkpoint.get_model()
        np.testing.assert_allclose(loaded.serve(INPUTS), predictions(model), rtol=1e-5, err_msg=hop)


def test_models_in_directories_that_other_code_wrote_are_found(model, exported, saved, tmp_path):
    """Each kind is known by its files, also below a folder."""
    for source, flavor in ((exported, Flavor.SAVED_MODEL), (saved / "own.keras", Flavor.H5)):
        (tmp_path / flavor.value).mkdir()
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / flavor.value / source.name)
        found = TensorflowCheckpoint.from_directory(tmp_path / flavor.value)
        assert found.flavor is flavor
        assert found.get_model() is not None


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_lambda_of_a_file_does_not_run(ending, tmp_path):
    """Python code in a Keras file runs by permission only; the refusal names the file."""
    canary = tmp_path / "canary"
    touch = eval(f"lambda value: (__import__('pathlib').Path({str(canary)!r}).touch(), value)[1]")
    hostile = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(touch, output_shape=(4,))])
    hostile.save(tmp_path / f"hostile.{ending}")
    canary.unlink(missing_ok=True)
    checkpoint = TensorflowCheckpoint.from_h5(tmp_path / f"hostile.{ending}")

    with pytest.raises(RefusedError, match=rf"model\.{ending} .*holds Python code.*\n.*allow_pickle=True"):
        checkpoint.get_model()
    assert not canary.exists()
    checkpoint.get_model(allow_pickle=True)(INPUTS)
    assert canary.exists()


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
def test_a_lambda_in_what_a_model_was_compiled_with_does_not_run(tmp_path):
    """A loss is Python code as much as a layer is."""
    canary = tmp_path / "canary"
    path = tmp_path / "hostile.h5"
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.save(path)
    code = eval(f"lambda true, value: (__import__('pathlib').Path({str(canary)!r}).touch(), value)[1]").__code__
    loss = {
        "class_name": "__lambda__",
        "config": {"value": [base64.b64encode(marshal.dumps(code)).decode(), None, None]},
    }
    training = {"loss": loss, "metrics": None, "weighted_metrics": None, "loss_weights": None}
    training["optimizer_config"] = keras.saving.serialize_keras_object(model.optimizer)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps(training)
    loaded = TensorflowCheckpoint.from_h5(path).get_model()

    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    assert not canary.exists()


def test_a_saved_model_that_reaches_out_is_not_loaded(tmp_path):
    """A graph that writes files or calls Python is refused by the names of its operations."""
    canary = tmp_path / "canary"

    class Hostile(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def serve(self, value):
            with tf.control_dependencies([tf.io.write_file(str(canary), value)]):
                return tf.io.read_file(str(canary))

    tf.saved_model.save(Hostile(), tmp_path / "hostile")
    checkpoint = TensorflowCheckpoint.from_saved_model(tmp_path / "hostile")

    with pytest.raises(RefusedError, match=r"saved_model\.pb .*ReadFile, WriteFile.*\n.*allow_pickle=True"):
        checkpoint.get_model()
    assert not canary.exists()
    checkpoint.get_model(allow_pickle=True).serve(tf.constant("x"))
    assert canary.exists()


def test_common_layers_are_no_programs_that_reach_out(tmp_path):
    """Look-ups, recurrent layers, random ones and convolutions export to what the filter lets through."""
    words = keras.Input((3,), dtype="string")
    value = keras.layers.Embedding(4, 3)(keras.layers.StringLookup(vocabulary=["a", "b"])(words))
    value = keras.layers.Dropout(0.2)(keras.layers.LSTM(4)(value))
    keras.Model(words, keras.layers.Dense(2)(value)).export(tmp_path / "words", verbose=False)
    picture = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.RandomFlip(), keras.layers.Conv2D(2, 3)])
    picture.export(tmp_path / "picture", verbose=False)

    for name in ("words", "picture"):
        assert TensorflowCheckpoint.from_saved_model(tmp_path / name).get_model().serve is not None


def test_what_is_no_model_is_refused(tmp_path):
    """A dict without one, a missing file, another file, weights alone and a damaged graph each say what is wrong."""
    (tmp_path / "text").write_text("text")
    (tmp_path / "some.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(NotFoundError, match=r"holds no TensorFlow model; make one by TensorflowCheckpoint\.from_model"):
        TensorflowCheckpoint.from_dict({"epoch": 1}).get_model(build)
    with pytest.raises(NotFoundError, match="no file"):
        TensorflowCheckpoint.from_h5(tmp_path / "missing.h5")
    with pytest.raises(FormatError, match="no file that Keras saved"):
        TensorflowCheckpoint.from_h5(tmp_path / "text")
    with pytest.raises(FormatError, match="holds weights alone"):
        TensorflowCheckpoint.from_h5(tmp_path / "some.weights.h5")
    with pytest.raises(FormatError, match=r"has no saved_model\.pb"):
        TensorflowCheckpoint.from_saved_model(tmp_path)
    with pytest.raises(NotFoundError, match="no directory"):
        TensorflowCheckpoint.from_saved_model(tmp_path / "missing")
    with pytest.raises(FormatError, match="is no SavedModel"):
        TensorflowCheckpoint.from_saved_model(tmp_path / "graph").get_model()

"""A Keras model's weights as a safetensors file.

    model.weights.safetensors       the tensors, under the names that Keras's own weight files give them

These names (``layers/dense/vars/0``) follow from how the model is built, not from which layers a process made before
it, and there are no times in the file: equal weights are equal files. Any tool opens it, and it deduplicates tensor by
tensor. What the optimizer remembers is not among the weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cas.checkpoint.arrays import find_array, stored_form
from cas.checkpoint.extras import require
from cas.checkpoint.tensor_file import StoredTensor, write_tensors
from cas.errors import FormatError
from cas.format import Buffer

__all__ = ["WEIGHTS_PATH", "check_model", "load_weight_file", "load_weights", "save_weights"]

WEIGHTS_PATH = "model.weights.safetensors"
_NAME = "model.weights.h5"  # Keras wants this ending
_OPTIMIZER = "optimizer/"
_PURPOSE = "a Keras model's weights"


def check_model(model: Any) -> None:
    """Refuse what is no Keras model, or one that has no weights yet.

    Raises:
        FormatError: it is either.
    """
    keras = require("keras", "tensorflow", _PURPOSE)
    if not isinstance(model, keras.Model):
        raise FormatError(f"a {type(model).__name__} is no Keras model")
    if not model.built:
        raise FormatError(f"{model.name!r} has no weights yet; call it on some data, or build(input_shape)")


def save_weights(model: Any) -> bytes:
    """The file of a model's weights.

    Raises:
        FormatError: it is no Keras model, or has no weights yet, or some that are no arrays.
    """
    check_model(model)
    h5py = require("h5py", "tensorflow", _PURPOSE)
    with tempfile.TemporaryDirectory(prefix="cas-keras-") as folder:
        path = Path(folder, _NAME)
        model.save_weights(path)
        tensors: dict[StoredTensor, Buffer] = {}

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith(_OPTIMIZER):
                array = _read_array(item)
                found = find_array(array)
                if found is None or (stored := stored_form(found[0])).tail:
                    raise FormatError(
                        f"{name} of {model.name!r} is of {item.dtype}, which a safetensors file cannot hold"
                    )
                tensors[StoredTensor(name, stored, array.shape)] = found[1]

        with h5py.File(path, "r") as file:
            file.visititems(take)
        return b"".join(write_tensors(tensors))


def load_weights(model: Any, tensors: Mapping[str, Any], where: str) -> None:
    """Put weights into a model.

    Args:
        model: a built one.
        tensors: lazy tensors, by the names of `save_weights`.
        where: what errors call them.

    Raises:
        FormatError: they are not those of such a model.
    """
    check_model(model)
    h5py = require("h5py", "tensorflow", _PURPOSE)
    with tempfile.TemporaryDirectory(prefix="cas-keras-") as folder:
        path = Path(folder, _NAME)
        with h5py.File(path, "w") as file:
            for name, tensor in tensors.items():
                array = tensor.numpy()
                item = file.create_dataset(name, data=array)
                if array.dtype.name == "bfloat16":
                    item.attrs["dtype"] = "bfloat16"  # HDF5 has no such type; Keras reads it by this
        load_weight_file(model, path, where)


def load_weight_file(model: Any, path: Path, where: str) -> None:
    """Put the weights of a file of Keras's own into a model.

    Raises:
        FormatError: they are not those of such a model, or the file is none of Keras's.
    """
    check_model(model)
    optimizer = getattr(model, "optimizer", None)
    try:
        model.load_weights(path, objects_to_skip=[] if optimizer is None else [optimizer])
    except Exception as error:  # each layer's own code reads its part, and may raise anything
        raise FormatError(f"{where} does not hold the weights of {model.name!r}: {error}") from error


def _read_array(item: Any) -> np.ndarray[Any, Any]:
    if item.attrs.get("dtype") == "bfloat16":
        ml_dtypes = require("ml_dtypes", "tensorflow", "weights of bfloat16")
        return np.array(item, dtype=ml_dtypes.bfloat16)
    return np.array(item)

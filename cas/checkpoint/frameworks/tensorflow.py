"""TensorflowCheckpoint: a Keras model's weights, a whole Keras model, or a SavedModel.

    model.weights.safetensors           weights alone (`cas.checkpoint.frameworks.keras_weights`)
    model.keras or model.h5             a whole model in one file, as Keras wrote it
    saved_model.pb, variables/, ...     a SavedModel, as TensorFlow wrote it

Which of them it is, its `flavor` says. Keras models may hold Python code, and a SavedModel is a program: what could
do more than compute is loaded only by permission.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.dict_tree import is_dict_tree
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.keras_weights import (
    WEIGHTS_PATH,
    check_model,
    load_weight_file,
    load_weights,
    save_weights,
)
from cas.checkpoint.frameworks.model_file import read_directory
from cas.checkpoint.frameworks.saved_model import GRAPH_PATH, effects
from cas.checkpoint.permission import HOW_TO_ALLOW, pickle_is_allowed
from cas.errors import FormatError, NotFoundError, RefusedError

__all__ = ["TensorflowCheckpoint"]

_WEIGHTS_SUFFIX = ".weights.h5"
_WHOLE_SUFFIXES = (".keras", ".h5", ".hdf5")
_HDF5_MAGIC, _ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_WEIGHT_KEYS = ("model", "model_weights")
_COPY_BYTES = 1 << 20
_SAFE_SINCE = (3, 12)  # before that, Keras could be made to run code of a file in spite of safe_mode: CVE-2025-9905


class TensorflowCheckpoint(Checkpoint):
    """A checkpoint of a TensorFlow model."""

    class Flavor(Enum):
        """What of a model a checkpoint holds."""

        MODEL_WEIGHTS = "model_weights"
        SAVED_MODEL = "saved_model"
        H5 = "h5"
        """A whole Keras model in one file, of HDF5 or of Keras's newer format."""

    _SERIALIZED_ATTRS: ClassVar[tuple[str, ...]] = ("_flavor",)
    _flavor: str

    @classmethod
    def from_model(
        cls,
        model: Any,
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A Keras model's weights, copied now; `get_model` needs the model again, or a function that builds it.

        Args:
            model: a built Keras model. What its optimizer remembers is left out.
            preprocessor: what a model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether the preprocessor may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            FormatError: it is no Keras model, or has no weights yet.
            RefusedError: Keras is not installed, or only pickle can store the preprocessor.
        """
        files = {WEIGHTS_PATH: save_weights(model)}
        made = cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)
        made._flavor = cls.Flavor.MODEL_WEIGHTS.value
        return made

    @classmethod
    def from_h5(
        cls,
        file_path: str | os.PathLike[str],
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A whole Keras model, out of the file that ``model.save("model.h5")`` or ``"model.keras"`` wrote; read now.

        Args:
            file_path: the file.
            preprocessor, store, allow_pickle: as for `from_model`.

        Raises:
            NotFoundError: there is no such file.
            FormatError: it is something else.
        """
        try:
            data = Path(file_path).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFoundError(f"no file {os.fspath(file_path)}") from error
        if data.startswith(_HDF5_MAGIC):
            name = "model.h5"
        elif data.startswith(_ZIP_MAGIC):
            name = "model.keras"
        else:
            raise FormatError(f"{os.fspath(file_path)} is no file that Keras saved a model to")
        if os.fspath(file_path).endswith(_WEIGHTS_SUFFIX):
            raise FormatError(
                f"{os.fspath(file_path)} holds weights alone: build the model, load_weights, and"
                f" {cls.__name__}.from_model(model)"
            )
        made = cls._of_files({name: data}, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)
        made._flavor = cls.Flavor.H5.value
        return made

    @classmethod
    def from_saved_model(
        cls,
        dir_path: str | os.PathLike[str],
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """The directory that ``model.export(path)`` or ``tf.saved_model.save`` wrote; read now.

        Args:
            dir_path: the directory.
            preprocessor, store, allow_pickle: as for `from_model`.

        Raises:
            NotFoundError: there is no such directory.
            FormatError: it holds no SavedModel.
        """
        files = read_directory(Path(dir_path))
        if GRAPH_PATH not in files:
            raise FormatError(f"{os.fspath(dir_path)} has no {GRAPH_PATH}; give what model.export(path) wrote")
        made = cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)
        made._flavor = cls.Flavor.SAVED_MODEL.value
        return made

    @property
    def flavor(self) -> Flavor:
        """What of a model it holds: as it was made, else by its files.

        Raises:
            NotFoundError: it holds nothing of a TensorFlow model.
        """
        said = getattr(self, "_flavor", None)
        if said is not None:
            try:
                return self.Flavor(said)
            except ValueError as error:
                raise FormatError(f"{self!r} has flavor {said!r}, which this cas does not know") from error
        files = self._files()
        if WEIGHTS_PATH in files or _find(files, (_WEIGHTS_SUFFIX,)):
            return self.Flavor.MODEL_WEIGHTS
        if _find(files, (GRAPH_PATH,)):
            return self.Flavor.SAVED_MODEL
        if _find(files, _WHOLE_SUFFIXES):
            return self.Flavor.H5
        if is_dict_tree(files):
            return self.Flavor.MODEL_WEIGHTS
        raise self._no_model()

    def get_model(self, model: Any = None, *, allow_pickle: bool | None = None) -> Any:
        """The model.

        Args:
            model: for weights alone: the model to put them into, or a function that builds it.
            allow_pickle: whether code that the checkpoint holds may run; else ``CAS_ALLOW_PICKLE``.

        Returns:
            A Keras model, to be compiled before it is trained on; of a SavedModel what ``tf.saved_model.load``
            gives, with ``serve`` or ``signatures``.

        Raises:
            NotFoundError: the checkpoint holds no model.
            FormatError: it holds weights alone, and no model was given, or another one.
            RefusedError: it holds code, and nobody allowed that; or Keras or TensorFlow is not installed.
        """
        flavor, allowed = self.flavor, pickle_is_allowed(allow_pickle)
        if flavor is self.Flavor.MODEL_WEIGHTS:
            return self._fill(model, allow_pickle)
        if model is not None:
            warnings.warn(f"{self!r} holds a whole model; the one given is not used", stacklevel=2)
        return self._load_saved_model(allowed) if flavor is self.Flavor.SAVED_MODEL else self._load_whole(allowed)

    def _fill(self, model: Any, allow_pickle: bool | None) -> Any:
        if model is None:
            raise FormatError(
                f"{self!r} holds weights alone: call get_model(model), with the model or a function that builds it"
            )
        keras = require("keras", "tensorflow", "a TensorflowCheckpoint's model")
        if not isinstance(model, keras.Model) and callable(model):
            model = model()
        files = self._files()
        if WEIGHTS_PATH in files:
            load_weights(model, self.tensors(WEIGHTS_PATH), WEIGHTS_PATH)
        elif path := _find(files, (_WEIGHTS_SUFFIX,)):
            with self._one_file(path) as local:
                load_weight_file(model, Path(local), path)
        else:
            self._fill_from_dict(model, allow_pickle)
        return model

    def _fill_from_dict(self, model: Any, allow_pickle: bool | None) -> None:
        """The weights as ``model.get_weights()`` gives them, which Ray AIR kept in a dict."""
        found = self.to_dict(allow_pickle=allow_pickle) if is_dict_tree(self._files()) else {}
        weights = next((found[key] for key in _WEIGHT_KEYS if isinstance(found.get(key), list | tuple)), None)
        if weights is None:
            raise self._no_model()
        check_model(model)
        try:
            model.set_weights(weights)
        except (ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"{self!r} does not hold the weights of {model.name!r}: {error}") from error

    def _load_whole(self, allowed: bool) -> Any:
        keras = require("keras", "tensorflow", "a TensorflowCheckpoint's model")
        path = _find(self._files(), _WHOLE_SUFFIXES)
        if path is None:
            raise self._no_model()
        if not allowed and tuple(int(part) for part in keras.__version__.split(".")[:2]) < _SAFE_SINCE:
            raise RefusedError(
                f"Keras {keras.__version__} can be made to run code by {path} (CVE-2025-9905): pip install -U keras;\n"
                f"if you trust the file, {HOW_TO_ALLOW}"
            )
        with self._one_file(path) as local:
            try:
                # What it was compiled with is code too, and keeps many files from loading in a newer Keras.
                return keras.models.load_model(local, compile=False, safe_mode=not allowed)
            except Exception as error:  # each layer's own code reads its part, and may raise anything
                if not allowed and "safe_mode" in str(error):
                    raise RefusedError(
                        f"{path} of {self!r} holds Python code (a Lambda), which would run:\n"
                        f"if you trust it, {HOW_TO_ALLOW}"
                    ) from error
                raise FormatError(f"{path} of {self!r} is no model that Keras can load: {error}") from error

    def _load_saved_model(self, allowed: bool) -> Any:
        tensorflow = require("tensorflow", "tensorflow", "a SavedModel")
        path = _find(self._files(), (GRAPH_PATH,))
        if path is None:
            raise self._no_model()
        if not allowed:
            with self.open(path) as file:
                found = effects(file.read())
            if found:
                raise RefusedError(
                    f"{path} of {self!r} is a program with {', '.join(found[:5])}, which may reach files or run"
                    f" code:\nif you trust it, {HOW_TO_ALLOW}"
                )
        with self.as_directory() as directory:
            try:
                return tensorflow.saved_model.load(str(Path(directory, path).parent))
            except Exception as error:  # what a malformed one makes it raise cannot be listed
                raise FormatError(f"{path} of {self!r} is no SavedModel that can be loaded: {error}") from error

    @contextmanager
    def _one_file(self, path: str) -> Iterator[str]:
        """One file, under its own name, for the length of a ``with``: Keras goes by endings."""
        with tempfile.TemporaryDirectory(prefix="cas-keras-") as folder:
            local = Path(folder, Path(path).name)
            with self.open(path) as file, local.open("wb") as written:
                shutil.copyfileobj(file, written, _COPY_BYTES)
            yield str(local)

    def _no_model(self) -> NotFoundError:
        return NotFoundError(
            f"{self!r} holds no TensorFlow model; make one by {type(self).__name__}.from_model(model), from_h5(file)"
            " or from_saved_model(directory)"
        )


def _find(files: Collection[str], suffixes: tuple[str, ...]) -> str | None:
    """The file with one of these endings that lies least deep."""
    found = [path for path in files if path.endswith(suffixes)]
    return min(found, key=lambda path: (path.count("/"), path), default=None)

"""MLflowCheckpoint: an MLflow model directory, wherever MLflow has it, and back.

The files are kept as they are. What flavors there are stands in ``MLmodel`` and is read from there, without importing
MLflow or any of them. A flavor that could run code from the directory is loaded only by permission
(`cas.checkpoint.frameworks.mlflow_flavors`).
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.estimator_file import load_estimator
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.mlflow_flavors import DESCRIPTION_PATH, PYFUNC, Flavor, read_flavors
from cas.checkpoint.frameworks.model_file import read_directory
from cas.checkpoint.kind import KIND_PATH
from cas.checkpoint.overlay import overlaid
from cas.checkpoint.permission import HOW_TO_ALLOW, pickle_is_allowed
from cas.errors import CasError, FormatError, NotFoundError, RefusedError, StorageError

__all__ = ["MLflowCheckpoint"]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_RUNS, _MODELS = "runs:/", "models:/"
_ORIGIN = "registered_model_meta"  # where MLflow notes from which of its names it has downloaded
_ARTIFACT_PATH = "model"


class MLflowCheckpoint(Checkpoint):
    """A checkpoint of an MLflow model."""

    @classmethod
    def from_model(
        cls,
        uri_or_path: str | os.PathLike[str],
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """An MLflow model.

        Args:
            uri_or_path: a local directory that has ``MLmodel``, read when it is needed; or what MLflow
                knows (``runs:/<run>/<path>``, ``models:/<name>/<version>``, ``s3://...``), downloaded now.
            preprocessor: what a model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether the preprocessor may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: there is no such model.
            FormatError: there is no ``MLmodel`` in it.
            StorageError: MLflow cannot download it.
            RefusedError: MLflow is not installed, or only pickle can store the preprocessor.
        """
        location = os.fspath(uri_or_path)
        if location.startswith("file:"):
            location = url2pathname(urlsplit(location).path)
        if _SCHEME.match(location):
            made = cls._of_files(_download(location), store=store)
        else:
            made = cls.from_directory(location, store=store)
        if made._find_file(DESCRIPTION_PATH) is None:
            raise FormatError(f"{location} has no {DESCRIPTION_PATH}; give the directory that MLflow saved a model to")
        if preprocessor is not None:
            made.set_preprocessor(preprocessor, allow_pickle=allow_pickle)
        return made

    @property
    def flavors(self) -> dict[str, dict[str, Any]]:
        """Every flavor's settings by its name, as ``MLmodel`` has them.

        Raises:
            NotFoundError: the checkpoint has no ``MLmodel``.
            FormatError: it is malformed.
        """
        description = self._find_file(DESCRIPTION_PATH)
        if description is None:
            raise NotFoundError(
                f"{self!r} has no {DESCRIPTION_PATH}; make one by {type(self).__name__}.from_model(uri_or_path)"
            )
        return read_flavors(description)

    def get_model(
        self, flavor: str | None = None, *, trusted: Iterable[str] = (), allow_pickle: bool | None = None
    ) -> Any:
        """The model, as a flavor loads it.

        Args:
            flavor: its name; by default the first that is not MLflow's general ``python_function``.
            trusted: for one that skops stored: full names of types that may be made besides those that it trusts
                by itself. What the directory says about that is not believed.
            allow_pickle: whether code in the directory may run; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: it has no such flavor, or lacks its file.
            FormatError: the model is malformed.
            RefusedError: loading it could run code, and nobody allowed that; or MLflow is not installed.
        """
        found = self._flavor(flavor)
        allowed = pickle_is_allowed(allow_pickle)
        if found.is_skops:
            with self.open(found.path) as file:
                return load_estimator(file.read(), found.path, {*trusted, *found.trusted}, trust_all=allowed)
        if found.runs_code and not allowed:
            raise RefusedError(
                f"{found.path} of {self!r} is loaded by MLflow's flavor {found.name!r}, which may unpickle it or run"
                f" code:\nif you trust all of it, {HOW_TO_ALLOW}"
            )
        module = "pyfunc" if found.name == PYFUNC else found.name
        require("mlflow", "mlflow", "loading an MLflow model")
        with self.as_directory() as directory:
            try:
                return importlib.import_module(f"mlflow.{module}").load_model(directory)
            except ModuleNotFoundError as error:
                raise RefusedError(f"flavor {found.name!r} needs {error.name}, which is not installed") from error
            except Exception as error:  # the framework's loader may raise anything
                raise FormatError(f"{found.path} of {self!r} cannot be loaded by {found.name!r}: {error}") from error

    def to_mlflow(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> str:
        """Give the model back to MLflow, without what cas has noted beside it.

        Args:
            target: a directory to write; ``runs:/<run>/<path>`` to log it in a run; ``models:/<name>`` to log it in
                the active run, or in one of its own, and register it as the next version.
            overwrite: replace files of the directory that are there and differ; otherwise they are a ConflictError.

        Returns:
            The directory or the URI by which MLflow loads it, for a registered model with its version.

        Raises:
            StorageError: MLflow cannot take it.
            RefusedError: MLflow is not installed.
        """
        location = os.fspath(target)
        if not location.startswith((_RUNS, _MODELS)):
            self._export(Path(location), overwrite)
            return location
        mlflow = require("mlflow", "mlflow", "giving a model to MLflow")
        with tempfile.TemporaryDirectory(prefix="cas-mlflow-") as folder, _translated(location):
            self._export(Path(folder), overwrite=False)
            if location.startswith(_RUNS):
                run, _, path = location.removeprefix(_RUNS).partition("/")
                mlflow.MlflowClient().log_artifacts(run, folder, path or None)
                return location
            name = location.removeprefix(_MODELS).strip("/")
            with _run(mlflow) as run:
                mlflow.MlflowClient().log_artifacts(run, folder, _ARTIFACT_PATH)
                version = mlflow.register_model(f"{_RUNS}{run}/{_ARTIFACT_PATH}", name)
            return f"{_MODELS}{name}/{version.version}"

    def _export(self, target: Path, overwrite: bool) -> None:
        overlaid(self._content, {KIND_PATH: None}).write(target, overwrite=overwrite)

    def _flavor(self, name: str | None) -> Flavor:
        known = self.flavors
        if name is None:
            name = next((each for each in known if each != PYFUNC), PYFUNC)
        if name not in known:
            raise NotFoundError(f"{self!r} has no flavor {name!r}; it has {', '.join(known)}")
        return Flavor.of(name, known[name], self._files().keys())


@contextmanager
def _run(mlflow: Any) -> Iterator[str]:
    """The active run's id, or a new run's, which ends with the ``with``."""
    active = mlflow.active_run()
    if active is not None:
        yield active.info.run_id
        return
    with mlflow.start_run() as started:
        yield started.info.run_id


@contextmanager
def _translated(location: str) -> Iterator[None]:
    """MLflow's errors as ours."""
    exceptions = require("mlflow.exceptions", "mlflow", "reaching MLflow")
    try:
        yield
    except CasError:
        raise
    except exceptions.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFoundError(f"MLflow has nothing at {location}: {error}") from error
        raise StorageError(f"MLflow refuses {location}: {error}") from error
    except OSError as error:
        raise StorageError(f"MLflow cannot reach {location}: {error}") from error


def _download(uri: str) -> dict[str, bytes]:
    mlflow = require("mlflow", "mlflow", f"downloading {uri}")
    with tempfile.TemporaryDirectory(prefix="cas-mlflow-") as folder, _translated(uri):
        found = read_directory(Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)))
    found.pop(_ORIGIN, None)
    return found

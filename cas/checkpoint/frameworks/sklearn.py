"""SklearnCheckpoint: an estimator by skops, which loads no code from data; by pickle only where that is allowed.

    model.skops     the estimator (`cas.checkpoint.estimator_file`); equal estimators are equal files
    model.pkl       in its place, by permission, one that skops cannot store

Pickles of joblib and cloudpickle, and either of the two under the older name ``model``, are read as well.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterable
from typing import Any, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.estimator_file import dump_estimator, load_estimator
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.model_file import as_bytes, read_model
from cas.checkpoint.permission import HOW_TO_ALLOW, pickle_is_allowed
from cas.errors import FormatError, RefusedError

__all__ = ["SklearnCheckpoint"]

_SKOPS, _PICKLE = "model.skops", "model.pkl"
_KNOWN = (_SKOPS, _PICKLE, "model.joblib", "model")
_KEYS = ("model", "estimator")
_PICKLE_PROTOCOL = 5
_ZIP_MAGIC = b"PK\x03\x04"


class SklearnCheckpoint(Checkpoint):
    """A checkpoint of a scikit-learn estimator, or of a pipeline of them."""

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        path: str | os.PathLike[str] | None = None,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """An estimator, copied now.

        Args:
            estimator: it, trained or not.
            path: a directory to write it into, so that the checkpoint is of that directory; else it is in memory.
            preprocessor: what a model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether what skops cannot store may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            FormatError: it is no estimator, or cannot be stored at all.
            RefusedError: only pickle can store it or the preprocessor; or skops is not installed.
            ConflictError: ``path`` has another file in a file's place.
        """
        base = require("sklearn.base", "sklearn", "a SklearnCheckpoint")
        if not isinstance(estimator, base.BaseEstimator):
            raise FormatError(f"a {type(estimator).__name__} is no estimator of scikit-learn's")
        try:
            files = {_SKOPS: dump_estimator(estimator)}
        except FormatError as error:
            if not pickle_is_allowed(allow_pickle):
                raise RefusedError(
                    f"{error};\npickle perhaps can, and loading a pickle runs code: {HOW_TO_ALLOW}"
                ) from error
            files = {_PICKLE: _pickled(estimator)}
        made = cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)
        return made if path is None else cls.from_directory(made.to_directory(path), store=store)

    def get_estimator(self, *, trusted: Iterable[str] = (), allow_pickle: bool | None = None) -> Any:
        """The estimator.

        Args:
            trusted: full names of types that may be made besides those that skops trusts by itself; the refusal
                of one names all that are needed.
            allow_pickle: whether anything in the file may run code; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: the checkpoint holds no estimator.
            FormatError: its file is malformed.
            RefusedError: the estimator is pickled, or of a type nobody trusts; or skops is not installed.
        """
        where, found = read_model(self, self._files(), _KNOWN, keys=_KEYS, allow_pickle=allow_pickle)
        if hasattr(found, "get_params"):
            return found  # of a dict, out of a pickle that was allowed
        data = as_bytes(found, where)
        allowed = pickle_is_allowed(allow_pickle)
        if bytes(data[: len(_ZIP_MAGIC)]) == _ZIP_MAGIC:
            return load_estimator(data, where, trusted, trust_all=allowed)
        if not allowed:
            raise RefusedError(
                f"{where} of {self!r} is a pickle; loading it runs code:\nif you trust it, {HOW_TO_ALLOW}"
            )
        joblib = require("joblib", "sklearn", f"loading {where}")
        try:
            return joblib.load(io.BytesIO(data))  # reads plain pickles as well as its own
        except Exception as error:  # the pickle's own code runs, and may raise anything
            raise FormatError(f"{where} of {self!r} cannot be unpickled: {error}") from error


def _pickled(estimator: object) -> bytes:
    try:
        return pickle.dumps(estimator, _PICKLE_PROTOCOL)
    except Exception as error:  # the object's own code runs, and may raise anything
        raise FormatError(f"a {type(estimator).__name__} cannot be pickled either: {error}") from error

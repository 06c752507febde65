"""XGBoostCheckpoint: a booster in XGBoost's own format, UBJSON, which holds no code.

    model.ubj       what ``booster.save_model("model.ubj")`` writes, byte for byte; equal boosters are equal files

Files of JSON, and any of the two under the older name ``model``, are read as well.
"""

from __future__ import annotations

import os
from typing import Any, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.model_file import as_bytes, read_model
from cas.errors import FormatError

__all__ = ["XGBoostCheckpoint"]

_PATH = "model.ubj"
_KNOWN = (_PATH, "model.json", "model")


class XGBoostCheckpoint(Checkpoint):
    """A checkpoint of an XGBoost booster."""

    @classmethod
    def from_model(
        cls,
        booster: Any,
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A trained booster, copied now.

        Args:
            booster: an ``xgboost.Booster``, or an estimator such as ``XGBClassifier``, whose booster is taken.
            preprocessor: what a model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether the preprocessor may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            FormatError: it is something else, or was not trained.
            RefusedError: XGBoost is not installed, or only pickle can store the preprocessor.
        """
        xgboost = require("xgboost", "xgboost", "an XGBoostCheckpoint")
        data = bytes(_booster_of(booster, xgboost).save_raw("ubj"))
        return cls._of_files({_PATH: data}, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)

    def get_model(self, *, allow_pickle: bool | None = None) -> Any:
        """The booster, an ``xgboost.Booster``. An estimator takes it by ``load_model(booster.save_raw())``.

        Args:
            allow_pickle: whether the pickled objects of a checkpoint that other code made of a dict may be loaded,
                which runs code; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: the checkpoint holds no model.
            FormatError: the model's file is none of XGBoost's.
            RefusedError: XGBoost is not installed, or the model is among pickled objects.
        """
        xgboost = require("xgboost", "xgboost", "an XGBoostCheckpoint's model")
        where, found = read_model(self, self._files(), _KNOWN, allow_pickle=allow_pickle)
        if isinstance(found, xgboost.Booster | xgboost.XGBModel):
            return _booster_of(found, xgboost)
        data = bytearray(as_bytes(found, where))
        if not (data.startswith(b"{") and data.rstrip().endswith(b"}")):
            # XGBoost's parser ends the process, or never ends, on some files that are empty or cut short.
            raise FormatError(f"{where} of {self!r} is no model of XGBoost's, or was cut short")
        try:
            return xgboost.Booster(model_file=data)
        except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
            raise FormatError(f"{where} of {self!r} is no model of XGBoost's:\n{_first_line(error)}") from error


def _booster_of(model: Any, xgboost: Any) -> Any:
    if isinstance(model, xgboost.XGBModel):
        try:
            return model.get_booster()
        except Exception as error:  # scikit-learn's NotFittedError, or XGBoost's own, by what is installed
            raise FormatError(f"a {type(model).__name__} that was not trained has no booster: {error}") from error
    if not isinstance(model, xgboost.Booster):
        raise FormatError(
            f"a {type(model).__name__} is no booster; give an xgboost.Booster, or an estimator of XGBoost's"
        )
    return model


def _first_line(error: Exception) -> str:
    """XGBoost's messages end with a stack trace of C++."""
    return str(error).strip().partition("\n")[0]

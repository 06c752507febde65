"""LightGBMCheckpoint: a booster in LightGBM's own format, text, which holds no code.

    model.txt       what ``booster.save_model("model.txt")`` writes, byte for byte; equal boosters are equal files

A file under the older name ``model`` is read as well.
"""

from __future__ import annotations

import os
from typing import Any, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.extras import require
from cas.checkpoint.frameworks.model_file import as_bytes, read_model
from cas.errors import FormatError

__all__ = ["LightGBMCheckpoint"]

_PATH = "model.txt"
_KNOWN = (_PATH, "model", "model.lgb")
_BEGINNING = b"tree\n"  # LightGBM writes to stdout about anything else that it is asked to read


class LightGBMCheckpoint(Checkpoint):
    """A checkpoint of a LightGBM booster."""

    @classmethod
    def from_model(
        cls,
        booster: Any,
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A trained booster, copied now; of one that stopped early, the trees up to its best iteration.

        Args:
            booster: a ``lightgbm.Booster``, or an estimator such as ``LGBMClassifier``, whose booster is taken.
            preprocessor: what a model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether the preprocessor may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            FormatError: it is something else, or was not trained.
            RefusedError: LightGBM is not installed, or only pickle can store the preprocessor.
        """
        lightgbm = require("lightgbm", "lightgbm", "a LightGBMCheckpoint")
        data = _booster_of(booster, lightgbm).model_to_string().encode()
        return cls._of_files({_PATH: data}, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)

    def get_model(self, *, allow_pickle: bool | None = None) -> Any:
        """The booster, a ``lightgbm.Booster``.

        Args:
            allow_pickle: whether the pickled objects of a checkpoint that other code made of a dict may be loaded,
                which runs code; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: the checkpoint holds no model.
            FormatError: the model's file is not LightGBM's.
            RefusedError: LightGBM is not installed, or the model is among pickled objects.
        """
        lightgbm = require("lightgbm", "lightgbm", "a LightGBMCheckpoint's model")
        where, found = read_model(self, self._files(), _KNOWN, allow_pickle=allow_pickle)
        if isinstance(found, lightgbm.Booster | lightgbm.LGBMModel):
            return _booster_of(found, lightgbm)
        data = bytes(as_bytes(found, where))
        if not data.startswith(_BEGINNING):
            raise FormatError(f"{where} of {self!r} is no model of LightGBM's")
        try:
            return lightgbm.Booster(model_str=data.decode())
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise FormatError(f"{where} of {self!r} is no model that LightGBM can read: {error}") from error


def _booster_of(model: Any, lightgbm: Any) -> Any:
    if isinstance(model, lightgbm.LGBMModel):
        try:
            return model.booster_
        except Exception as error:  # scikit-learn's NotFittedError, or LightGBM's own, by what is installed
            raise FormatError(f"a {type(model).__name__} that was not trained has no booster: {error}") from error
    if not isinstance(model, lightgbm.Booster):
        raise FormatError(
            f"a {type(model).__name__} is no booster; give a lightgbm.Booster, or an estimator of LightGBM's"
        )
    return model

"""LightningCheckpoint: one ``.ckpt`` of PyTorch Lightning, as it is.

Its tensors are found in it and deduplicate against those of any other file. Weights are read without unpickling
anything; hyper-parameters by torch's ``weights_only``, and objects among them only by permission.
"""

from __future__ import annotations

import os
import pickle
import sys
from functools import partial
from pathlib import Path
from typing import Any, Self

from cas.checkpoint.frameworks.torch import TorchCheckpoint
from cas.checkpoint.frameworks.torch_file import check_safe_loading, pickle_refusal
from cas.checkpoint.permission import pickle_is_allowed
from cas.errors import FormatError, NotFoundError, RefusedError

__all__ = ["LightningCheckpoint"]

_PATH = "model.ckpt"
_SUFFIX = ".ckpt"
_SAFE_SINCE = (2, 6, 6)  # before that, hyper-parameters could name any function to be called: CVE-2026-58659


class LightningCheckpoint(TorchCheckpoint):
    """What Lightning's ``Trainer`` saves: weights, hyper-parameters, and the state of training."""

    @classmethod
    def from_path(
        cls,
        path: str | os.PathLike[str],
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """One ``.ckpt``, read now; it may be removed afterwards.

        A file too large for memory is better left in its directory: `from_directory` reads it when it is needed.

        Args:
            path: the file.
            preprocessor: what the model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether the preprocessor may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            NotFoundError: there is no such file.
        """
        source = Path(path)
        if not source.is_file():
            raise NotFoundError(f"no file {source}; give a .ckpt, or a directory to LightningCheckpoint.from_directory")
        files = {_PATH: source.read_bytes()}
        return cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)

    def get_model(self, model: Any = None, *, allow_pickle: bool | None = None, **load_kwargs: Any) -> Any:
        """The LightningModule, on the CPU.

        Args:
            model: its class, which Lightning makes one of with the hyper-parameters that were saved; or a module
                to load the weights into.
            allow_pickle: whether objects among the hyper-parameters and the rest of the file may be unpickled,
                which runs code; else ``CAS_ALLOW_PICKLE``.
            load_kwargs: for ``load_from_checkpoint``: hyper-parameters in place of those saved, ``strict``, and others.

        Raises:
            RefusedError: the file holds objects that nobody allowed, or Lightning or torch is too old to be trusted
                with it.
            FormatError: ``model`` is no LightningModule's class, or the weights do not fit it.
            NotFoundError: there is no checkpoint of Lightning's and there are no weights.
        """
        if not isinstance(model, type):
            return super().get_model(model, allow_pickle=allow_pickle)
        paths = [path for path in self._files() if path.endswith(_SUFFIX)]
        if len(paths) != 1:
            return super().get_model(partial(model, **load_kwargs), allow_pickle=allow_pickle)
        if "weights_only" in load_kwargs:
            raise RefusedError("weights_only= is not yours to give here: allow_pickle= says it")
        return self._load(model, paths[0], allow_pickle, load_kwargs)

    def _load(self, model: Any, path: str, allow_pickle: bool | None, load_kwargs: dict[str, Any]) -> Any:
        allowed = pickle_is_allowed(allow_pickle)
        version = _lightning_version(model)
        if not allowed:
            check_safe_loading(path)
            if version < _SAFE_SINCE:
                raise RefusedError(
                    f"Lightning {'.'.join(map(str, version))} can be made to run code by {path} (CVE-2026-58659):"
                    " pip install -U 'lightning>=2.6.6'"
                )
        for weights_only in (True, False) if allowed else (True,):
            try:
                with self.open(path) as file:
                    return model.load_from_checkpoint(
                        file, **{"map_location": "cpu", **load_kwargs}, weights_only=weights_only
                    )
            except pickle.UnpicklingError as error:
                if not allowed:
                    way_out = "get_state_dict() reads the weights without; or, "
                    raise pickle_refusal(path, error, way_out) from error
            except RuntimeError as error:  # torch's, where weights and module do not fit
                raise FormatError(f"{path} does not fit a {model.__name__}: {error}") from error
        raise FormatError(f"{path} is no checkpoint of Lightning's: it can be unpickled neither way")


def _lightning_version(model: type) -> tuple[int, ...]:
    """Of whichever Lightning the class is of: ``lightning`` or ``pytorch_lightning``."""
    for base in model.__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ == "LightningModule" and package in ("lightning", "pytorch_lightning"):
            version = sys.modules[package].__version__
            return tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    raise FormatError(f"{model.__name__} is no LightningModule; give the class that the checkpoint was trained as")

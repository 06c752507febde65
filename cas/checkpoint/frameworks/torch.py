"""TorchCheckpoint: a PyTorch model as weights that any tool reads, or whole, by permission.

Weights are a safetensors file under torch's own names, so they deduplicate against those of every other tool. What
other programs wrote is read too: `torch.save`'s files, sharded and single safetensors files, a plain dict. Nothing
is unpickled unless somebody allowed it. Specified in docs/design/011-framework-checkpoints.md.
"""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.frameworks.state_dict import encode_state, without_wrappers
from cas.checkpoint.frameworks.stored_weights import MODULE_PATH, read_module, read_state
from cas.checkpoint.frameworks.torch_file import import_torch
from cas.checkpoint.frameworks.torch_module import fill_module, made_module, pickled_module, unwrapped
from cas.checkpoint.frameworks.weights_file import WEIGHTS_PATH
from cas.checkpoint.permission import pickle_is_allowed

__all__ = ["TorchCheckpoint"]


class TorchCheckpoint(Checkpoint):
    """A PyTorch model. The getters also read what other programs wrote into a directory or a dict."""

    @classmethod
    def from_state_dict(
        cls,
        state_dict: Mapping[str, Any],
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A model's weights, copied now.

        Args:
            state_dict: names to tensors, on any device, with or without the prefixes of DistributedDataParallel and
                torch.compile.
            preprocessor: what the model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether entries that are neither tensors nor plain values may be pickled, and the
                preprocessor; else ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: only pickle can store an entry, and nobody allowed that; the message names it.
            FormatError: it is empty, or its names are no text.
        """
        import_torch(f"a {cls.__name__}")
        files = encode_state(without_wrappers(state_dict), allow_pickle=allow_pickle)
        return cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)

    @classmethod
    def from_model(
        cls,
        model: Any,
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A model's weights, copied now; and the whole module, pickled, if that is allowed.

        Args:
            model: a ``torch.nn.Module``, also inside DistributedDataParallel, DataParallel or torch.compile.
            preprocessor: what the model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether to store the module itself too, so that `get_model` needs none; else
                ``CAS_ALLOW_PICKLE``. Its weights take no more room in a store for it.

        Raises:
            RefusedError: only pickle can store an entry, and nobody allowed that; the message names it.
            FormatError: the module cannot be pickled.
        """
        module = unwrapped(model)
        files = encode_state(module.state_dict(), allow_pickle=allow_pickle)
        if pickle_is_allowed(allow_pickle):
            files[MODULE_PATH] = pickled_module(module)
        return cls._of_files(files, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)

    def get_model(self, model: Any = None, *, allow_pickle: bool | None = None) -> Any:
        """The model, on the CPU where it is made here.

        Args:
            model: a module to load the weights into, or a class or function that makes one; without it the module
                itself must have been stored.
            allow_pickle: whether a stored module may be unpickled, which runs code; else ``CAS_ALLOW_PICKLE``.

        Returns:
            ``model``, or what it made, or the stored module.

        Raises:
            RefusedError: it can only be unpickled, and nobody allowed that.
            NotFoundError: there are weights alone, and ``model`` was not given; or no weights.
            FormatError: the weights do not fit ``model``.
        """
        paths = self._files()
        if model is None:
            return read_module(self, paths, allow_pickle)
        if MODULE_PATH in paths and WEIGHTS_PATH in paths:
            warnings.warn(f"{self!r} holds a whole module too; model= is used, with the weights", stacklevel=2)
        module = made_module(model)
        fill_module(module, self.get_state_dict(allow_pickle=allow_pickle))
        return module

    def get_state_dict(self, *, allow_pickle: bool | None = None) -> OrderedDict[str, Any]:
        """The weights by name, as fresh tensors on the CPU; tied ones stay tied.

        Args:
            allow_pickle: whether pickled objects may be loaded to get at them, which runs code; else
                ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: they are among pickled objects, and nobody allowed them.
            NotFoundError: no file looks like weights.
            FormatError: several do, or the one that does holds something else.
        """
        return read_state(self, self._files(), allow_pickle)

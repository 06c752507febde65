"""Where the weights are in a checkpoint, whoever wrote it: cas, safetensors, transformers, torch.save, a plain dict."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.dict_tree import SKELETON_PATH
from cas.checkpoint.dict_view import DIRECTORIES, EXECUTABLES, FILES
from cas.checkpoint.frameworks.inert_state import STATE_KEYS, find_inert_state
from cas.checkpoint.frameworks.state_dict import STATE_FOLDER, decode_rest, restore_state, without_wrappers
from cas.checkpoint.frameworks.torch_file import import_torch, load_file
from cas.checkpoint.frameworks.weights_file import WEIGHTS_PATH, read_tied_names
from cas.errors import FormatError, NotFoundError
from cas.format import Buffer

__all__ = ["MODULE_PATH", "read_module", "read_state"]

MODULE_PATH = "model.pt"
"""A whole module, pickled by `torch.save`."""

_KNOWN = (WEIGHTS_PATH, MODULE_PATH, "model.pth", "pytorch_model.bin", "model.ckpt")
_PASS_MODEL = "pass model= to load the weights beside it into a module of yours, or, "
_INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")
_SAFETENSORS = ".safetensors"
_SUFFIXES = (_SAFETENSORS, ".pt", ".pth", ".bin", ".ckpt")
_NO_WEIGHTS = ("optimizer", "scheduler", "scaler", "rng_state", "training_args", "random_states")


def read_state(checkpoint: Checkpoint, paths: Collection[str], allow_pickle: bool | None) -> OrderedDict[str, Any]:
    """The state dict of a model, on the CPU, wherever in the checkpoint it is. A wrapper's prefixes are taken away.

    Args:
        checkpoint: that holds it.
        paths: its files.
        allow_pickle: whether pickled objects may be loaded to get at it, which runs code.

    Raises:
        NotFoundError: no file looks like weights.
        FormatError: several do, or the one that does holds something else.
        RefusedError: it is among pickled objects, and nobody allowed them.
    """
    import_torch("a model's state dict")
    if WEIGHTS_PATH in paths:
        found = _read_own(checkpoint, paths, allow_pickle)
        return found if f"{STATE_FOLDER}{SKELETON_PATH}" in paths else without_wrappers(found)
    if index := _find_index(paths):
        return without_wrappers(_read_shards(checkpoint, paths, index))
    if SKELETON_PATH not in paths:
        path = _find_file(checkpoint, paths)
        if path.endswith(_SAFETENSORS):
            return without_wrappers(_read_safetensors(checkpoint, path))
        with checkpoint.open(path) as file:
            inert = find_inert_state(file, checkpoint.tensors(path))
        if inert is not None:
            return without_wrappers(inert)
    return without_wrappers(_state_in(_read_objects(checkpoint, paths, allow_pickle), checkpoint))


def read_module(checkpoint: Checkpoint, paths: Collection[str], allow_pickle: bool | None) -> Any:
    """A whole ``torch.nn.Module`` that was pickled into a checkpoint, on the CPU.

    Raises:
        NotFoundError: there is none, or weights alone.
        RefusedError: there is one, and nobody allowed to load it.
    """
    torch = import_torch("a model")
    weights_alone = (WEIGHTS_PATH in paths or _find_index(paths)) and MODULE_PATH not in paths
    if not weights_alone:
        found = _read_objects(checkpoint, paths, allow_pickle)
        if module := next((value for value in _models_in(found) if isinstance(value, torch.nn.Module)), None):
            return module
    raise NotFoundError(
        f"{checkpoint!r} holds weights and no whole module: pass model=, the module to load them into or its class"
    )


def _read_objects(checkpoint: Checkpoint, paths: Collection[str], allow_pickle: bool | None) -> Any:
    """Whatever stands for the model in a checkpoint's dict or file of `torch.save`."""
    if SKELETON_PATH in paths:
        found = checkpoint.to_dict(allow_pickle=allow_pickle)
        for key in (FILES, EXECUTABLES, DIRECTORIES):
            found.pop(key, None)
        return found
    path = MODULE_PATH if MODULE_PATH in paths else _find_file(checkpoint, paths)
    if path.endswith(_SAFETENSORS):
        return None
    with checkpoint.open(path) as file:
        return load_file(file, path, allow_pickle, _PASS_MODEL if WEIGHTS_PATH in paths else "")


def _models_in(value: Any) -> list[Any]:
    """What may be the model: an item under one of the usual keys, else the value itself."""
    inside = [value[key] for key in STATE_KEYS if key in value] if isinstance(value, Mapping) else []
    return [*inside, value]


def _find_index(paths: Collection[str]) -> str | None:
    return next((path for suffix in _INDEX_SUFFIXES for path in sorted(paths) if path.endswith(suffix)), None)


def _find_file(checkpoint: Checkpoint, paths: Collection[str]) -> str:
    if known := [path for path in _KNOWN if path in paths]:
        return known[0]
    found = sorted(path for path in paths if path.endswith(_SUFFIXES) and not _is_other(path))
    if not found:
        raise NotFoundError(
            f"{checkpoint!r} has no file that looks like weights; it has {', '.join(sorted(paths)[:5])}"
        )
    if len(found) > 1:
        raise FormatError(
            f"{', '.join(found[:3])} of {checkpoint!r} may all be the weights; see checkpoint.tensors(path)"
        )
    return found[0]


def _is_other(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(_NO_WEIGHTS) or path.startswith(STATE_FOLDER)


def _read_own(checkpoint: Checkpoint, paths: Collection[str], allow_pickle: bool | None) -> OrderedDict[str, Any]:
    def find(path: str) -> Buffer | None:
        if path not in paths:
            return None
        with checkpoint.open(path) as file:
            return file.read()

    rest = decode_rest(find, paths, allow_pickle)
    return _read_safetensors(checkpoint, WEIGHTS_PATH, rest)


def _read_safetensors(
    checkpoint: Checkpoint, path: str, rest: Mapping[str, Any] | None = None
) -> OrderedDict[str, Any]:
    lazy = checkpoint.tensors(path)
    if not lazy and rest is None:
        raise FormatError(f"{path} of {checkpoint!r} holds no weights: it is damaged, or no safetensors file")
    with checkpoint.open(path) as file:
        tied = read_tied_names(file) if lazy else {}
    return restore_state({name: tensor.torch() for name, tensor in lazy.items()}, tied, rest)


def _read_shards(checkpoint: Checkpoint, paths: Collection[str], index: str) -> OrderedDict[str, Any]:
    folder = index[: index.rfind("/") + 1]
    with checkpoint.open(index) as file:
        try:
            names = json.loads(file.read())["weight_map"]
            by_file = {f"{folder}{path}" for path in names.values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{index} is no index of weights: it has no weight_map") from error
    if missing := by_file - set(paths):
        raise NotFoundError(f"{index} names {min(missing)!r}, which {checkpoint!r} does not have")
    lazy = {path: checkpoint.tensors(path) for path in sorted(by_file)}
    if missing := {name for name, path in names.items() if name not in lazy[f"{folder}{path}"]}:
        raise FormatError(f"{index} says that {names[min(missing)]!r} has {min(missing)!r}, and it has not")
    return OrderedDict((name, lazy[f"{folder}{path}"][name].torch()) for name, path in names.items())


def _state_in(value: Any, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The state dict that ``value`` is or holds."""
    torch = import_torch("a model's state dict")
    for found in _models_in(value):
        state = found.state_dict() if isinstance(found, torch.nn.Module) else found
        if isinstance(state, Mapping) and any(isinstance(item, torch.Tensor) for item in state.values()):
            return state
    raise FormatError(f"{checkpoint!r} holds no state dict, neither by itself nor under {', '.join(STATE_KEYS)}")

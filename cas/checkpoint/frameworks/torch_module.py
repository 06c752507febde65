"""Modules of torch: out of their wrappers, into a file, and filled with weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from cas.checkpoint.frameworks.state_dict import WRAPPER_PREFIXES
from cas.checkpoint.frameworks.torch_file import import_torch
from cas.errors import FormatError

__all__ = ["fill_module", "made_module", "pickled_module", "unwrapped"]


def unwrapped(module: Any) -> Any:
    """The model inside DistributedDataParallel, DataParallel or torch.compile.

    FullyShardedDataParallel is left on: it alone can gather its parts, and names them as the model inside does.

    Raises:
        FormatError: it is no module.
    """
    torch = import_torch("a TorchCheckpoint")
    if not isinstance(module, torch.nn.Module):
        raise FormatError(f"a model is a torch.nn.Module, and {module!r:.80} is not")
    while True:
        if isinstance(module, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
            module = module._orig_mod
        else:
            return module


def pickled_module(module: Any) -> bytes:
    """The file that `torch.save` makes of a module.

    Raises:
        FormatError: it cannot be pickled.
    """
    torch = import_torch("a TorchCheckpoint")
    file = io.BytesIO()
    try:
        torch.save(module, file)
    except Exception as error:  # the module's own code runs, and may raise anything
        raise FormatError(
            f"a {type(module).__name__} cannot be pickled: {error}\nallow_pickle=False stores its weights alone"
        ) from error
    return file.getvalue()


def made_module(model: Any) -> Any:
    """The module to fill: ``model`` itself, or what it makes if it is a class or another callable.

    Raises:
        FormatError: it is neither.
    """
    torch = import_torch("a TorchCheckpoint")
    made = model() if callable(model) and not isinstance(model, torch.nn.Module) else model
    if not isinstance(made, torch.nn.Module):
        raise FormatError(f"model= must be a torch.nn.Module or make one, and {model!r:.80} does not")
    return made


def fill_module(module: Any, state: Mapping[str, Any]) -> None:
    """Load a state dict into a module, wrapped or not. Parameters on torch's meta device become the state's own.

    Args:
        module: changed in place; tied weights that ``state`` has under one of their names are complete.
        state: names to tensors.

    Raises:
        FormatError: they do not fit each other; the message says where.
    """
    target = unwrapped(module)
    own = target.state_dict(keep_vars=True)
    kind = type(target).__name__
    try:
        keys = target.load_state_dict(
            _named_like(own, state), strict=False, assign=any(item.is_meta for item in _tensors(own))
        )
    except RuntimeError as error:  # a shape or a dtype does not fit
        raise FormatError(f"the weights do not fit this {kind}: {error}") from error
    missing = _untied(own, keys.missing_keys)
    if missing or keys.unexpected_keys:
        parts = [("lack", missing), ("have besides", keys.unexpected_keys)]
        what = ", and ".join(f"{verb} {', '.join(names[:5])} ({len(names)})" for verb, names in parts if names)
        raise FormatError(f"the weights do not fit this {kind}: they {what}")


def _named_like(own: Mapping[str, Any], state: Mapping[str, Any]) -> Mapping[str, Any]:
    """``state`` with the prefix put back that the model's own names all have, if it has none of them."""
    prefix = next((prefix for prefix in WRAPPER_PREFIXES if own and all(name.startswith(prefix) for name in own)), "")
    return state if own.keys() & state.keys() else {f"{prefix}{name}": value for name, value in state.items()}


def _untied(own: Mapping[str, Any], missing: list[str]) -> list[str]:
    """Those of the missing names whose tensor got its values under no other name."""
    filled = {id(value) for name, value in own.items() if name not in missing}
    return [name for name in missing if id(own[name]) not in filled]


def _tensors(state: Mapping[str, Any]) -> list[Any]:
    torch = import_torch("a TorchCheckpoint")
    return [value for value in state.values() if isinstance(value, torch.Tensor)]

"""A state dict as files, and back.

    model.safetensors           the tensors, under torch's own names
    model-state/                what a safetensors file cannot say, as a dict tree (docs/design/008-dict-trees.md):
                                the order of names, each layer's version, and entries that are no tensors

Tied tensors stay tied, and what only pickle can store is stored by permission or refused by name. Specified in
docs/design/011-framework-checkpoints.md.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cas.checkpoint.dict_tree import SKELETON_PATH, decode_dict, encode_dict
from cas.checkpoint.frameworks.weights_file import WEIGHTS_PATH, is_weight, write_weights
from cas.errors import FormatError
from cas.format import Buffer

__all__ = ["STATE_FOLDER", "WRAPPER_PREFIXES", "decode_rest", "encode_state", "restore_state", "without_wrappers"]

STATE_FOLDER = "model-state/"
_VERSIONS = "_metadata"  # torch keeps it as an attribute of the OrderedDict
WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and DataParallel; of torch.compile


def without_wrappers(state: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """A copy of a state dict, with the names that the model has without DDP, DataParallel or torch.compile around it.

    A prefix is taken away where all names have it: a layer that happens to be called ``module`` keeps its name.

    Raises:
        FormatError: a name is not text.
    """
    for name in state:
        if not isinstance(name, str):
            raise FormatError(f"a state dict's names are text, not {type(name).__name__}: {name!r}")
    found = OrderedDict(state)
    versions = getattr(state, _VERSIONS, None)
    while found and (prefix := next((p for p in WRAPPER_PREFIXES if all(name.startswith(p) for name in found)), None)):
        found = OrderedDict((name.removeprefix(prefix), value) for name, value in found.items())
        if versions is not None:
            # The wrapper's own version, under a name that the model uses again, goes.
            inner = {name: version for name, version in versions.items() if f"{name}.".startswith(prefix)}
            versions = OrderedDict((f"{name}.".removeprefix(prefix)[:-1], inner[name]) for name in inner)
    if versions is not None:
        found._metadata = versions  # type: ignore[attr-defined]
    return found


def encode_state(state: Mapping[str, Any], *, allow_pickle: bool | None = None) -> dict[str, Buffer]:
    """The files of a state dict, which share nothing with it.

    Args:
        state: names to tensors, on any device; DTensors are gathered, which all processes must do together.
        allow_pickle: whether entries that are neither tensors nor plain may be pickled; else ``CAS_ALLOW_PICKLE``.

    Raises:
        FormatError: it is empty, or has names that no reader would accept.
        RefusedError: an entry that only pickle can store, which nobody allowed; the message names it.
    """
    if not state:
        raise FormatError("an empty state dict holds no model")
    gathered = {name: _gathered(value) for name, value in state.items()}
    tensors = {name: value for name, value in gathered.items() if is_weight(value)}
    rest = {
        "names": list(gathered),
        "versions": getattr(state, _VERSIONS, None),
        "entries": {name: value for name, value in gathered.items() if name not in tensors},
    }
    files = encode_dict(rest, allow_pickle=allow_pickle)
    return {
        WEIGHTS_PATH: write_weights(tensors),
        **{f"{STATE_FOLDER}{path}": b"".join(parts) for path, parts in files.items()},
    }


def decode_rest(
    find: Callable[[str], Buffer | None], paths: Iterable[str], allow_pickle: bool | None
) -> dict[str, Any] | None:
    """What stands beside the weights, or None where another tool wrote them.

    Args:
        find: gives a file's content, or None.
        paths: the files that are there.
        allow_pickle: whether pickled entries may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.

    Raises:
        FormatError, NotFoundError, RefusedError: as `decode_dict`.
    """
    if find(f"{STATE_FOLDER}{SKELETON_PATH}") is None:
        return None
    own = [path.removeprefix(STATE_FOLDER) for path in paths if path.startswith(STATE_FOLDER)]
    return decode_dict(lambda path: find(f"{STATE_FOLDER}{path}") or b"", own, allow_pickle=allow_pickle)


def restore_state(
    tensors: Mapping[str, Any], tied: Mapping[str, str], rest: Mapping[str, Any] | None
) -> OrderedDict[str, Any]:
    """The state dict of what the files hold.

    Args:
        tensors: by name.
        tied: names that are one tensor with another name's; others are ignored.
        rest: as `decode_rest` gives it.

    Raises:
        FormatError: ``rest`` does not fit the tensors.
    """
    found = dict(tensors)
    found |= {name: tensors[kept] for name, kept in tied.items() if kept in tensors and name not in tensors}
    if rest is None:
        return OrderedDict(found)
    match rest:
        case {
            "names": [*names],
            "versions": (None | dict()) as versions,
            "entries": dict(entries),
        } if all(isinstance(name, str) for name in names):
            found |= entries
        case _:
            raise FormatError(f"{STATE_FOLDER}{SKELETON_PATH} is not what cas writes there")
    if missing := set(names) ^ found.keys():
        raise FormatError(f"{min(missing)!r} is in one of {WEIGHTS_PATH} and {STATE_FOLDER} and not in the other")
    state = OrderedDict((name, found[name]) for name in names)
    if versions is not None:
        state._metadata = versions  # type: ignore[attr-defined]
    return state


def _gathered(value: Any) -> Any:
    """A DTensor's whole tensor; any other value as it is."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return value.full_tensor() if distributed is not None and isinstance(value, distributed.DTensor) else value

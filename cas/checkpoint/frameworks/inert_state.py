"""The state dict inside a file of `torch.save`, found without unpickling anything.

A checkpoint of a training loop holds a state dict and much else: optimizer, scheduler, hyper-parameters of any type.
`cas.layouts` reads such a pickle as inert values; here the state dict among them is found. Only a state dict of
tensors alone is: for any other value the inert reader keeps too little, and the answer is None.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from cas.layouts.inert_pickle import Global, Node, Persistent, Value, read_pickle
from cas.layouts.source import Source
from cas.layouts.spans import MalformedError
from cas.layouts.torch_zip import find_torch_stem
from cas.layouts.zip_members import locate_member, read_members
from cas.views import LazyFile, LazyTensor

__all__ = ["STATE_KEYS", "find_inert_state"]

STATE_KEYS = ("model", "state_dict", "model_state_dict", "module")
"""What training loops call the state dict in what they save."""

_PICKLE = "/data.pkl"
_ORDERED_DICT = ("collections", "OrderedDict")
_TENSOR_CALLS = ("_rebuild_tensor_v2", "_rebuild_tensor_v3")


def find_inert_state(file: LazyFile, tensors: Mapping[str, LazyTensor]) -> OrderedDict[str, Any] | None:
    """The state dict of a file, whose tensors alone are read; tied ones stay tied.

    Args:
        file: what `torch.save` wrote, or anything else.
        tensors: those of the file, as `cas.views.tensors_by_name` names them.

    Returns:
        The state dict, or None if there is none that holds only tensors.
    """
    try:
        found = _find_state(read_pickle(_read_pickle(file)))
    except MalformedError:
        return None
    if found is None:
        return None
    prefix, node, entries = found
    state: OrderedDict[str, Any] = OrderedDict()
    by_place: dict[tuple[object, ...], Any] = {}
    for name, value in entries.items():
        lazy = tensors.get(f"{prefix}{name}")
        if lazy is None or not lazy.dtype or f"{prefix}{name}~1" in tensors:
            return None  # encoded, or of a name that two of them have
        if (place := _place(value, lazy.dtype)) is None:
            return None
        if place not in by_place:
            by_place[place] = lazy.torch()
        state[name] = by_place[place]
    if (versions := _find_versions(node)) is not None:
        state._metadata = versions  # type: ignore[attr-defined]
    return state


def _read_pickle(file: LazyFile) -> bytes:
    """data.pkl of a zip of torch's. Raises MalformedError for any other file."""

    def read_at(offset: int, size_bytes: int) -> bytes:
        file.seek(offset)
        return file.read(size_bytes)

    source = Source(read_at, file.size)
    members = read_members(source)
    found = members.get(f"{find_torch_stem(members)}{_PICKLE}")
    if found is None:
        raise MalformedError("no zip of torch's")
    return source.read(locate_member(source, found), found.size_bytes)


def _find_state(root: Value) -> tuple[str, Node, dict[str, Value]] | None:
    """The dict whose values all are tensors: what its tensors' names begin with, itself, its items."""
    if not isinstance(root, Node) or (entries := _entries(root)) is None:
        return None
    for prefix, value in [("", root), *((f"{key}.", entries.get(key)) for key in STATE_KEYS)]:
        if isinstance(value, Node) and (found := _entries(value)) and all(map(_tensor_call, found.values())):
            return prefix, value, found
    return None


def _entries(node: Node) -> dict[str, Value] | None:
    """The items of a dict or OrderedDict; None if it is something else, or has a key that is no text."""
    kind = node.call
    if kind is not None and not (isinstance(kind, Global) and (kind.module, kind.name) == _ORDERED_DICT):
        return None
    items = [(key, value) for key, value in node.items if key is not None]
    found = {key: value for key, value in items if isinstance(key, str)}
    return found if len(found) == len(items) else None


def _tensor_call(value: Value) -> Node | None:
    """The call that rebuilds a tensor, also of a Parameter."""
    match value:
        case Node(Global("torch._utils", "_rebuild_parameter"), (Node() as inner, *_)):
            value = inner
    match value:
        case Node(Global("torch._utils", name), (_, _, _, _, *_)) if name in _TENSOR_CALLS:
            return value
    return None


def _place(value: Value, dtype: str) -> tuple[object, ...] | None:
    """What names of one tensor have in common and names of two have not."""
    match _tensor_call(value):
        case Node(_, (Persistent((_, _, str(key), *_)), int(offset), tuple(shape), tuple(strides), *_)):
            # Only flat tuples: to hash one that is nested deep enough would overflow the stack.
            if all(isinstance(size, int) for size in (*shape, *strides)):
                return key, dtype, offset, shape, strides
    return None


def _find_versions(node: Node) -> OrderedDict[str, dict[str, Value]] | None:
    """The versions of layers, which torch keeps in an attribute of the OrderedDict."""
    for key, attributes in node.items:
        for name, versions in attributes.items if key is None and isinstance(attributes, Node) else ():
            if name == "_metadata" and isinstance(versions, Node):
                return OrderedDict(
                    (
                        layer,
                        {about: value for about, value in entry.items if isinstance(about, str) and value is not None},
                    )
                    for layer, entry in versions.items
                    if isinstance(layer, str) and isinstance(entry, Node)
                )
    return None

"""Pytrees as plain dicts, lists and tuples of NumPy arrays, and back into the shape of another pytree.

Dicts, lists, tuples, None and plain values stay what they are. A named tuple, and every other node that JAX knows (a
registered dataclass, Flax's and Optax's states), becomes a dict of its fields; what class it was is not stored,
since making one by its name would run code that data chose. A pytree of that class, given as ``like``, brings it
back.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cas.errors import FormatError

__all__ = ["fill_pytree", "find_jax", "plain_pytree", "with_jax_arrays"]

_CONTAINERS = (dict, OrderedDict, list, tuple)


def find_jax() -> Any | None:
    """JAX, or None if it is not installed."""
    return importlib.import_module("jax") if importlib.util.find_spec("jax") else None


def plain_pytree(tree: Any, place: str = "") -> Any:
    """``tree`` as plain containers of NumPy arrays and whatever else its leaves are.

    Raises:
        FormatError: a JAX array cannot be read here: a typed random key, one traced, one on other hosts. Named by
            its place.
    """
    if type(tree) in (dict, OrderedDict):
        return type(tree)((key, plain_pytree(item, _join(place, key))) for key, item in tree.items())
    if type(tree) in (list, tuple):
        return type(tree)(plain_pytree(item, _join(place, index)) for index, item in enumerate(tree))
    jax = sys.modules.get("jax")  # without it loaded, nothing can be of it
    if jax is not None and isinstance(tree, jax.Array):
        return _numpy(tree, jax, place)
    if (node := _open_node(tree, jax)) is not None:
        return {name: plain_pytree(item, _join(place, name)) for name, item in node.items.items()}
    return tree


def with_jax_arrays(tree: Any, jax: Any | None) -> Any:
    """A plain pytree with its NumPy arrays as JAX arrays, if JAX is there and holds such items as they are."""
    if type(tree) in (dict, OrderedDict):
        return type(tree)((key, with_jax_arrays(item, jax)) for key, item in tree.items())
    if type(tree) in (list, tuple):
        return type(tree)(with_jax_arrays(item, jax) for item in tree)
    return _jax_array(tree, jax)


def fill_pytree(like: Any, tree: Any, jax: Any | None, place: str = "") -> Any:
    """A pytree built like ``like``, with the leaves of the plain pytree ``tree``.

    Arrays are NumPy's where those of ``like`` are, else JAX's if it can hold them.

    Raises:
        FormatError: they are not built alike, or an array has another shape; the message says where.
    """
    if type(like) in (dict, OrderedDict):
        items = _items(tree, list(like), place)
        return type(like)((key, fill_pytree(like[key], items[key], jax, _join(place, key))) for key in like)
    if type(like) in (list, tuple):
        if not isinstance(tree, list | tuple) or len(tree) != len(like):
            raise FormatError(f"{_show(place)} has no {len(like)} items like the pytree given")
        pairs = enumerate(zip(like, tree, strict=True))
        return type(like)(fill_pytree(part, item, jax, _join(place, index)) for index, (part, item) in pairs)
    if (node := _open_node(like, jax)) is not None:
        items = _items(tree, list(node.items), place)
        return node.close(
            [fill_pytree(part, items[name], jax, _join(place, name)) for name, part in node.items.items()]
        )
    return _fill_leaf(like, tree, jax, place)


class _Node(NamedTuple):
    """A node that is no plain container: its fields by name, and how to make one of other fields."""

    items: dict[str, Any]
    close: Callable[[list[Any]], Any]


def _open_node(value: Any, jax: Any | None) -> _Node | None:
    """What a node holds; None if it is a leaf."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _Node(dict(zip(value._fields, value, strict=True)), lambda items: type(value)(*items))
    if jax is None or value is None:
        return None
    found, definition = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda part: part is not value)
    if jax.tree_util.treedef_is_leaf(definition):
        return None
    items = {_key_name(path[0]): part for path, part in found}
    if len(items) != len(found):
        raise FormatError(f"a {type(value).__name__} has two fields of one name: {', '.join(items)}")
    return _Node(items, lambda parts: jax.tree_util.tree_unflatten(definition, parts))


def _key_name(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if (name := getattr(key, attribute, None)) is not None:
            return str(name)
    return str(key)


def _items(tree: Any, names: list[Any], place: str) -> dict[Any, Any]:
    if not isinstance(tree, dict):
        raise FormatError(f"{_show(place)} is a {type(tree).__name__}, where the pytree given has {names[:5]}")
    if odd := [name for name in [*names, *tree] if (name in tree) != (name in names)]:
        raise FormatError(
            f"{_show(_join(place, odd[0]))} is in one of the checkpoint and the pytree given, not in both"
        )
    return tree


def _fill_leaf(like: Any, leaf: Any, jax: Any | None, place: str) -> Any:
    if (leaf is None) != (like is None) or isinstance(leaf, _CONTAINERS):
        raise FormatError(f"{_show(place)} is a {type(leaf).__name__}, and in the pytree given a {type(like).__name__}")
    shape = getattr(like, "shape", None)
    if shape is not None and shape != np.shape(leaf):
        raise FormatError(f"{_show(place)} has the shape {np.shape(leaf)}, and in the pytree given {tuple(shape)}")
    return leaf if isinstance(like, np.ndarray) else _jax_array(leaf, jax)


def _numpy(array: Any, jax: Any, place: str) -> np.ndarray[Any, Any]:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise FormatError(f"{_show(place)} is a random key: store jax.random.key_data(key), which is an array")
    try:
        return np.asarray(array)
    except Exception as error:  # traced, deleted, on other hosts: JAX has an exception of its own for each
        raise FormatError(f"the items of {_show(place)} are not at hand: {error}") from error


def _jax_array(value: Any, jax: Any | None) -> Any:
    if jax is None or not isinstance(value, np.ndarray):
        return value
    try:
        # Without jax_enable_x64 it would make 32 bits of 64, and say so in a warning at best.
        if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
            return value
        return jax.numpy.asarray(value)
    except TypeError:  # text, dates: not JAX's
        return value


def _join(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def _show(place: str) -> str:
    return repr(place) if place else "the pytree"

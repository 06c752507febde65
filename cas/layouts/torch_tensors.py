"""What torch's data.pkl says of each storage: which tensor fills it, of which dtype and shape.

torch writes a tensor as a call of ``torch._utils._rebuild_tensor_v2`` on a storage,
which is a persistent id. `read_pickle` shows both without calling anything; here
they are recognised, and named by the keys on the way to them (``state.0.exp_avg``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeGuard, cast

from cas.layouts.inert_pickle import Global, Node, Persistent, Value, read_pickle
from cas.layouts.spans import MAX_FILE_BYTES, MAX_NAME_CHARS, MAX_RANK, is_c_order

__all__ = ["StorageUse", "read_storage_uses"]

_MAX_DEPTH = 64

_UNTYPED = "UntypedStorage"

# What torch pickles in place of a dtype: a class of storage or, where its storage is untyped, the dtype itself.
_DTYPES = {
    "BoolStorage": "BOOL",
    "ByteStorage": "U8",
    "CharStorage": "I8",
    "ShortStorage": "I16",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "IntStorage": "I32",
    "FloatStorage": "F32",
    "LongStorage": "I64",
    "DoubleStorage": "F64",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}


class StorageUse(NamedTuple):
    """A tensor as data.pkl describes it. What it claims of its storage's size is not believed and not kept.

    Attributes:
        name: the keys on the way to it, joined by dots.
        key: its storage's name, usually a number.
        dtype: a key of `DTYPE_BYTES`.
        shape: outermost dimension first; None if the pickle gives no shape and strides that fit each other.
        strides: items from one index to the next, by dimension.
        offset: items of the storage before its first.
    """

    name: str
    key: str
    dtype: str
    shape: tuple[int, ...] | None
    strides: tuple[int, ...]
    offset: int

    @property
    def is_row(self) -> bool:
        """Whether its items lie end to end from the storage's first, the last dimension fastest."""
        return self.shape is not None and not self.offset and is_c_order(self.shape, self.strides)


def read_storage_uses(pickle: bytes) -> Iterator[StorageUse]:
    """Every tensor of a data.pkl that is written the usual way, in the order of the dicts it is in.

    Raises:
        MalformedError: the pickle cannot be followed.
    """
    # Each container is entered once, however often it is referred to, so the walk is linear in the pickle. A name
    # is put together only when its value's turn comes, so that few exist at a time.
    seen: set[int] = set()
    pending: list[tuple[str, Value, int, Value]] = [("", None, 0, read_pickle(pickle))]
    while pending:
        outer, key, depth, value = pending.pop()
        if id(value) in seen or depth > _MAX_DEPTH:
            continue
        name = _join(outer, key)
        if isinstance(value, Node) and (use := _recognise(name, value)):
            yield use  # also when it comes a second time: one tensor may have several names
            continue
        seen.add(id(value))
        pending.extend((name, key, depth + 1, part) for key, part in reversed(_inside(value)) if _has_parts(part))


def _inside(value: Value) -> list[tuple[Value, Value]]:
    """What a value is made of, each with its key; None for what has no key of its own."""
    if isinstance(value, Node):
        return [(None, value.call), (None, value.args), *value.items]
    return [(None, part) for part in value] if isinstance(value, tuple) else []


def _has_parts(value: Value) -> bool:
    return bool(value.items or value.call) if isinstance(value, Node) else isinstance(value, tuple) and bool(value)


def _join(name: str, key: Value) -> str:
    if not isinstance(key, str | int):
        return name
    # Names only ever get longer, so cutting them here bounds the work of joining them.
    text = str(key)[:MAX_NAME_CHARS]
    return f"{name}.{text}"[:MAX_NAME_CHARS] if name else text


def _recognise(name: str, value: Node) -> StorageUse | None:
    """The tensor that a call would rebuild; None if it is no such call."""
    match value:
        case Node(
            Global("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor_v3"),
            (Persistent(("storage", Global() as storage, str(key), *_)), offset, shape, strides, *rest),
        ):
            kind = rest[2] if storage.name == _UNTYPED and len(rest) > 2 else storage
        case _:
            return None
    dtype = _DTYPES.get(kind.name) if isinstance(kind, Global) else None
    if dtype is None:
        return None
    if _are_sizes(shape) and _are_sizes(strides) and _are_sizes((offset,)) and len(shape) == len(strides):
        return StorageUse(name, key, dtype, shape, strides, cast("int", offset))
    return StorageUse(name, key, dtype, None, (), 0)


def _are_sizes(value: Value) -> TypeGuard[tuple[int, ...]]:
    if not isinstance(value, tuple) or len(value) > MAX_RANK:
        return False
    return all(isinstance(size, int) and 0 <= size <= MAX_FILE_BYTES for size in value)

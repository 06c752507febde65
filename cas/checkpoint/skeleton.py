"""The skeleton: a dict's plain values and its shape, as canonical msgpack that keeps Python's types apart.

The file is a msgpack array of three: ``"CASDICT"``, the version, and the dict. What is not plain stands there
as a reference: a tensor's or a file's name is not written, because it follows from the place that the reference
has. Equal dicts give equal bytes: dicts and sets are sorted, OrderedDicts and lists keep their order. Specified
in docs/design/008-dict-trees.md, pinned by tests/vectors/dict_tree.json.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from cas.checkpoint.plain import MAX_INT, MIN_INT, Code, find_extension, read_extension
from cas.checkpoint.references import MAX_DEPTH, FileRef, Load, Place, Store, TensorRef, Walk, show
from cas.errors import FormatError
from cas.format import Buffer, canonical
from cas.format.envelope import check_magic

__all__ = ["INLINE_BYTES", "decode_skeleton", "encode_skeleton"]

INLINE_BYTES = 64 << 10
"""Bytes values of this size or more are files of their own, where what is inside can be found and deduplicated."""

_NAME, _VERSION = "CASDICT", 1
_MAGIC = _NAME.encode() + bytes([_VERSION])
_MAGIC_OFFSET = 2  # behind the bytes that say "an array of three" and "a text of seven"


def encode_skeleton(data: Mapping[Any, Any], store: Store) -> bytes:
    """The skeleton of ``data``, a dict or an OrderedDict.

    Raises:
        FormatError: it contains itself, is nested deeper than `MAX_DEPTH`, or has text that is not Unicode.
    """
    for key in data:
        if not _is_plain(key):
            raise FormatError(f"a checkpoint's dict has a {type(key).__name__} for a key; use text")
    return canonical.encode([_NAME, _VERSION, _Writer(store).node(data)])


def decode_skeleton(data: Buffer, load: Load, where: str) -> dict[Any, Any]:
    """The dict that `encode_skeleton` was given, with what ``load`` gives in the places of references.

    Raises:
        FormatError: ``data`` is not exactly what `encode_skeleton` writes, or is of a newer version.
    """
    view = memoryview(data)
    check_magic(view[_MAGIC_OFFSET:], _MAGIC, where)
    match canonical.decode(view, where):
        case ["CASDICT", _, dict() | canonical.Extension(code=Code.DICT | Code.ORDERED_DICT) as root]:
            pass
        case _:
            raise FormatError(f"{where} holds no dict")
    reader = _Reader()
    try:
        value: dict[Any, Any] = reader.value(root, load)
    except FormatError as error:
        raise FormatError(f"{where}, at {show(reader.place)}: {error}") from error
    return value


def _is_plain(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether ``value`` may be a key or a set's member: hashable, and stored in the skeleton itself."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)  # type: ignore[attr-defined]
    if kind is bytes:
        return len(value) < INLINE_BYTES  # type: ignore[arg-type]
    return value is None or kind in (bool, int, float, str) or find_extension(value) is not None


def _key_name(node: object, index: int) -> str:
    """How a key shows in places: text and numbers as they are, anything else as its position."""
    if isinstance(node, str):
        return node
    return repr(node) if isinstance(node, int | float) else f"#{index}"


class _Writer(Walk):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._open: set[int] = set()

    def node(self, value: Any) -> Any:
        """What stands for ``value`` in canonical msgpack."""
        kind = type(value)
        if value is None or kind is bool or (kind is int and MIN_INT <= value <= MAX_INT):
            return value
        if kind is str:
            return self._text(value)
        if kind in _WRITERS:
            return self._container(value)
        if kind is bytes or kind is bytearray:
            if len(value) >= INLINE_BYTES:
                return self._stored(value)
            return value if kind is bytes else find_extension(value)
        extension = find_extension(value)
        if extension is not None:
            return extension
        return value if kind is float else self._stored(value)

    def _text(self, value: str) -> str:
        try:
            value.isascii() or value.encode()
        except UnicodeEncodeError as error:
            raise FormatError(f"text at {show(self.place)} has lone surrogates; keep it as bytes") from error
        return value

    def _stored(self, value: Any) -> canonical.Extension:
        match self._store(value, tuple(self.place)):
            case TensorRef(framework, dtype, shape):
                return canonical.Extension(Code.TENSOR, canonical.encode([framework, dtype, shape]))
            case FileRef(kind, type_name):
                return canonical.Extension(Code.FILE, canonical.encode([kind, type_name]))

    def _container(self, value: Any) -> Any:
        if id(value) in self._open:
            raise FormatError(f"{show(self.place)} contains itself; a checkpoint's dict must be a tree")
        self._open.add(id(value))
        node = _WRITERS[type(value)](self, value)
        self._open.remove(id(value))
        return node

    def _list(self, value: Any) -> list[Any]:
        nodes = []
        for index, item in enumerate(value):
            self.enter(str(index))
            nodes.append(self.node(item))
            self.leave()
        return nodes

    def _tuple(self, value: Any) -> canonical.Extension:
        return canonical.Extension(Code.TUPLE, canonical.encode(self._list(value)))

    def _set(self, value: Any) -> canonical.Extension:
        if not all(map(_is_plain, value)):
            return self._stored(value)
        code = Code.SET if type(value) is set else Code.FROZENSET
        return canonical.Extension(code, canonical.encode(sorted(self._list(value), key=canonical.encode)))

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str for key in value):
            return self._map(value)
        if not all(map(_is_plain, value)):
            return self._stored(value)
        nodes = zip(self._list(value), value.values(), strict=True)
        rows = sorted(((canonical.encode(node), node, item) for node, item in nodes), key=lambda row: row[0])
        if any(row[0] == after[0] for row, after in pairwise(rows)):
            raise FormatError(f"the dict at {show(self.place)} has two keys that nothing tells apart")
        pairs = self._pairs([(node, item) for _, node, item in rows])
        return canonical.Extension(Code.DICT, canonical.encode(pairs))

    def _ordered_dict(self, value: Any) -> canonical.Extension:
        if not all(map(_is_plain, value)):
            return self._stored(value)
        pairs = self._pairs(list(zip(self._list(value), value.values(), strict=True)))
        # torch's state_dict() keeps every layer's version in an attribute of its OrderedDict.
        return canonical.Extension(Code.ORDERED_DICT, canonical.encode([pairs, self._map(vars(value))]))

    def _map(self, value: dict[str, Any]) -> dict[str, Any]:
        nodes = {}
        for key in sorted(value):
            self.enter(self._text(key))
            nodes[key] = self.node(value[key])
            self.leave()
        return nodes

    def _pairs(self, pairs: list[tuple[Any, Any]]) -> list[list[Any]]:
        nodes = []
        for index, (key, item) in enumerate(pairs):
            self.enter(_key_name(key, index))
            nodes.append([key, self.node(item)])
            self.leave()
        return nodes


_WRITERS: dict[type, Callable[[_Writer, Any], Any]] = {
    list: _Writer._list,
    tuple: _Writer._tuple,
    set: _Writer._set,
    frozenset: _Writer._set,
    dict: _Writer._dict,
    OrderedDict: _Writer._ordered_dict,
}


class _Reader(Walk):
    def value(self, node: Any, load: Load) -> Any:
        """The value that ``node``, which is canonical, stands for."""
        if isinstance(node, canonical.Extension):
            reader = _READERS.get(node.code)
            return read_extension(node) if reader is None else reader(self, node, load)
        if isinstance(node, list):
            return self._items(node, load)
        if isinstance(node, dict):
            return self._map(node, load)
        return _check_inline(node) if isinstance(node, bytes) else node

    def _items(self, nodes: Any, load: Load) -> list[Any]:
        if not isinstance(nodes, list):
            raise FormatError("what holds items is no list")
        items = []
        for index, node in enumerate(nodes):
            self.enter(str(index))
            items.append(self.value(node, load))
            self.leave()
        return items

    def _map(self, nodes: Any, load: Load) -> dict[str, Any]:
        if not isinstance(nodes, dict):
            raise FormatError("what holds named items is no map")
        items = {}
        for key, node in nodes.items():
            self.enter(key)
            items[key] = self.value(node, load)
            self.leave()
        return items

    def _bytearray(self, node: canonical.Extension, load: Load) -> bytearray:
        return bytearray(_check_inline(node.data))

    def _tuple(self, node: canonical.Extension, load: Load) -> tuple[Any, ...]:
        return tuple(self._items(canonical.decode(node.data, "a tuple"), load))

    def _set(self, node: canonical.Extension, load: Load) -> set[Any] | frozenset[Any]:
        nodes = canonical.decode(node.data, "a set")
        members = self._plain(nodes)
        forms = [canonical.encode(member) for member in nodes]
        found = set(members)
        if forms != sorted(forms) or len(found) != len(members):
            raise FormatError("a set's members are not sorted or not distinct")
        return found if node.code == Code.SET else frozenset(found)

    def _dict(self, node: canonical.Extension, load: Load) -> dict[Any, Any]:
        pairs = canonical.decode(node.data, "a dict")
        items = self._pairs(pairs, load)
        forms = [canonical.encode(key) for key, _ in pairs]
        if any(form >= after for form, after in pairwise(forms)) or all(type(key) is str for key in items):
            raise FormatError("a dict's keys are not sorted, or are all text")
        return items

    def _ordered_dict(self, node: canonical.Extension, load: Load) -> OrderedDict[Any, Any]:
        match canonical.decode(node.data, "an OrderedDict"):
            case [pairs, attributes]:
                items = OrderedDict(self._pairs(pairs, load))
                vars(items).update(self._map(attributes, load))
                return items
        raise FormatError("an OrderedDict has no two parts")

    def _plain(self, nodes: Any) -> list[Any]:
        values = self._items(nodes, _refuse_reference)
        if not all(map(_is_plain, values)):
            raise FormatError("a key or member is no plain value")
        try:
            hash(tuple(values))
        except TypeError as error:  # Decimal("sNaN")
            raise FormatError("a key or member has no hash") from error
        return values

    def _pairs(self, pairs: Any, load: Load) -> dict[Any, Any]:
        if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
            raise FormatError("a dict is no list of pairs")
        items = {}
        for index, (key, (node, item)) in enumerate(zip(self._plain([pair[0] for pair in pairs]), pairs, strict=True)):
            self.enter(_key_name(node, index))
            items[key] = self.value(item, load)
            self.leave()
        if len(items) != len(pairs):
            raise FormatError("a dict has a key twice")
        return items

    def _tensor(self, node: canonical.Extension, load: Load) -> Any:
        match canonical.decode(node.data, "a reference"):
            case [framework, dtype, list(shape)]:
                return load(TensorRef(framework, dtype, tuple(shape)), tuple(self.place))
        raise FormatError("a tensor's reference has no framework, dtype and shape")

    def _file(self, node: canonical.Extension, load: Load) -> Any:
        match canonical.decode(node.data, "a reference"):
            case [kind, type_name]:
                return load(FileRef(kind, type_name), tuple(self.place))
        raise FormatError("a file's reference has no kind and type")


def _check_inline(data: bytes) -> bytes:
    if len(data) >= INLINE_BYTES:
        raise FormatError(f"{len(data)} bytes stand in the skeleton, which need a file of their own")
    return data


def _refuse_reference(reference: TensorRef | FileRef, place: Place) -> Any:
    raise FormatError("a key or member is a reference")


_READERS: dict[int, Callable[[_Reader, canonical.Extension, Load], Any]] = {
    Code.BYTEARRAY: _Reader._bytearray,
    Code.TUPLE: _Reader._tuple,
    Code.SET: _Reader._set,
    Code.FROZENSET: _Reader._set,
    Code.DICT: _Reader._dict,
    Code.ORDERED_DICT: _Reader._ordered_dict,
    Code.TENSOR: _Reader._tensor,
    Code.FILE: _Reader._file,
}

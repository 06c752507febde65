"""Pickles read without doing what they say.

A pickle is a program that builds objects by calling whatever it names. This reader
follows the program but calls and imports nothing: a call becomes a `Node` that
remembers what would have been called. It knows the binary opcodes of protocols 2 to
5; anything else is malformed. Work and memory are bounded by the number of opcodes.

Only what tells tensors apart is kept: text, small whole numbers, tuples and
containers. Floats, bytes, booleans and huge numbers all become None.

Source: CPython's Lib/pickletools.py, which documents every opcode.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cas.layouts.spans import MalformedError

__all__ = ["MAX_OPCODES", "Global", "Node", "Persistent", "Value", "read_pickle"]

MAX_OPCODES = 1 << 19
_MAX_INT_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """Something a pickle names and would import: ``FloatStorage`` of ``torch``."""

    module: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Persistent:
    """Something stored outside of the pickle, and what the pickle says of it."""

    id: Value


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A container, or what a call would return.

    Attributes:
        call: what would be called; None for a plain list, set or dict.
        args: its arguments; ``()`` for a container.
        items: what was put in, as (key or position, value) in order; an object's state has key None.
    """

    call: Value = None
    args: Value = ()
    items: list[tuple[Value, Value]] = field(default_factory=list)


# Compared by identity (eq=False), because comparing values that contain each other many times over never ends.
Value: TypeAlias = "str | int | tuple[Value, ...] | Global | Persistent | Node | None"


def read_pickle(data: bytes) -> Value:
    """What a pickle would build, as inert values.

    Raises:
        MalformedError: it is cut short, uses an opcode or stack that no such pickle has, or is over `MAX_OPCODES`.
    """
    try:
        return _Machine(data).run()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise MalformedError("a pickle that does not keep to its own stack") from error


class _Machine:
    """The pickle machine: a stack, the marks on it, and a memo. `_STEPS` says what each opcode does with them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._marks: list[int] = []
        self._memo: dict[int, Value] = {}
        self._stack: list[Value] = []
        self.push = self._stack.append

    def run(self) -> Value:
        for _ in range(MAX_OPCODES):
            opcode = self._data[self._at]
            self._at += 1
            if opcode == _STOP:
                return self._stack.pop()
            _STEPS[opcode](self)
        raise MalformedError(f"a pickle of more than {MAX_OPCODES} opcodes")

    # -- what follows an opcode

    def number(self, fmt: struct.Struct) -> int:
        (number,) = fmt.unpack_from(self._data, self._at)
        self._at += fmt.size
        return int(number)

    def text(self, fmt: struct.Struct) -> bytes:
        """A counted string of bytes; ``fmt`` is its length's."""
        size_bytes = self.number(fmt)
        if size_bytes > len(self._data) - self._at:
            raise MalformedError("a pickle is cut short")
        self._at += size_bytes
        return self._data[self._at - size_bytes : self._at]

    def skip(self, size_bytes: int) -> None:
        self._at += size_bytes

    def line(self) -> str:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            raise MalformedError("a pickle is cut short")
        line = self._data[self._at : end].decode()
        self._at = end + 1
        return line

    # -- the stack

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def pop(self, count: int) -> list[Value]:
        """The topmost ``count`` values, in order of pushing; never from below the last mark."""
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - floor < count:
            raise MalformedError("a pickle takes more than it has")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def pop_to_mark(self) -> list[Value]:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def peek(self) -> Value:
        return self._stack[-1]

    def remember(self, number: int | None = None) -> None:
        self._memo[len(self._memo) if number is None else number] = self._stack[-1]

    def recall(self, number: int) -> None:
        self.push(self._memo[number])

    # -- what opcodes build

    def long(self, digits: bytes) -> None:
        self.push(int.from_bytes(digits, "little", signed=True) if len(digits) <= _MAX_INT_BYTES else None)

    def name(self, module: Value, name: Value) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise MalformedError("a pickle names something by what is no name")
        self.push(Global(module, name))

    def append(self, values: list[Value]) -> None:
        items = self._container().items
        items.extend(enumerate(values, len(items)))

    def update(self, keys: list[Value], values: list[Value]) -> None:
        if len(keys) != len(values):
            raise MalformedError("a pickle has a key without a value")
        self._container().items.extend(zip(keys, values, strict=True))

    def update_from_mark(self) -> None:
        pairs = self.pop_to_mark()
        self.update(pairs[::2], pairs[1::2])

    def _container(self) -> Node:
        top = self._stack[-1]
        if not isinstance(top, Node):
            raise MalformedError("a pickle puts something into what is no container")
        return top


def _call(machine: _Machine, call: Value, args: Value, *keywords: Value) -> None:
    machine.push(Node(call, (args, *keywords) if keywords else args))


def _dict_from_mark(machine: _Machine) -> None:
    pairs = machine.pop_to_mark()
    machine.push(Node())
    machine.update(pairs[::2], pairs[1::2])


def _list_from_mark(machine: _Machine) -> None:
    machine.push(Node(items=list(enumerate(machine.pop_to_mark()))))


def _set_item(machine: _Machine) -> None:
    key, value = machine.pop(2)
    machine.update([key], [value])


def _float(machine: _Machine) -> None:
    machine.skip(_F64_BYTES)
    machine.push(None)


def _no_value(machine: _Machine, *_ignored: object) -> None:
    machine.push(None)


_U8, _U16, _U32, _I32, _U64 = (struct.Struct(fmt) for fmt in ("<B", "<H", "<I", "<i", "<Q"))
_F64_BYTES = 8
_STOP = ord(".")

_STEPS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m.skip(_U8.size),  # PROTO
    0x95: lambda m: m.skip(_U64.size),  # FRAME
    ord("("): _Machine.mark,
    ord("0"): lambda m: m.pop(1),  # POP
    ord("1"): _Machine.pop_to_mark,  # POP_MARK
    ord("2"): lambda m: m.push(m.peek()),  # DUP
    ord("q"): lambda m: m.remember(m.number(_U8)),  # BINPUT
    ord("r"): lambda m: m.remember(m.number(_U32)),  # LONG_BINPUT
    0x94: lambda m: m.remember(),  # MEMOIZE
    ord("h"): lambda m: m.recall(m.number(_U8)),  # BINGET
    ord("j"): lambda m: m.recall(m.number(_U32)),  # LONG_BINGET
    ord("N"): _no_value,  # NONE
    0x88: _no_value,  # NEWTRUE
    0x89: _no_value,  # NEWFALSE
    ord("G"): _float,  # BINFLOAT
    ord("K"): lambda m: m.push(m.number(_U8)),  # BININT1
    ord("M"): lambda m: m.push(m.number(_U16)),  # BININT2
    ord("J"): lambda m: m.push(m.number(_I32)),  # BININT
    0x8A: lambda m: m.long(m.text(_U8)),  # LONG1
    0x8B: lambda m: m.long(m.text(_U32)),  # LONG4
    ord("X"): lambda m: m.push(m.text(_U32).decode()),  # BINUNICODE
    0x8C: lambda m: m.push(m.text(_U8).decode()),  # SHORT_BINUNICODE
    0x8D: lambda m: m.push(m.text(_U64).decode()),  # BINUNICODE8
    ord("U"): lambda m: m.push(m.text(_U8).decode("latin-1")),  # SHORT_BINSTRING
    ord("T"): lambda m: m.push(m.text(_U32).decode("latin-1")),  # BINSTRING
    ord("C"): lambda m: _no_value(m, m.text(_U8)),  # SHORT_BINBYTES
    ord("B"): lambda m: _no_value(m, m.text(_U32)),  # BINBYTES
    0x8E: lambda m: _no_value(m, m.text(_U64)),  # BINBYTES8
    0x96: lambda m: _no_value(m, m.text(_U64)),  # BYTEARRAY8
    ord("]"): lambda m: m.push(Node()),  # EMPTY_LIST
    ord("}"): lambda m: m.push(Node()),  # EMPTY_DICT
    0x8F: lambda m: m.push(Node()),  # EMPTY_SET
    ord(")"): lambda m: m.push(()),  # EMPTY_TUPLE
    0x85: lambda m: m.push(tuple(m.pop(1))),  # TUPLE1
    0x86: lambda m: m.push(tuple(m.pop(2))),  # TUPLE2
    0x87: lambda m: m.push(tuple(m.pop(3))),  # TUPLE3
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),  # TUPLE
    ord("l"): _list_from_mark,  # LIST
    0x91: _list_from_mark,  # FROZENSET
    ord("d"): _dict_from_mark,  # DICT
    ord("a"): lambda m: m.append(m.pop(1)),  # APPEND
    ord("e"): lambda m: m.append(m.pop_to_mark()),  # APPENDS
    0x90: lambda m: m.append(m.pop_to_mark()),  # ADDITEMS
    ord("s"): _set_item,  # SETITEM
    ord("u"): _Machine.update_from_mark,  # SETITEMS
    ord("b"): lambda m: m.update([None], m.pop(1)),  # BUILD
    ord("c"): lambda m: m.name(m.line(), m.line()),  # GLOBAL
    0x93: lambda m: m.name(*m.pop(2)),  # STACK_GLOBAL
    ord("R"): lambda m: _call(m, *m.pop(2)),  # REDUCE
    0x81: lambda m: _call(m, *m.pop(2)),  # NEWOBJ
    0x92: lambda m: _call(m, *m.pop(3)),  # NEWOBJ_EX
    ord("Q"): lambda m: m.push(Persistent(*m.pop(1))),  # BINPERSID
}

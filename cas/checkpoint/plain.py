"""Plain values that msgpack has no form for: each is one extension with one byte form.

What is here: integers over 64 bits, odd NaNs, complex numbers, bytearrays, dates and times, decimals, POSIX
paths, NumPy scalars. `find_extension` writes them, `read_extension` accepts exactly what it writes. A value
belongs to a type only if its type *is* that type: a subclass may carry more than its base shows. Specified in
docs/design/008-dict-trees.md.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import PosixPath, PurePosixPath
from typing import Any

import numpy as np

from cas.checkpoint.dtypes import clear_padding, numpy_dtype, numpy_dtype_name
from cas.errors import FormatError, NotFoundError
from cas.format import canonical

__all__ = ["MAX_INT", "MIN_INT", "Code", "find_extension", "read_extension"]

MIN_INT, MAX_INT = -(1 << 63), (1 << 64) - 1  # what msgpack itself holds
_NAN = struct.pack(">d", math.nan)


class Code(IntEnum):
    """Extension codes of the skeleton, beside canonical's own 1 for floats: append only, never renumber."""

    INT = 2
    NAN = 3
    COMPLEX = 4
    BYTEARRAY = 5
    TUPLE = 6
    SET = 7
    FROZENSET = 8
    DICT = 9
    ORDERED_DICT = 10
    DATETIME = 11
    DATE = 12
    TIME = 13
    TIMEDELTA = 14
    DECIMAL = 15
    PURE_PATH = 16
    PATH = 17
    NUMPY_SCALAR = 18
    TENSOR = 19
    FILE = 20


@dataclass(frozen=True, slots=True)
class _Form:
    """How one type is written (None: not this one value) and read back."""

    code: Code
    write: Callable[[Any], bytes | None]
    read: Callable[[bytes], Any]


def _write_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _read_int(payload: bytes) -> int:
    value = int.from_bytes(payload, "big", signed=True)
    if MIN_INT <= value <= MAX_INT:
        raise FormatError("an integer of 64 bits is not in its own form")
    return value


def _write_nan(value: float) -> bytes | None:
    bits = struct.pack(">d", value)
    return bits if math.isnan(value) and bits != _NAN else None


def _read_float(payload: bytes) -> float:
    value: float = struct.unpack(">d", payload)[0]
    return value


def _write_zone(zone: dt.tzinfo | None) -> object:
    """None, a zone's name, or a fixed offset (with its name, if it was given one); NotImplemented for others."""
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        # What pickle would call it with is the one way to tell a given name from a made-up one.
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [*_duration(offset), *name]
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return zone.key
    return NotImplemented


def _read_zone(form: Any) -> dt.tzinfo | None:
    if form is None:
        return None
    if isinstance(form, list):
        return dt.timezone(dt.timedelta(*form[:3]), *form[3:])
    try:
        return zoneinfo.ZoneInfo(form)
    except (KeyError, OSError) as error:
        raise NotFoundError(f"this machine has no time zone {form!r}; `pip install tzdata`") from error


def _duration(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _day(value: dt.date) -> list[int]:
    return [value.year, value.month, value.day]


def _clock(value: dt.datetime | dt.time) -> list[int]:
    return [value.hour, value.minute, value.second, value.microsecond]


def _write_datetime(value: dt.datetime) -> bytes | None:
    zone = _write_zone(value.tzinfo)
    return None if zone is NotImplemented else canonical.encode([*_day(value), *_clock(value), value.fold, zone])


def _read_datetime(payload: bytes) -> dt.datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = canonical.decode(payload, "a datetime")
    return dt.datetime(year, month, day, hour, minute, second, microsecond, _read_zone(zone), fold=fold)


def _write_time(value: dt.time) -> bytes | None:
    zone = _write_zone(value.tzinfo)
    return None if zone is NotImplemented else canonical.encode([*_clock(value), value.fold, zone])


def _read_time(payload: bytes) -> dt.time:
    hour, minute, second, microsecond, fold, zone = canonical.decode(payload, "a time")
    return dt.time(hour, minute, second, microsecond, _read_zone(zone), fold=fold)


def _write_scalar(value: np.generic) -> bytes | None:
    """A NumPy scalar as its type's name and its item's bytes; text and bytes, which an item would cut, as such."""
    if isinstance(value, np.str_):
        return canonical.encode(["str", str.__str__(value)])  # its own __str__ drops NULs at the end
    if isinstance(value, np.bytes_):
        return canonical.encode(["bytes", bytes(value)])
    name = numpy_dtype_name(value.dtype)
    if name is None or (value.dtype.kind == "V" and not name.startswith("ml_dtypes.")):
        return None
    return canonical.encode([name, clear_padding(np.asarray(value)).tobytes()])


def _read_scalar(payload: bytes) -> Any:
    name, content = canonical.decode(payload, "a NumPy scalar")
    if name in ("str", "bytes"):
        return np.str_(content) if name == "str" else np.bytes_(content)
    return np.frombuffer(content, numpy_dtype(name), count=1)[0]


_BY_TYPE: dict[type, _Form] = {
    int: _Form(Code.INT, _write_int, _read_int),
    float: _Form(Code.NAN, _write_nan, _read_float),
    complex: _Form(
        Code.COMPLEX,
        lambda value: struct.pack(">dd", value.real, value.imag),
        lambda payload: complex(*struct.unpack(">dd", payload)),
    ),
    bytearray: _Form(Code.BYTEARRAY, bytes, bytearray),
    dt.datetime: _Form(Code.DATETIME, _write_datetime, _read_datetime),
    dt.date: _Form(
        Code.DATE,
        lambda value: canonical.encode(_day(value)),
        lambda payload: dt.date(*canonical.decode(payload, "a date")),
    ),
    dt.time: _Form(Code.TIME, _write_time, _read_time),
    dt.timedelta: _Form(
        Code.TIMEDELTA,
        lambda value: canonical.encode(_duration(value)),
        lambda payload: dt.timedelta(*canonical.decode(payload, "a timedelta")),
    ),
    Decimal: _Form(
        Code.DECIMAL,
        lambda value: str(value).encode(),
        lambda payload: Decimal(payload.decode()),
    ),
    PurePosixPath: _Form(
        Code.PURE_PATH,
        lambda value: str(value).encode(),
        lambda payload: PurePosixPath(payload.decode()),
    ),
    PosixPath: _Form(
        Code.PATH,
        lambda value: str(value).encode(),
        lambda payload: PosixPath(payload.decode()),
    ),
}
_SCALAR = _Form(Code.NUMPY_SCALAR, _write_scalar, _read_scalar)
_BY_CODE = {form.code: form for form in (*_BY_TYPE.values(), _SCALAR)}


def _form_of(value: object) -> _Form | None:
    form = _BY_TYPE.get(type(value))
    if form is None and isinstance(value, np.generic) and type(value) is value.dtype.type:
        return _SCALAR
    return form


def find_extension(value: object) -> canonical.Extension | None:
    """The extension that stands for ``value``; None if it is of no type above, or is not plain (a foreign tzinfo).

    Raises:
        FormatError: text in it has lone surrogates.
    """
    form = _form_of(value)
    if form is None:
        return None
    try:
        payload = form.write(value)
    except UnicodeEncodeError as error:
        raise FormatError(f"{value!r} is not valid Unicode") from error
    return None if payload is None else canonical.Extension(form.code, payload)


def read_extension(extension: canonical.Extension) -> Any:
    """The value that `find_extension` wrote.

    Raises:
        FormatError: an unknown code, or a payload that is not the one form of a value.
        NotFoundError: a time zone that this machine does not know.
        CasError: an item type that needs a package which is not installed.
    """
    form = _BY_CODE.get(extension.code)
    if form is None:
        raise FormatError(f"extension {extension.code} means nothing to this cas")
    try:
        value = form.read(extension.data)
        rewritten = form.write(value) if _form_of(value) is form else None
    except (ValueError, TypeError, ArithmeticError, struct.error) as error:
        raise FormatError(f"malformed {form.code.name.lower()}: {error}") from error
    if rewritten != extension.data:
        raise FormatError(f"{form.code.name.lower()} is not in its one form")
    return value

"""A commit's words and numbers as columns hold them, to be searched: here they may round or be shortened.

A metric and a param's number are 64-bit floats; NaN, which SQLite cannot hold,
is NULL. A name is itself, or where a database could not index it, its beginning
and its digest. A param that is a dict stands there whole, and each value in it
under its path: ``{"adam": {"lr": 0.1}}`` can be searched as ``adam.lr``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from cas.format import Digest, Param

__all__ = ["ParamColumns", "index_name", "param_columns", "storable"]

_MAX_NAME_CHARACTERS = 255  # PostgreSQL indexes up to 2704 bytes a row: two names of four-byte characters
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # what a PostgreSQL text cannot hold


class ParamColumns(NamedTuple):
    """How a param's value stands in the index.

    Attributes:
        value_text: as JSON.
        value_number: what ``<`` compares; None if it is not a number, or NaN.
        value_string: the text itself; None if it is not text. NaN is the text ``nan``, as in JSON.
    """

    value_text: str
    value_number: float | None
    value_string: str | None


def storable(text: str) -> str:
    """``text`` without what a PostgreSQL text cannot hold."""
    return _UNSTORABLE.sub("\ufffd", text)


def index_name(text: str) -> str:
    """``text`` as it is indexed; distinct texts stay distinct."""
    if len(text) <= _MAX_NAME_CHARACTERS and not _UNSTORABLE.search(text):
        return text
    digest = Digest.of(text.encode("utf-8", "surrogatepass"))
    return f"{storable(text)[: _MAX_NAME_CHARACTERS - 65]}…{digest}"


def param_columns(params: Mapping[str, Param]) -> dict[str, ParamColumns]:
    """Every param under its indexed name, and what is inside dicts under its path.

    Where a path is also the name of a param, the outer one is meant; the order of ``params`` never matters.
    """
    found: dict[str, ParamColumns] = {}
    level = sorted(params.items())
    while level:
        inner: list[tuple[str, Param]] = []
        for name, value in level:
            found.setdefault(index_name(name), _columns(value))
            if isinstance(value, dict):
                inner += [(f"{name}.{key}", item) for key, item in sorted(value.items())]
        level = inner
    return found


def _columns(value: Param) -> ParamColumns:
    plain = _plain(value)
    number = None
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        number = float(value)
    string = storable(plain) if isinstance(plain, str) and number is None else None
    return ParamColumns(json.dumps(plain, ensure_ascii=False, sort_keys=True), number, string)


def _plain(value: Param) -> Param:
    """``value`` without the floats that JSON has no word for; they become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

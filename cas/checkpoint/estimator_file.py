"""scikit-learn's estimators as one file, by skops: read without running code from it.

A skops archive names what it holds after the addresses that objects had in memory and after random numbers, and
keeps a set in the order of its hashes and the gaps of C structures as memory had them, so the same estimator would be
another file each time. Here all that is numbered in the order of its appearance, sets are sorted, gaps are zero, and
the archive is written without times: equal estimators are equal files, and skops reads them as its own. Its arrays lie
uncompressed, so that they deduplicate one by one.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cas.checkpoint.extras import require
from cas.checkpoint.permission import HOW_TO_ALLOW
from cas.errors import FormatError, RefusedError
from cas.format import Buffer

__all__ = ["dump_estimator", "load_estimator"]

_SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a ZIP file knows
_ADDRESS = "_stop_words_id"  # where scikit-learn's text vectorizers keep an address, to check something only once


def dump_estimator(estimator: object) -> bytes:
    """The estimator's file.

    Raises:
        RefusedError: skops is not installed.
        FormatError: skops cannot store it; the message says why.
    """
    skops = require("skops.io", "sklearn", "storing an estimator safely")
    try:
        archive: bytes = skops.dumps(estimator)
    except Exception as error:  # it walks through objects of any kind, whose own code runs
        raise FormatError(f"a {type(estimator).__name__} cannot be stored by skops: {error}") from error
    return _renumbered(archive)


def load_estimator(data: Buffer, where: str, trusted: Iterable[str] = (), *, trust_all: bool = False) -> Any:
    """The estimator that a file holds.

    Args:
        data: the file.
        where: what errors call it.
        trusted: full names of types that may be made besides those that skops trusts by itself: most of
            scikit-learn's and NumPy's, but not its trees, which a forged file could make read anywhere in memory.
        trust_all: whether any type may be made, which may run its code.

    Raises:
        RefusedError: it holds a type that nobody trusted; the message names it and says how to.
        FormatError: it is no such file.
    """
    skops = require("skops.io", "sklearn", f"loading {where}")
    archive = bytes(data)
    try:
        needed = set(skops.get_untrusted_types(data=archive))
    except Exception as error:  # what a hostile archive makes it raise cannot be listed
        raise FormatError(f"{where} is no estimator that skops can read: {error}") from error
    if not trust_all and (unknown := sorted(needed - set(trusted))):
        raise RefusedError(
            f"{where} holds a {unknown[0]}, which nobody trusts yet; making one of a forged file may do harm:\n"
            f"if you trust all of it, give trusted={unknown!r}, or {HOW_TO_ALLOW}"
        )
    try:
        return skops.loads(archive, trusted=sorted(needed))
    except Exception as error:  # the types' own code runs, and may raise anything
        raise FormatError(f"{where} is no estimator that skops can make: {error}") from error


def _renumbered(archive: bytes) -> bytes:
    numbering = _Numbering()
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        schema = numbering.apply(json.loads(source.read(_SCHEMA)))
        members = {number: _without_gaps(source.read(name)) for name, number in numbering.members.items()}
    # The order of keys is kept: skops stores a dict's keys beside a list of their types, one by one.
    members[_SCHEMA] = json.dumps(schema, separators=(",", ":")).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:
        for name, content in members.items():
            written.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return target.getvalue()


def _without_gaps(member: bytes) -> bytes:
    """The same member, with zeros between the fields of an array of structures, where memory has left anything."""
    if not member.startswith(np.lib.format.MAGIC_PREFIX):
        return member
    array = np.load(io.BytesIO(member), allow_pickle=False)
    if array.dtype.names is None:
        return member
    clean = np.zeros(array.shape, array.dtype, "F" if array.flags.fnc else "C")  # zeros_like leaves the gaps as well
    for name in array.dtype.names:
        clean[name] = array[name]
    written = io.BytesIO()
    np.save(written, clean, allow_pickle=False)
    return written.getvalue()


class _Numbering:
    """Rewrites a schema so that it follows from the estimator alone.

    Attributes:
        members: the new names of the archive's members by their old ones.
    """

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        self._ids: dict[int, int] = {}

    def apply(self, node: Any) -> Any:
        """The same node with every identity and every member's name numbered through."""
        if isinstance(node, list):
            return [self.apply(item) for item in node]
        if not isinstance(node, dict):
            return node
        loader = node.get("__loader__")
        if loader == "SetNode":
            node = {**node, "content": sorted(node["content"], key=_sort_key)}
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key == _ADDRESS and isinstance(value, dict):
                found[key] = {**self.apply(value), "content": "0"}
            elif key == "__id__" and isinstance(value, int):
                # Which equal numbers and strings are one object is chance, and nobody can tell them apart.
                if loader != "JsonNode":
                    found[key] = self._ids.setdefault(value, len(self._ids) + 1)  # skops takes 0 for none
            elif key == "file" and isinstance(value, str):
                found[key] = self.members.setdefault(value, f"{len(self.members)}{PurePosixPath(value).suffix}")
            else:
                found[key] = self.apply(value)
        return found


def _sort_key(node: Any) -> str:
    """The same for equal nodes, whatever their identities."""
    return json.dumps(_Numbering().apply(node))

"""The bytes of dict trees, pinned: a dict written today has the same hash in every version of cas."""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
import zoneinfo
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from cas.checkpoint.dict_tree import decode_dict, encode_dict

_VECTORS = Path(__file__).parents[1] / "vectors" / "dict_tree.json"


def _native() -> dict[str, Any]:
    return {"none": None, "bool": True, "int": -1, "float": 0.5, "text": "é", "bytes": b"\0", "list": [1, []], "": {}}


def _numbers() -> dict[str, Any]:
    return {
        "int": [1 << 64, -(1 << 63) - 1, (1 << 64) - 1],
        "float": [-0.0, math.inf, math.nan, struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]],
        "complex": complex(1, -2),
        "decimal": Decimal("-1.50E+3"),
    }


def _containers() -> dict[str, Any]:
    ordered: Any = OrderedDict([("z", 1), (2, "a")])
    ordered.note = "kept"
    return {
        "tuple": (1, (2,)),
        "set": {3, "a", (1, 2)},
        "frozenset": frozenset([b"x"]),
        "dict": {2: "two", "b": "text", 1: "one", None: 0, (1,): ()},
        "ordered": ordered,
        "bytearray": bytearray(b"ab"),
    }


def _times() -> dict[str, Any]:
    moment = dt.datetime(2024, 10, 27, 2, 30, 15, 123456)
    return {
        "naive": moment,
        "utc": moment.replace(tzinfo=dt.UTC),
        "offset": moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
        "named": moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
        "zone": moment.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        "date": dt.date(1, 1, 1),
        "time": dt.time(23, 59, 59, 999999, dt.UTC),
        "timedelta": dt.timedelta(days=-1, microseconds=1),
    }


def _paths() -> dict[str, Any]:
    return {"pure": PurePosixPath("a/b"), "path": PosixPath("/data/é")}


def _scalars() -> dict[str, Any]:
    return {
        "numbers": [np.bool_(True), np.int8(-1), np.uint64(7), np.float32(0.5), np.complex64(1j)],
        "times": [np.datetime64("2024-01-02", "D"), np.timedelta64(3, "ms"), np.datetime64("NaT", "ns")],
        "text": [np.str_("é\0"), np.bytes_(b"a\0")],
        "short": ml_dtypes.bfloat16(1.5),
    }


def _arrays() -> dict[str, Any]:
    return {
        "model": {"w": np.array([[1, 2], [3, 4]], np.float32), "layers": [np.array(7), np.zeros((0, 2), np.int16)]},
        "model.w": np.array([True, False]),
        "state": {0: np.array([0.5]), (1,): np.array([1 + 2j])},
        "other": {
            "big-endian": np.array([1], ">i2"),
            "text": np.array(["ab"]),
            "time": np.array(["2024-01-02"], "M8[D]"),
            "short": np.array([1, 2], ml_dtypes.bfloat16),
            "shorter": np.array([1], ml_dtypes.float8_e4m3fn),
        },
    }


DICTS: dict[str, Callable[[], dict[str, Any]]] = {
    "native": _native,
    "numbers": _numbers,
    "containers": _containers,
    "times": _times,
    "paths": _paths,
    "scalars": _scalars,
    "arrays": _arrays,
}


@pytest.mark.parametrize("name", DICTS)
def test_a_dict_has_the_pinned_files_and_they_give_it_back(name: str) -> None:
    """Encoding gives the bytes that were written down; decoding those and encoding again does too."""
    pinned = {path: bytes.fromhex(text) for path, text in json.loads(_VECTORS.read_text())["cases"][name].items()}

    files = encode_dict(DICTS[name]())
    found = decode_dict(pinned.__getitem__, pinned)

    assert {path: b"".join(parts) for path, parts in files.items()} == pinned
    assert {path: b"".join(parts) for path, parts in encode_dict(found).items()} == pinned
    assert found.keys() == DICTS[name]().keys()


def test_every_vector_has_its_dict() -> None:
    """None is left over from a dict that nobody checks any more."""
    elsewhere = {"torch"}  # in test_dict_tree_torch.py

    assert json.loads(_VECTORS.read_text())["cases"].keys() == DICTS.keys() | elsewhere

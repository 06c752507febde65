"""npz: a zip whose members are npy files. Compressed arrays have no span: their bytes are not in the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cas.layouts.npy import read_npy
from cas.layouts.source import Source
from cas.layouts.spans import Layout, MalformedError, Member, TensorSpan, TensorView
from cas.layouts.zip_members import locate_member

__all__ = ["parse_npz", "view_npz"]

_SUFFIX = ".npy"
_READERS = 8


def parse_npz(source: Source, members: dict[str, Member]) -> Layout | None:
    """The layout of a zip as an npz; None if it holds no npy as it is.

    Raises:
        MalformedError: a member is not where it should be.
    """
    arrays = _arrays(members)
    found = [_read_array(source, member) for member in arrays]
    return Layout.of("npz", [array[0] for array in found if array and array[0]]) if arrays else None


def view_npz(source: Source, members: dict[str, Member]) -> list[TensorView] | None:
    """Every array of an npz that is not compressed; None and errors as `parse_npz`. Reads by several threads."""
    arrays = _arrays(members)
    # Headers of large arrays lie far apart. Read in turn, each would wait for a server's answer to the one before.
    with ThreadPoolExecutor(_READERS, thread_name_prefix="cas-npz") as pool:
        found = list(pool.map(partial(_read_array, source), arrays))
    return [array[1] for array in found if array] if arrays else None


def _arrays(members: dict[str, Member]) -> list[Member]:
    return [member for member in members.values() if member.name.endswith(_SUFFIX)]


def _read_array(source: Source, member: Member) -> tuple[TensorSpan | None, TensorView] | None:
    """A member's array; None if it is one of objects, or no array at all: that says nothing of its neighbours."""
    offset = locate_member(source, member)
    try:
        return read_npy(source, offset, member.size_bytes, member.name.removesuffix(_SUFFIX))
    except MalformedError:
        return None

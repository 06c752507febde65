"""npz: a zip whose members are npy files. Compressed arrays have no span: their bytes are not in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from cas.layouts.npy import read_npy
from cas.layouts.source import Source
from cas.layouts.spans import Layout, MalformedError, Member, TensorSpan, TensorView
from cas.layouts.zip_members import locate_member

__all__ = ["parse_npz", "view_npz"]

_SUFFIX = ".npy"


def parse_npz(source: Source, members: dict[str, Member]) -> Layout | None:
    """The layout of a zip as an npz; None if it holds no npy as it is.

    Raises:
        MalformedError: a member is not where it should be.
    """
    arrays = _arrays(members)
    return Layout.of("npz", [span for span, _ in _read_arrays(source, arrays) if span]) if arrays else None


def view_npz(source: Source, members: dict[str, Member]) -> list[TensorView] | None:
    """Every array of an npz that is not compressed; None and errors as `parse_npz`."""
    arrays = _arrays(members)
    return [view for _, view in _read_arrays(source, arrays)] if arrays else None


def _arrays(members: dict[str, Member]) -> list[Member]:
    return [member for member in members.values() if member.name.endswith(_SUFFIX)]


def _read_arrays(source: Source, arrays: list[Member]) -> Iterator[tuple[TensorSpan | None, TensorView]]:
    for member in arrays:
        offset = locate_member(source, member)
        # An array of objects, or no array at all, says nothing of its neighbours.
        with suppress(MalformedError):
            yield read_npy(source, offset, member.size_bytes, member.name.removesuffix(_SUFFIX))

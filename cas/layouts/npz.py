"""npz: a zip whose members are npy files. Compressed arrays have no span: their bytes are not in the file."""

from __future__ import annotations

from cas.layouts.npy import read_npy_span
from cas.layouts.source import Source
from cas.layouts.spans import Layout, MalformedError, TensorSpan
from cas.layouts.zip_members import Member, locate_member

__all__ = ["parse_npz"]

_SUFFIX = ".npy"


def parse_npz(source: Source, members: dict[str, Member]) -> Layout | None:
    """The layout of a zip as an npz; None if it holds no npy as it is.

    Raises:
        MalformedError: a member is not where it should be.
    """
    arrays = [member for member in members.values() if member.name.endswith(_SUFFIX)]
    if not arrays:
        return None
    spans = [_find_span(source, member, locate_member(source, member)) for member in arrays]
    return Layout.of("npz", [span for span in spans if span])


def _find_span(source: Source, member: Member, offset: int) -> TensorSpan | None:
    try:
        return read_npy_span(source, offset, member.size_bytes, member.name.removesuffix(_SUFFIX))
    except MalformedError:  # an array of objects, or no array at all, says nothing of its neighbours
        return None

"""What `torch.save` writes: a zip whose members ``<stem>/data/<key>`` are storages, never compressed.

Each storage is one span, whether or not several tensors share it; it takes the name
and shape of the first tensor that fills it. Where data.pkl cannot be followed or the
machine that wrote it was big-endian, the spans are known all the same, without dtype.

Source: torch/csrc/jit/serialization (caffe2/serialize/inline_container.h), torch/serialization.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from cas.layouts.source import Source
from cas.layouts.spans import DTYPE_BYTES, MAX_TENSORS, Layout, MalformedError, Member, TensorSpan, TensorView, size_of
from cas.layouts.torch_tensors import StorageUse, read_storage_uses
from cas.layouts.zip_members import locate_member

__all__ = ["find_torch_stem", "parse_torch", "view_torch"]

_PICKLE = "/data.pkl"
_DATA = "/data/"
_BYTE_ORDER = "/byteorder"
_MAX_PICKLE_BYTES = 8 << 20


def find_torch_stem(members: dict[str, Member]) -> str | None:
    """The folder inside the zip that torch put everything into; None if torch did not write this zip."""
    stems = [name.removesuffix(_PICKLE) for name in members if name.endswith(_PICKLE) and name.count("/") == 1]
    return stems[0] if len(stems) == 1 else None


def parse_torch(source: Source, members: dict[str, Member], stem: str) -> Layout:
    """The layout of a zip as what torch wrote. Raises MalformedError where a member is not where it should be."""
    uses = _storage_uses(source, members, stem)
    spans = []
    for key, member in _storages(members, stem):
        if member.size_bytes:
            spans.append(_span(key, locate_member(source, member), member.size_bytes, uses.get(key, [])))
    return Layout.of("torch", spans)


def view_torch(source: Source, members: dict[str, Member], stem: str) -> list[TensorView]:
    """Every tensor of what torch wrote, and every storage in which none is known.

    Reads the directory and data.pkl, and nothing of the storages: where they are is found out when one is read.
    """
    uses = _storage_uses(source, members, stem)
    views: list[TensorView] = []
    for key, member in _storages(members, stem):
        known = [view for use in uses.get(key, []) if (view := _view(use, member))]
        if not known and member.size_bytes:
            span = _span(key, 0, member.size_bytes, uses.get(key, []))
            known = [replace(TensorView.of_span(span), member=member)]
        views += known
    return views


def _storages(members: dict[str, Member], stem: str) -> Iterator[tuple[str, Member]]:
    for member in members.values():
        folder, _, key = member.name.partition(_DATA)
        if folder == stem and key:
            yield key, member


def _storage_uses(source: Source, members: dict[str, Member], stem: str) -> dict[str, list[StorageUse]]:
    """What data.pkl says of each storage, by key; nothing where it cannot be trusted."""
    uses: dict[str, list[StorageUse]] = {}
    pickle = members[stem + _PICKLE]
    byte_order = members.get(stem + _BYTE_ORDER)
    if pickle.size_bytes > _MAX_PICKLE_BYTES:
        return uses
    # A file without this member is from before torch 2.1, when big-endian machines did not say so either.
    if byte_order and _read(source, byte_order, 6) != b"little":
        return uses
    try:
        for use in islice(read_storage_uses(_read(source, pickle, pickle.size_bytes)), MAX_TENSORS):
            uses.setdefault(use.key, []).append(use)
    except MalformedError:
        return {}
    return uses


def _read(source: Source, member: Member, size_bytes: int) -> bytes:
    return source.read(locate_member(source, member), min(size_bytes, member.size_bytes))


def _span(key: str, offset: int, size_bytes: int, uses: list[StorageUse]) -> TensorSpan:
    for use in uses:
        itemsize = DTYPE_BYTES[use.dtype]
        if use.shape is not None and use.is_row and math.prod(use.shape) * itemsize == size_bytes and use.name:
            return TensorSpan(use.name, use.dtype, use.shape, offset, size_bytes, itemsize)
    # Only parts or turned views of it are used: an array of its items in a row is still the truth.
    name = f"data/{key}"
    itemsize = DTYPE_BYTES[uses[0].dtype] if uses else 0
    if itemsize and size_bytes % itemsize == 0:
        return TensorSpan(name, uses[0].dtype, (size_bytes // itemsize,), offset, size_bytes, itemsize)
    return TensorSpan(name, "", (), offset, size_bytes, 0)


def _view(use: StorageUse, member: Member) -> TensorView | None:
    """A tensor where the pickle says that it is; None if its storage does not hold it."""
    if use.shape is None or not use.name:
        return None
    offset = use.offset * DTYPE_BYTES[use.dtype]
    try:
        return TensorView(
            use.name, use.dtype, use.shape, use.strides, offset, size_of(use.dtype, use.shape, use.strides), member
        )
    except MalformedError:
        return None

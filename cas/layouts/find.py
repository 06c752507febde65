"""Which layout a file has and which tensors are in it, by its content and never by what it is called."""

from __future__ import annotations

from cas.layouts.gguf import GGUF_MAGIC, parse_gguf
from cas.layouts.npy import NPY_MAGIC, parse_npy, view_npy
from cas.layouts.npz import parse_npz, view_npz
from cas.layouts.safetensors import looks_like_safetensors, parse_safetensors, view_safetensors
from cas.layouts.source import Source
from cas.layouts.spans import Layout, MalformedError, ReadAt, TensorView
from cas.layouts.torch_zip import find_torch_stem, parse_torch, view_torch
from cas.layouts.zip_members import ZIP_MAGIC, locate_member, read_members

__all__ = ["find_layout", "find_tensors", "locate_tensor"]

_HEAD_BYTES = 16


def find_layout(read_at: ReadAt, size_bytes: int) -> Layout | None:
    """Where the tensors are inside a file, if it is of a format known here.

    Reads the headers only: two ranges of a safetensors, npy or GGUF file; of a zip its
    tail, its directory and 30 bytes a member. Never unpickles, imports or decompresses.

    Args:
        read_at: reads the file, of which it must give exactly the bytes asked for.
        size_bytes: the file's size.

    Returns:
        A layout whose spans all lie inside the file; None for any other file, and for one
        that breaks its format's rules or is over the limits here: it is simply content.

    Raises:
        Only what ``read_at`` raises.
    """
    source = Source(read_at, size_bytes)
    try:
        layout = _parse(source)
    except MalformedError:
        return None
    return layout if layout and layout.end <= size_bytes else None


def find_tensors(read_at: ReadAt, size_bytes: int) -> tuple[TensorView, ...] | None:
    """The tensors of a file by name, for who wants to read them, if it is of a format known here.

    The same headers are read as for `find_layout`, but for torch's zip, of which only the directory and data.pkl
    are. Besides a layout's spans it knows tensors that are empty, turned, or share a storage with others.

    Args:
        read_at, size_bytes: as for `find_layout`; but of an npz, ``read_at`` is called by several threads at once.

    Returns:
        The tensors, in the file's order; None for any other file.

    Raises:
        Only what ``read_at`` raises.
    """
    source = Source(read_at, size_bytes)
    try:
        views = _view(source)
    except MalformedError:
        return None
    if views is None or any(view.member is None and view.offset + view.size_bytes > size_bytes for view in views):
        return None
    return tuple(views)


def locate_tensor(read_at: ReadAt, size_bytes: int, view: TensorView) -> int:
    """The offset of a tensor's first item in the file.

    Raises:
        FormatError: the zip that it lies in contradicts itself; also what ``read_at`` raises.
    """
    if view.member is None:
        return view.offset
    return locate_member(Source(read_at, size_bytes), view.member) + view.offset


def _parse(source: Source) -> Layout | None:
    head = source.read(0, min(_HEAD_BYTES, source.size_bytes))
    if head.startswith(ZIP_MAGIC):
        members = read_members(source)
        stem = find_torch_stem(members)
        return parse_npz(source, members) if stem is None else parse_torch(source, members, stem)
    if head.startswith(NPY_MAGIC):
        return parse_npy(source)
    if head.startswith(GGUF_MAGIC):
        return parse_gguf(source)
    if looks_like_safetensors(head):
        return parse_safetensors(source)
    return None


def _view(source: Source) -> list[TensorView] | None:
    head = source.read(0, min(_HEAD_BYTES, source.size_bytes))
    if head.startswith(ZIP_MAGIC):
        members = read_members(source)
        stem = find_torch_stem(members)
        return view_npz(source, members) if stem is None else view_torch(source, members, stem)
    if head.startswith(NPY_MAGIC):
        return view_npy(source)
    if head.startswith(GGUF_MAGIC):
        return [TensorView.of_span(span) for span in parse_gguf(source).spans]
    if looks_like_safetensors(head):
        return view_safetensors(source)
    return None

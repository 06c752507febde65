"""Which layout a file has, by what is in it and never by what it is called."""

from __future__ import annotations

from cas.layouts.gguf import GGUF_MAGIC, parse_gguf
from cas.layouts.npy import NPY_MAGIC, parse_npy
from cas.layouts.npz import parse_npz
from cas.layouts.safetensors import looks_like_safetensors, parse_safetensors
from cas.layouts.source import Source
from cas.layouts.spans import Layout, MalformedError, ReadAt
from cas.layouts.torch_zip import find_torch_stem, parse_torch
from cas.layouts.zip_members import ZIP_MAGIC, read_members

__all__ = ["find_layout"]

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

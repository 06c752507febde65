"""Bundles: a whole checkpoint as one byte string.

What `Checkpoint.to_bytes` gives: a magic, the tree, then the content of every
file, raw. Needs no store to be read. Specified in docs/format.md section 16,
pinned by tests/vectors/bundle.json.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from cas.errors import CorruptError, FormatError
from cas.format import Buffer, Digest, Tree, TreeEntry
from cas.format.envelope import MAGIC_BYTES, check_magic

__all__ = ["decode_bundle", "encode_bundle"]

_MAGIC = b"CASBNDL\x01"
_LENGTH = struct.Struct("<Q")


def encode_bundle(tree: Tree, read: Callable[[TreeEntry], Iterable[Buffer]]) -> bytes:
    """Lay a checkpoint end to end.

    Args:
        tree: the checkpoint.
        read: the content of a file, in pieces.
    """
    encoded = tree.encode()
    parts: list[Buffer] = [_MAGIC, _LENGTH.pack(len(encoded)), encoded]
    for entry in tree.files:
        parts += read(entry)
    return b"".join(parts)


def decode_bundle(data: Buffer) -> tuple[Tree, dict[str, memoryview]]:
    """The tree, and each file's content as a slice of ``data``; nothing is copied.

    Raises:
        FormatError: not a bundle, or one of a newer version.
        CorruptError: cut short, too long, or a file does not hash to its blob.
    """
    view = memoryview(data).toreadonly()
    check_magic(view, _MAGIC, "these bytes")
    at = MAGIC_BYTES + _LENGTH.size
    if len(view) < at:
        raise CorruptError(f"at least {at} bytes", f"{len(view)} bytes", "bundle")
    (size,) = _LENGTH.unpack_from(view, MAGIC_BYTES)
    if size > len(view) - at:
        raise CorruptError(f"a tree of {size} bytes", f"{len(view) - at} bytes", "bundle")
    try:
        tree = Tree.decode(bytes(view[at : at + size]), "tree of the bundle")
    except FormatError as error:
        raise CorruptError("a tree", str(error), "bundle") from error
    at += size
    if tree.size_bytes != len(view) - at:
        raise CorruptError(f"{tree.size_bytes} bytes of files", f"{len(view) - at} bytes", "bundle")
    files = {}
    for entry in tree.files:
        content = view[at : at + entry.size_bytes]
        if (actual := Digest.of(content)) != entry.blob:
            raise CorruptError(entry.blob, actual, f"{entry.path} in the bundle")
        files[entry.path] = content
        at += entry.size_bytes
    return tree, files

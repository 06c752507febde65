"""The dict view of any checkpoint, and back.

A checkpoint made from a dict has the files of a dict tree (docs/design/008). What
is no part of one, such as a plain directory's files or files dropped beside a dict's own,
stands in the dict under three reserved keys, so that every tour keeps the hash:
``cas.files`` (bytes by path), ``cas.executables`` and ``cas.directories`` (paths).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from cas.checkpoint.contents import Content, MemoryContent
from cas.checkpoint.dict_tree import decode_dict, dict_paths, encode_dict, is_dict_tree
from cas.errors import FormatError
from cas.format import Buffer

__all__ = ["DIRECTORIES", "EXECUTABLES", "FILES", "content_of_dict", "dict_of_content"]

FILES = "cas.files"
EXECUTABLES = "cas.executables"
DIRECTORIES = "cas.directories"
_RESERVED = (FILES, EXECUTABLES, DIRECTORIES)


def content_of_dict(data: Mapping[str, Any], allow_pickle: bool | None) -> MemoryContent:
    """A dict as files, copied: later changes to the dict or its arrays do not reach them.

    Raises:
        FormatError: not a dict, an empty one, or a reserved key with something else in it.
        RefusedError: an object that needs pickle, which nobody allowed.
    """
    if type(data) not in (dict, OrderedDict):
        encode_dict(data)  # which refuses it, and says why
    if not data:
        raise FormatError("an empty dict holds no checkpoint; give it at least one key")
    own: Any = copy.copy(data)  # shallow, and with what an OrderedDict carries, as PyTorch's state_dict does
    for key in _RESERVED:
        own.pop(key, None)
    files: dict[str, Buffer] = {}
    if own:
        files = {path: b"".join(parts) for path, parts in encode_dict(own, allow_pickle=allow_pickle).items()}
    extra = data.get(FILES, {})
    if not isinstance(extra, Mapping) or not all(isinstance(item, bytes) for item in extra.values()):
        raise FormatError(f"the key {FILES!r} is reserved for a directory's files: bytes by path")
    if clash := files.keys() & extra.keys():
        raise FormatError(f"{min(clash)!r} under {FILES!r} is a file that holds the dict itself")
    executables, directories = data.get(EXECUTABLES, ()), data.get(DIRECTORIES, ())
    for name, value in ((EXECUTABLES, executables), (DIRECTORIES, directories)):
        if not isinstance(value, list | tuple) or not all(isinstance(path, str) for path in value):
            raise FormatError(f"the key {name!r} is reserved for a list of paths")
    if lost := set(executables) - extra.keys():
        raise FormatError(f"{min(lost)!r} under {EXECUTABLES!r} is not under {FILES!r}")
    return MemoryContent(files | dict(extra), frozenset(executables), tuple(directories))


def dict_of_content(content: Content, allow_pickle: bool | None) -> dict[str, Any]:
    """The dict that `content_of_dict` makes the same content of.

    Raises:
        RefusedError: it holds pickled objects, and nobody allowed loading them.
    """
    tree = content.tree()
    paths = [entry.path for entry in tree.files]

    def read(path: str) -> Buffer:
        return b"".join(content.iter_file(tree.entry(path)))

    own: frozenset[str] = frozenset()
    found: dict[str, Any] = {}
    if is_dict_tree(paths):
        own = dict_paths(read)
        found = decode_dict(read, paths, allow_pickle=allow_pickle)
    if extra := [entry for entry in tree.files if entry.path not in own]:
        found[FILES] = {entry.path: b"".join(content.iter_file(entry)) for entry in extra}
    if executables := [entry.path for entry in extra if entry.executable]:
        found[EXECUTABLES] = executables
    if tree.empty_directories:
        found[DIRECTORIES] = list(tree.empty_directories)
    return found

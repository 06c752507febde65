"""Dict trees: a Python dict as the files of a checkpoint, and back.

    cas-dict.msgpack      the skeleton: plain values, and references to what follows
    tensors.safetensors   arrays and tensors, named by the keys that lead to them; absent if there are none
    objects/0.bin         bytes of 64 KiB or more, each a file of its own
    objects/1.pkl         arbitrary objects, pickled, only with the user's permission

Dicts of the same keys and values give the same files, and so does decoding and encoding again, so that a dict has
one hash however it travels. Nothing here does I/O. Specified in docs/design/008-dict-trees.md, pinned by
tests/vectors/dict_tree.json.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cas.checkpoint.arrays import find_array, read_array, stored_form
from cas.checkpoint.permission import HOW_TO_ALLOW, pickle_is_allowed
from cas.checkpoint.references import FileRef, Place, TensorRef, show
from cas.checkpoint.skeleton import decode_skeleton, encode_skeleton
from cas.checkpoint.tensor_file import MAX_HEADER_BYTES, StoredTensor, slice_tensors, write_tensors
from cas.errors import FormatError, NotFoundError, RefusedError
from cas.format import Buffer

__all__ = [
    "SKELETON_PATH",
    "TENSORS_PATH",
    "DictFiles",
    "decode_dict",
    "dict_paths",
    "dict_tensors",
    "encode_dict",
    "is_dict_tree",
]

SKELETON_PATH = "cas-dict.msgpack"
TENSORS_PATH = "tensors.safetensors"
_PICKLE_PROTOCOL = 5

DictFiles = dict[str, tuple[Buffer, ...]]
"""Content by path, as buffers to be laid end to end."""


def encode_dict(data: Mapping[str, Any], *, allow_pickle: bool | None = None) -> DictFiles:
    """The files of a dict.

    Keys of dicts are sorted, so that equal dicts have equal files; an OrderedDict keeps its order.

    Args:
        data: a dict or an OrderedDict. Keys may also be numbers, tuples and other plain values.
        allow_pickle: whether values that are neither plain nor arrays may be pickled. Each is also loaded back
            once, which runs its code. None leaves it to ``CAS_ALLOW_PICKLE=1``.

    Returns:
        The files. Arrays are not copied: the buffers are views of them, so use the files before anyone
        changes the arrays.

    Raises:
        FormatError: not a dict, a dict that contains itself, deeper than 60 levels, or with text that is not Unicode.
        RefusedError: an object that only pickle can store, which nobody allowed; the message names it.
    """
    if type(data) not in (dict, OrderedDict):
        raise FormatError(f"a checkpoint is made from a dict, not from a {_type_name(data)}; dict() may make it one")
    files = _Files(pickle_is_allowed(allow_pickle))
    skeleton = encode_skeleton(data, files.store)
    found: DictFiles = {SKELETON_PATH: (skeleton,)}
    if files.tensors:
        found[TENSORS_PATH] = write_tensors(files.tensors)
    return found | {path: (content,) for path, content in files.objects.items()}


def is_dict_tree(paths: Iterable[str]) -> bool:
    """Whether files with these paths are those of a dict, perhaps among others."""
    return SKELETON_PATH in paths


def dict_paths(read: Callable[[str], Buffer]) -> frozenset[str]:
    """The paths of a dict's own files, to tell them from files that someone put beside them.

    Args:
        read: gives the content of one file; called for the skeleton alone.

    Raises:
        FormatError: the skeleton is malformed, or of a newer version.
    """
    return _Outline.of(read(SKELETON_PATH)).paths


def dict_tensors(skeleton: Buffer) -> dict[str, TensorRef]:
    """What each array of the tensors file was, by its name there, read from the skeleton alone.

    Raises:
        FormatError: the skeleton is malformed, or of a newer version.
    """
    names = _Names()
    found: dict[str, TensorRef] = {}

    def note(reference: TensorRef | FileRef, place: Place) -> None:
        if isinstance(reference, TensorRef):
            found[names.tensor(place)] = reference

    decode_skeleton(skeleton, note, SKELETON_PATH)
    return found


def decode_dict(
    read: Callable[[str], Buffer], paths: Iterable[str], *, allow_pickle: bool | None = None
) -> dict[Any, Any]:
    """The dict that `encode_dict` was given, as fresh objects that share nothing with the files.

    Args:
        read: gives the content of one file; called once for each of the dict's files.
        paths: the files that are there. Those that are no part of the dict are ignored.
        allow_pickle: whether pickles may be loaded, which runs whatever code is in them. None leaves it to
            ``CAS_ALLOW_PICKLE=1``.

    Raises:
        FormatError: the files are malformed, or do not fit each other.
        NotFoundError: a file is missing.
        RefusedError: it holds pickled objects, which nobody allowed to load; the message names one.
        CasError: a tensor needs a package that is not installed.
    """
    skeleton = read(SKELETON_PATH)
    outline = _Outline.of(skeleton)
    if missing := outline.paths - set(paths):
        raise NotFoundError(f"the dict's file {min(missing)!r} is missing")
    if outline.pickles and not pickle_is_allowed(allow_pickle):
        name, type_name = outline.pickles[0]
        raise RefusedError(f"{name} is a pickled {type_name}; loading it runs code: if you trust it, {HOW_TO_ALLOW}")
    items: dict[str, memoryview] = {}
    if outline.tensors:
        items = slice_tensors(read(TENSORS_PATH), outline.tensors, TENSORS_PATH)
    names = _Names()

    def load(reference: TensorRef | FileRef, place: Place) -> Any:
        if isinstance(reference, TensorRef):
            name = names.tensor(place)
            return read_array(reference, items[name], name)
        path = names.file(reference)
        return _read_file(reference, read(path), path)

    return decode_skeleton(skeleton, load, SKELETON_PATH)


class _Names:
    """Names what has a place, in the order of places, so that names need not be written down."""

    def __init__(self) -> None:
        # What safetensors calls its own metadata is taken from the start.
        self._taken = {"__metadata__": 0}
        self._tensor_bytes = 0
        self._files = 0

    def tensor(self, place: Place) -> str:
        """The keys joined by dots; ``~1``, ``~2``, ... behind it where a tensor has that name already."""
        joined = ".".join(place)
        name = joined
        while name in self._taken:
            self._taken[joined] += 1
            name = f"{joined}~{self._taken[joined]}"
        self._taken[name] = 0
        self._tensor_bytes += len(name)
        # A long key over many arrays stands in the skeleton once, and in the header once for each of them.
        if self._tensor_bytes > MAX_HEADER_BYTES:
            raise FormatError("the arrays' names are too long for one safetensors file; shorten the keys")
        return name

    def file(self, reference: FileRef) -> str:
        """Files are numbered through."""
        path = f"objects/{self._files}.{'pkl' if reference.kind == 'pickle' else 'bin'}"
        self._files += 1
        return path


@dataclass(slots=True)
class _Files:
    """Takes what the skeleton does not hold itself."""

    allow_pickle: bool
    tensors: dict[StoredTensor, Buffer] = field(default_factory=dict)
    objects: dict[str, Buffer] = field(default_factory=dict)
    names: _Names = field(default_factory=_Names)

    def store(self, value: Any, place: Place) -> TensorRef | FileRef:
        """Put ``value`` into a file of its own, or among the tensors."""
        if array := find_array(value):
            reference, items = array
            self.tensors[StoredTensor(self.names.tensor(place), stored_form(reference), reference.shape)] = items
            return reference
        if type(value) in (bytes, bytearray):
            file = FileRef("raw", type(value).__name__)
            # A bytearray may change before the file is used, and cannot be resized while it is exported.
            self.objects[self.names.file(file)] = bytes(value)
            return file
        file = FileRef("pickle", _type_name(value))
        name = show(place)
        if not self.allow_pickle:
            raise RefusedError(
                f"{name} is {_describe(value)}, which only pickle can store, and loading a pickle runs code:"
                f"\nturn it into plain values and arrays, or {HOW_TO_ALLOW}"
            )
        self.objects[self.names.file(file)] = _pickle(value, name)
        return file


@dataclass(slots=True)
class _Outline:
    """What a skeleton refers to."""

    tensors: list[StoredTensor] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    pickles: list[tuple[str, str]] = field(default_factory=list)
    names: _Names = field(default_factory=_Names)

    @classmethod
    def of(cls, skeleton: Buffer) -> _Outline:
        """Walk a skeleton without loading anything."""
        outline = cls()
        decode_skeleton(skeleton, outline.note, SKELETON_PATH)
        return outline

    def note(self, reference: TensorRef | FileRef, place: Place) -> None:
        """Take down one reference."""
        if isinstance(reference, TensorRef):
            self.tensors.append(StoredTensor(self.names.tensor(place), stored_form(reference), reference.shape))
            return
        self.files.append(self.names.file(reference))
        if reference.kind == "pickle":
            self.pickles.append((show(place), reference.type_name))

    @property
    def paths(self) -> frozenset[str]:
        """Every file of the dict."""
        return frozenset([SKELETON_PATH, *([TENSORS_PATH] if self.tensors else []), *self.files])


def _pickle(value: Any, name: str) -> bytes:
    try:
        # Pickling depends on which equal strings happen to be one object, which loading settles; so this makes
        # the bytes those that the loaded object has too, and proves that it can be loaded at all.
        return pickle.dumps(pickle.loads(pickle.dumps(value, _PICKLE_PROTOCOL)), _PICKLE_PROTOCOL)
    except Exception as error:  # the object's own code runs, and may raise anything
        raise FormatError(f"{name} is {_describe(value)}, which pickle cannot store: {error}") from error


def _read_file(reference: FileRef, content: Buffer, path: str) -> Any:
    if reference.kind == "raw":
        return bytearray(content) if reference.type_name == "bytearray" else bytes(content)
    try:
        return pickle.loads(content)
    except Exception as error:  # the pickle's own code runs, and may raise anything
        raise FormatError(f"{path} cannot be unpickled: {error}") from error


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _describe(value: object) -> str:
    kind = type(value)
    if kind is np.ndarray:
        return f"an array of {value.dtype}"  # type: ignore[attr-defined]
    if kind in (dict, OrderedDict, set, frozenset):
        return f"a {_type_name(value)} with keys or members that are no plain values"
    return f"a {_type_name(value)}"

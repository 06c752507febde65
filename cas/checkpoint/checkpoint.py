"""The Checkpoint: one content, seen as a dict, a directory, bytes or a hash.

A view never is a second identity: whichever way a checkpoint travels, its hash
stays. Nothing is read before it is asked for; `Checkpoint.hash` makes the content
durable in a store, and from then on the object reads from there. What a caller
does to a returned dict or directory never reaches the content.

What a checkpoint is besides its files travels as small files among them, so that it survives every view:
its class and attributes (`cas.checkpoint.kind`), its metadata, and its preprocessor.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cas.checkpoint.bundle import decode_bundle, encode_bundle
from cas.checkpoint.contents import Content, DirectoryContent, MemoryContent, StoredContent
from cas.checkpoint.dict_view import content_of_dict, dict_of_content
from cas.checkpoint.kind import KIND_PATH, Kind, class_name, more_derived
from cas.checkpoint.lazy_tensors import find_lazy_tensors
from cas.checkpoint.object_refs import load_object, store_object
from cas.checkpoint.overlay import overlaid
from cas.checkpoint.pickling import pickles_by_value
from cas.checkpoint.preprocessor import PREPROCESSOR_PATHS, decode_preprocessor, encode_preprocessor
from cas.checkpoint.shared_directory import shared_directory
from cas.checkpoint.uri import content_at, write_at
from cas.errors import FormatError, NotFoundError, StorageError
from cas.format import Buffer, Digest
from cas.repository import Source, locate_store
from cas.views import LazyFile, LazyTensor, Ranges, open_file, read_ranges

if TYPE_CHECKING:
    from cas.checkpoint.store import Store

__all__ = ["Checkpoint"]


_METADATA_PATH = ".metadata.json"  # Ray Train's own name for it, so that either reads what the other wrote


class Checkpoint:
    """A model's checkpoint, wherever its bytes are.

    Make one by `from_directory`, `from_dict`, `from_bytes`, `from_hash` or `from_uri`; ask it for `hash`,
    `open`, `tensors`, `to_directory`, `as_directory`, `to_dict`, `to_bytes` or `to_uri`. Pickling it stores
    the content and pickles a reference of a few hundred bytes: the store's URL and the hash.

    Subclasses travel: what was made as a subclass is read as one, by any ``from_*`` of that class or of one above it.
    Attributes that a subclass names in ``_SERIALIZED_ATTRS`` travel along, if they are plain values.
    """

    _SERIALIZED_ATTRS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, content: Content, store: str) -> None:
        """Use the ``from_*`` methods instead."""
        self._content = content
        self._store = store
        self._stored_files: Mapping[str, Ranges] | None = None  # the store stays open with them
        # `hash` makes the store the content, so that no later edit of a directory can reach it.
        self._directory = content.path if isinstance(content, DirectoryContent) else None
        self._kind: Kind | None = None
        self._kind_is_known = False
        self._kind_travels = False
        self._by_value: bool | None = None

    # -- make one

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str], *, store: str | os.PathLike[str] | None = None) -> Self:
        """The files of a local directory, read when they are first needed.

        Args:
            path: the directory.
            store: where `hash` stores it; else ``CAS_STORE``, the nearest ``.cas/``, or your own.

        Raises:
            NotFoundError: there is no such directory.
            ValueError: it was made as another class, neither above nor below this one.
        """
        return cls._of(DirectoryContent.of(Path(path)), locate_store(store))

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A dict of arrays, tensors and plain values, copied now.

        Args:
            data: the dict; `to_dict` gives back an equal one, with the same types.
            store: where `hash` stores it.
            allow_pickle: whether objects of any other type may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            FormatError: not a dict, or an empty one.
            RefusedError: it holds an object that only pickle can store; the message names it.
            ValueError: it was made as another class.
        """
        return cls._of(content_of_dict(data, allow_pickle), locate_store(store))

    @classmethod
    def from_bytes(cls, data: bytes, *, store: str | os.PathLike[str] | None = None) -> Self:
        """What `to_bytes` gave.

        Raises:
            FormatError, CorruptError: the bytes are something else, or were damaged.
            ValueError: it was made as another class.
        """
        tree, files = decode_bundle(data)
        return cls._of(MemoryContent.of_tree(tree, files), locate_store(store))

    @classmethod
    def from_hash(cls, checkpoint: str, *, store: str | os.PathLike[str] | None = None) -> Self:
        """The checkpoint with this hash in a store; nothing is read, not even whether it is there.

        So it is of the class that you ask, and `typed` gives it the class that it was made as.

        Raises:
            FormatError: that is no hash. For prefixes and names use `Store.get`.
        """
        content = StoredContent.at(Digest.parse(checkpoint), locate_store(store))
        return cls(content, content.url)

    @classmethod
    def from_uri(cls, uri: str, *, store: str | os.PathLike[str] | None = None) -> Self:
        """A checkpoint in a store, or the files of a plain directory, wherever fsspec reaches.

        Args:
            uri: ``cas+s3://bucket/store#<hash>`` for a checkpoint in a store, ``s3://bucket/directory`` for a
                plain directory; ``file://``, ``memory://`` and the others likewise. A name (``#main``) is looked up
                now, and of a plain directory the small file that says which class it is, if it has one;
                nothing else is read before it is needed.
            store: where `hash` stores a plain directory.

        Raises:
            FormatError: that is no URI.
            ValueError: a plain directory was made as another class.
        """
        content, url = content_at(uri, None if store is None else os.fspath(store))
        return cls(content, url) if isinstance(content, StoredContent) else cls._of(content, url)

    @classmethod
    def from_checkpoint(cls, other: Checkpoint) -> Self:
        """The same content as this class, whatever class it was; ``other`` itself if it is exactly this one.

        Attributes come along if this class lists them.
        """
        if type(other) is cls:
            return other
        made = cls(other._content, other._store)
        made._directory, made._kind_travels, made._by_value = other._directory, other._kind_travels, other._by_value
        for name in cls._SERIALIZED_ATTRS:
            if (value := getattr(other, name, None)) is not None:
                setattr(made, name, value)
        return made

    @classmethod
    def from_object_ref(cls, reference: Any) -> Self:
        """What Ray's object store holds: a Checkpoint, its dict, or its bytes.

        Raises:
            RefusedError: Ray is not installed.
            FormatError: the reference is to something else.
        """
        found = load_object(reference)
        if isinstance(found, Checkpoint):
            return found if isinstance(found, cls) else cls.from_checkpoint(found)
        if isinstance(found, Mapping):
            return cls.from_dict(found)
        if isinstance(found, bytes):
            return cls.from_bytes(found)
        raise FormatError(f"the object is a {type(found).__name__}; a Checkpoint, a dict or bytes are expected")

    @classmethod
    def from_result(cls, result: Any, *, store: str | os.PathLike[str] | None = None) -> Self:
        """The checkpoint of a trainer's or tuner's result in Ray; nothing is copied before it is needed.

        Args:
            result: a ``Result`` (``ResultGrid.get_best_result()``), or a ``ray.train.Checkpoint``.
            store: where `hash` stores it. What a run stored in cas itself is in that store already.

        Raises:
            NotFoundError: the result has no checkpoint.
            FormatError: it is something else.
            ValueError: it was made as another class.
        """
        made: Self = _ray_adapter().checkpoint_of_result(result, cls, store)
        return made

    # -- what it is

    @property
    def hash(self) -> str:
        """The checkpoint hash. The content is durable in the store once you have it."""
        return str(self._ensure_stored().digest)

    @property
    def path(self) -> str | None:
        """Where it is: the local directory it was made from, else `uri`."""
        return str(self._directory) if self._directory is not None else self.uri

    @property
    def uri(self) -> str | None:
        """The URI that `from_uri` takes for it; None while it is in memory alone."""
        if self._directory is not None:
            return self._directory.as_uri()
        return self._content.uri

    def get_internal_representation(self) -> tuple[str, Any]:
        """What backs it now: ``local_path``, ``uri`` or ``data_dict``; and the path, the URI or `to_dict`'s dict."""
        if self._directory is not None:
            return "local_path", str(self._directory)
        if (uri := self._content.uri) is not None:
            return "uri", uri
        return "data_dict", self.to_dict()

    def typed(self) -> Checkpoint:
        """The same checkpoint as the class it was made as, if that is below this one; needed after `from_hash`.

        Raises:
            ValueError: it was made as a class neither above nor below this one.
        """
        kind = self._stored_class()
        return self if kind is type(self) else kind.from_checkpoint(self)

    # -- views

    def open(self, path: str) -> LazyFile:
        """One file, for reading: a seekable file object. Of a stored checkpoint only chunks that are read are fetched.

        Raises:
            NotFoundError: it has no such file.
        """
        files = self._files()
        if path not in files:
            known = ", ".join(islice(files, 5)) or "nothing"
            raise NotFoundError(f"no file {path!r} in {self!r}; it has {known}")
        return open_file(files[path])

    def tensors(self, path: str | None = None) -> dict[str, LazyTensor]:
        """The tensors by name: dtype, shape and nbytes at once, the bytes by ``numpy()`` or ``torch()``.

        Found in safetensors, torch's zip, npy, npz and GGUF files, whatever these are called, and in a
        checkpoint that was made from a dict, where keys are joined by dots (``optimizer.lr``).

        Args:
            path: look into this file only. By default into all but those that by their names are text; a name
                that several of them have is then ``path:name``.

        Raises:
            NotFoundError: it has no such file.
        """
        if path is not None:
            self.open(path).close()
        return find_lazy_tensors(self._files(), path)

    def to_dict(self, *, allow_pickle: bool | None = None) -> dict[str, Any]:
        """The content as a dict, fresh with every call.

        A checkpoint that was made from a directory has its files' bytes by path under the
        key ``cas.files``; one made from a dict has them there only for files added since.

        Args:
            allow_pickle: whether pickled objects may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: it holds pickled objects and nobody allowed them.
        """
        return dict_of_content(self._whole(), allow_pickle)

    def to_directory(self, path: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> str:
        """Write the files into a directory.

        Args:
            path: where; a new temporary directory by default, which is the caller's to remove.
            overwrite: replace files that are there and differ; otherwise they are a ConflictError.

        Returns:
            The directory's path.
        """
        target = os.fspath(path) if path is not None else tempfile.mkdtemp(prefix="cas-checkpoint-")
        self._whole().write(Path(target), overwrite=overwrite)
        return target

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The files as a directory for the length of a ``with``: read it, don't change it.

        A checkpoint made from a local directory yields that directory itself. Any other yields a temporary one,
        which all readers on this machine share, in whatever threads and processes, and which is removed with the last.
        """
        if self._directory is not None:
            yield str(self._directory)
            return
        content = self._whole()
        with shared_directory(content.name(), lambda path: content.write(path, overwrite=False)) as directory:
            yield str(directory)

    def to_bytes(self) -> bytes:
        """The whole checkpoint as one byte string that needs no store; `from_bytes` reads it."""
        content = self._whole()
        return encode_bundle(content.tree(), content.iter_file)

    def to_uri(self, uri: str, *, overwrite: bool = False) -> str:
        """Bring the content to a store (``cas+s3://bucket/store``) or a plain directory (``s3://bucket/directory``).

        To a store only what it lacks moves, and the checkpoint is kept there. A plain directory in a bucket
        keeps no executable bits and no empty directories.

        Args:
            uri: which.
            overwrite: replace files of a plain directory that differ; otherwise they are a ConflictError.

        Returns:
            The URI for `from_uri`: of a store with the checkpoint's hash, of a directory as given.
        """
        return write_at(self._whole(), uri, overwrite=overwrite)

    def to_object_ref(self) -> Any:
        """An ObjectRef in Ray's object store, to what a pickle of this checkpoint holds.

        Raises:
            RefusedError: Ray is not installed.
        """
        return store_object(self)

    def to_ray(self) -> Any:
        """A ``ray.train.Checkpoint`` that refers to this content, which is stored for it if it was not.

        Raises:
            RefusedError: Ray is not installed.
        """
        return _ray_adapter().to_ray(self)

    # -- what goes with it

    def get_preprocessor(self, *, allow_pickle: bool | None = None, trusted: Iterable[str] = ()) -> Any | None:
        """What a model's input must go through first, or None.

        Args:
            allow_pickle: whether a pickled one may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.
            trusted: full names of types beyond scikit-learn's that may be made while it is loaded.

        Raises:
            RefusedError: it is pickled, or holds such a type, and nobody allowed it.
        """
        return decode_preprocessor(self._find_file, allow_pickle, trusted)

    def set_preprocessor(self, preprocessor: object | None, *, allow_pickle: bool | None = None) -> None:
        """Put a preprocessor beside the model, or by None take it away; the hash is another one then.

        Raises:
            RefusedError: only pickle can store it, and nobody allowed that.
        """
        files: dict[str, bytes | None] = dict.fromkeys(PREPROCESSOR_PATHS)
        if preprocessor is not None:
            path, data = encode_preprocessor(preprocessor, allow_pickle)
            files[path] = data
        self._change(files)

    def get_metadata(self) -> dict[str, Any]:
        """What was said by `set_metadata`, else an empty dict.

        Raises:
            FormatError: the file in its place holds no JSON object.
        """
        data = self._find_file(_METADATA_PATH)
        try:
            found = {} if data is None else json.loads(bytes(data))
        except ValueError as error:
            raise FormatError(f"{_METADATA_PATH} of {self!r} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise FormatError(f"{_METADATA_PATH} of {self!r} holds no JSON object")
        return found

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata; it is content, so the hash is another one then.

        Raises:
            TypeError: it holds something that JSON cannot.
        """
        text = json.dumps(dict(metadata), sort_keys=True, allow_nan=True, ensure_ascii=False)
        self._change({_METADATA_PATH: text.encode() if metadata else None})

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata. TypeError if it holds something that JSON cannot."""
        self.set_metadata({**self.get_metadata(), **metadata})

    # -- as a Python object

    def by_value(self) -> Self:
        """The same checkpoint, whose pickles carry the content: for where nobody reaches the store."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._by_value = True
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        store = self._content.url if isinstance(self._content, StoredContent) else self._store
        if pickles_by_value(store, self._by_value):
            return _unpickle_value, (type(self), self.to_bytes())
        stored = self._ensure_stored()
        return _unpickle, (type(self), str(stored.digest), stored.public_url)

    def __fspath__(self) -> str:
        raise TypeError(
            f"a {type(self).__name__} is no path: give `with checkpoint.as_directory() as path`, or what"
            " checkpoint.to_directory() returns"
        )

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not set; a class that lists an attribute should give it no default of its own.
        if name in type(self)._SERIALIZED_ATTRS and (kind := self._load_kind()) and name in kind.attributes:
            return kind.attributes[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._content.describe()})"

    # -- for the store, and for subclasses

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """What a writer stores: the files, and the empty directories."""
        return self._whole().sources()

    def digest_in(self, store: Store) -> Digest | None:
        """The hash, if the content is known to be in that very store."""
        content = self._whole()
        return content.digest if isinstance(content, StoredContent) and content.public_url == store.url else None

    @classmethod
    def _of_files(
        cls,
        files: Mapping[str, Buffer],
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """One of this class, made of files in memory that nobody changes any more."""
        made = cls._of(MemoryContent(dict(files)), locate_store(store))
        if preprocessor is not None:
            made.set_preprocessor(preprocessor, allow_pickle=allow_pickle)
        return made

    @classmethod
    def _of(cls, content: Content, store: str) -> Self:
        """The more derived of this class and the one that the content was made as."""
        made = cls(content, store)
        try:
            found = made._stored_class()
        except StorageError:  # it cannot be reached now: whoever reads it first is told
            found = cls
        if issubclass(found, cls) and found is not cls:
            known, made = made, found(content, store)
            made._kind, made._kind_is_known = known._kind, True
        made._kind_travels = True
        return made

    def _find_file(self, path: str) -> Buffer | None:
        """A small file's content, or None."""
        if not isinstance(self._content, StoredContent):
            return self._content.find_file(path)
        found = self._open_stored(self._content).get(path)  # the store stays open for the next one
        return None if found is None else read_ranges(found, 0, found.size_bytes)

    def _change(self, files: Mapping[str, bytes | None]) -> None:
        """Put small files over the content."""
        if any(data is not None or self._find_file(path) is not None for path, data in files.items()):
            self._content = overlaid(self._content, files)
            self._directory = self._stored_files = None

    def _load_kind(self) -> Kind | None:
        if not self._kind_is_known:
            data = self._find_file(KIND_PATH)
            self._kind = None if data is None else Kind.decode(data)
            self._kind_is_known = True
        return self._kind

    def _stored_class(self) -> type[Checkpoint]:
        """The more derived of this object's class and the one that its content was made as."""
        kind = self._load_kind()
        stored = None if kind is None else kind.find_class(Checkpoint)
        return type(self) if stored is None else more_derived(type(self), stored)

    def _whole(self) -> Content:
        """The content, with the file that says what kind it is where that is due."""
        own = {name: value for name in self._SERIALIZED_ATTRS if (value := self.__dict__.get(name)) is not None}
        if not (own or (self._kind_travels and type(self) is not Checkpoint)):
            return self._content
        known = self._load_kind()
        kind = Kind(class_name(type(self)), {**(known.attributes if known else {}), **own})
        return self._content if kind == known else overlaid(self._content, {KIND_PATH: kind.encode()})

    def _files(self) -> Mapping[str, Ranges]:
        content = self._whole()
        return self._open_stored(content) if isinstance(content, StoredContent) else content.ranges()

    def _open_stored(self, content: StoredContent) -> Mapping[str, Ranges]:
        if self._stored_files is None:
            self._stored_files = content.ranges()
        return self._stored_files

    def _ensure_stored(self) -> StoredContent:
        content = self._whole()
        if not isinstance(content, StoredContent):
            from cas.checkpoint.store import Store

            with Store.open(self._store) as store:
                content = StoredContent(store.keep(self), store.url)
            self._kind_is_known, self._stored_files = False, None
        self._content = content
        return content


def _ray_adapter() -> Any:
    """What knows Ray's results: an adapter, above this layer, and so looked up only when an object of Ray comes."""
    return importlib.import_module("cas.integrations.results")


def _unpickle(kind: type[Checkpoint], checkpoint: str, url: str) -> Checkpoint:
    return kind.from_hash(checkpoint, store=url)


def _unpickle_value(kind: type[Checkpoint], data: bytes) -> Checkpoint:
    return kind.from_bytes(data)

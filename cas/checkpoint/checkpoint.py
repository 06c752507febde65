"""The Checkpoint: one content, seen as a dict, a directory, bytes or a hash.

A view never is a second identity: whichever way a checkpoint travels, its hash
stays. Nothing is read before it is asked for; `Checkpoint.hash` makes the content
durable in a store, and from then on the object reads from there. What a caller
does to a returned dict or directory never reaches the content.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.checkpoint.bundle import decode_bundle, encode_bundle
from cas.checkpoint.contents import Content, DirectoryContent, MemoryContent, StoredContent
from cas.checkpoint.dict_view import content_of_dict, dict_of_content
from cas.checkpoint.lazy_tensors import find_lazy_tensors
from cas.checkpoint.uri import content_at, write_at
from cas.errors import NotFoundError
from cas.format import Digest
from cas.repository import Source, locate_store
from cas.views import LazyFile, LazyTensor, Ranges, open_file

if TYPE_CHECKING:
    from cas.checkpoint.store import Store

__all__ = ["Checkpoint"]


class Checkpoint:
    """A model's checkpoint, wherever its bytes are.

    Make one by `from_directory`, `from_dict`, `from_bytes`, `from_hash` or `from_uri`; ask it for `hash`,
    `open`, `tensors`, `to_directory`, `as_directory`, `to_dict`, `to_bytes` or `to_uri`. Pickling it stores
    the content and pickles a reference of a few hundred bytes: the store's URL and the hash.
    """

    def __init__(self, content: Content, store: str) -> None:
        """Use the ``from_*`` methods instead."""
        self._content = content
        self._store = store
        self._stored_files: Mapping[str, Ranges] | None = None  # the store stays open with them
        # `hash` makes the store the content, so that no later edit of a directory can reach it.
        self._directory = content.path if isinstance(content, DirectoryContent) else None

    # -- make one

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str], *, store: str | os.PathLike[str] | None = None) -> Checkpoint:
        """The files of a local directory, read when they are first needed.

        Args:
            path: the directory.
            store: where `hash` stores it; else ``CAS_STORE``, the nearest ``.cas/``, or your own.

        Raises:
            NotFoundError: there is no such directory.
        """
        return cls(DirectoryContent.of(Path(path)), locate_store(store))

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Checkpoint:
        """A dict of arrays, tensors and plain values, copied now.

        Args:
            data: the dict; `to_dict` gives back an equal one, with the same types.
            store: where `hash` stores it.
            allow_pickle: whether objects of any other type may be pickled; else ``CAS_ALLOW_PICKLE``.

        Raises:
            FormatError: not a dict, or an empty one.
            RefusedError: it holds an object that only pickle can store; the message names it.
        """
        return cls(content_of_dict(data, allow_pickle), locate_store(store))

    @classmethod
    def from_bytes(cls, data: bytes, *, store: str | os.PathLike[str] | None = None) -> Checkpoint:
        """What `to_bytes` gave.

        Raises:
            FormatError, CorruptError: the bytes are something else, or were damaged.
        """
        tree, files = decode_bundle(data)
        return cls(MemoryContent.of_tree(tree, files), locate_store(store))

    @classmethod
    def from_hash(cls, checkpoint: str, *, store: str | os.PathLike[str] | None = None) -> Checkpoint:
        """The checkpoint with this hash in a store; nothing is read, not even whether it is there.

        Raises:
            FormatError: that is no hash. For prefixes and names use `Store.get`.
        """
        url = locate_store(store)
        return cls(StoredContent(Digest.parse(checkpoint), url), url)

    @classmethod
    def from_uri(cls, uri: str, *, store: str | os.PathLike[str] | None = None) -> Checkpoint:
        """A checkpoint in a store, or the files of a plain directory, wherever fsspec reaches.

        Args:
            uri: ``cas+s3://bucket/store#<hash>`` for a checkpoint in a store, ``s3://bucket/directory`` for a
                plain directory; ``file://``, ``memory://`` and the others likewise. Nothing is read before
                it is needed, and a name (``#main``) is looked up now.
            store: where `hash` stores a plain directory.

        Raises:
            FormatError: that is no URI.
        """
        return cls(*content_at(uri, None if store is None else os.fspath(store)))

    # -- views

    @property
    def hash(self) -> str:
        """The checkpoint hash. The content is durable in the store once you have it."""
        return str(self._ensure_stored().digest)

    def open(self, path: str) -> LazyFile:
        """One file, for reading: a seekable file object. Of a stored checkpoint only chunks that are read are fetched.

        Raises:
            NotFoundError: it has no such file.
        """
        files = self._files()
        self._check_path(files, path)
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
        files = self._files()
        if path is not None:
            self._check_path(files, path)
        return find_lazy_tensors(files, path)

    def to_dict(self, *, allow_pickle: bool | None = None) -> dict[str, Any]:
        """The content as a dict, fresh with every call.

        A checkpoint that was made from a directory has its files' bytes by path under the
        key ``cas.files``; one made from a dict has them there only for files added since.

        Args:
            allow_pickle: whether pickled objects may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: it holds pickled objects and nobody allowed them.
        """
        return dict_of_content(self._content, allow_pickle)

    def to_directory(self, path: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> str:
        """Write the files into a directory.

        Args:
            path: where; a new temporary directory by default, which is the caller's to remove.
            overwrite: replace files that are there and differ; otherwise they are a ConflictError.

        Returns:
            The directory's path.
        """
        target = os.fspath(path) if path is not None else tempfile.mkdtemp(prefix="cas-checkpoint-")
        self._content.write(Path(target), overwrite=overwrite)
        return target

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The files as a directory for the length of a ``with``: read it, don't change it.

        A checkpoint made from a local directory yields that directory itself; any other
        yields a temporary one that is removed at the end.
        """
        if self._directory is not None:
            yield str(self._directory)
            return
        with tempfile.TemporaryDirectory(prefix="cas-checkpoint-") as target:
            yield self.to_directory(target)

    def to_bytes(self) -> bytes:
        """The whole checkpoint as one byte string that needs no store; `from_bytes` reads it."""
        return encode_bundle(self._content.tree(), self._content.iter_file)

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
        return write_at(self._content, uri, overwrite=overwrite)

    def __reduce__(self) -> tuple[Any, ...]:
        stored = self._ensure_stored()
        return _unpickle, (type(self), str(stored.digest), stored.url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._content.describe()})"

    # -- for the store

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """What a writer stores: the files, and the empty directories."""
        return self._content.sources()

    def digest_in(self, store: Store) -> Digest | None:
        """The hash, if the content is known to be in that very store."""
        content = self._content
        return content.digest if isinstance(content, StoredContent) and content.url == store.url else None

    def _files(self) -> Mapping[str, Ranges]:
        if not isinstance(self._content, StoredContent):
            return self._content.ranges()
        if self._stored_files is None:
            self._stored_files = self._content.ranges()
        return self._stored_files

    def _check_path(self, files: Mapping[str, Ranges], path: str) -> None:
        if path not in files:
            known = ", ".join(islice(files, 5)) or "nothing"
            raise NotFoundError(f"no file {path!r} in {self!r}; it has {known}")

    def _ensure_stored(self) -> StoredContent:
        if not isinstance(self._content, StoredContent):
            from cas.checkpoint.store import Store

            with Store.open(self._store) as store:
                self._content = StoredContent(store.keep(self), store.url)
        return self._content


def _unpickle(kind: type[Checkpoint], checkpoint: str, url: str) -> Checkpoint:
    return kind.from_hash(checkpoint, store=url)

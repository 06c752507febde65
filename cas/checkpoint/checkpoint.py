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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.checkpoint.bundle import decode_bundle, encode_bundle
from cas.checkpoint.contents import Content, DirectoryContent, MemoryContent, StoredContent
from cas.checkpoint.dict_view import content_of_dict, dict_of_content
from cas.format import Digest
from cas.repository import Source, locate_store

if TYPE_CHECKING:
    from cas.checkpoint.store import Store

__all__ = ["Checkpoint"]


class Checkpoint:
    """A model's checkpoint, wherever its bytes are.

    Make one by `from_directory`, `from_dict`, `from_bytes` or `from_hash`; ask it for
    `hash`, `to_directory`, `as_directory`, `to_dict` or `to_bytes`. Pickling it stores
    the content and pickles a reference of a few hundred bytes: the store's URL and the hash.
    """

    def __init__(self, content: Content, store: str) -> None:
        """Use the ``from_*`` methods instead."""
        self._content = content
        self._store = store
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

    # -- views

    @property
    def hash(self) -> str:
        """The checkpoint hash. The content is durable in the store once you have it."""
        return str(self._ensure_stored().digest)

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

    def _ensure_stored(self) -> StoredContent:
        if not isinstance(self._content, StoredContent):
            from cas.checkpoint.store import Store

            with Store.open(self._store) as store:
                self._content = StoredContent(store.keep(self), store.url)
        return self._content


def _unpickle(kind: type[Checkpoint], checkpoint: str, url: str) -> Checkpoint:
    return kind.from_hash(checkpoint, store=url)

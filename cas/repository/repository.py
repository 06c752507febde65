"""A repository: one store, opened.

Opening reads ``format.json`` and nothing else. The index is opened on first use:
what needs only objects (pull by hash, cat, a ref) never touches a database.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

from cas.clock import now_us
from cas.errors import ConflictError, CorruptError, NotFoundError, RefusedError
from cas.format import Commit, Digest, RefRecord, StoreFormat
from cas.format.store_format import FORMAT_KEY
from cas.index import discard_index, open_index, upgrade
from cas.progress import SILENT, Progress
from cas.repository.cache import ChunkCache, cache_bytes
from cas.repository.catch_up import CatchUp
from cas.repository.keys import COMMITS, PACKS, object_key
from cas.repository.leases import HeldLease
from cas.repository.locate import INDEX_NAME, index_is_named, index_url, user_store
from cas.repository.reader import Reader
from cas.repository.rebuild import Rebuilt, rebuild
from cas.repository.refs import DETACHED, Refs, detached_name
from cas.repository.revisions import Revision, resolve
from cas.repository.source import Source
from cas.repository.writer import Stored, Writer
from cas.storage import Storage, foreign_names, open_storage, require_exclusive_create

if TYPE_CHECKING:
    from cas.index import Index

__all__ = ["PutResult", "Repository"]

_REF_TRIES = 50
_BEFORE_THE_STORE = frozenset({"remotes.json"})  # `cas remote add` needs none


@dataclass(frozen=True, slots=True)
class PutResult:
    """What one put came to.

    Attributes:
        checkpoint: the hash of the content.
        commit: what was said about it; ``commit.id`` is its name.
        ref: the ref that points at the commit now.
        files: how many files the checkpoint has.
        logical_bytes: what a plain copy of them would take.
        new_bytes: raw bytes of chunks that the store did not have.
        stored_bytes: what was written to packs for them.
    """

    checkpoint: Digest
    commit: Commit
    ref: str
    files: int
    logical_bytes: int
    new_bytes: int
    stored_bytes: int


class Repository:
    """One store: put trees in, read them back, move refs, ask the index.

    Use `Repository.open`, close it when done, or use it as a context manager. May be
    shared by threads; puts take turns.
    """

    def __init__(self, storage: Storage, declared: StoreFormat) -> None:
        self.storage, self.declared = storage, declared
        self.reader = Reader(storage, _node_cache(storage))
        self.refs = Refs(storage)
        self._tips: dict[str, RefRecord] = {}  # where this session left refs
        self._written: dict[Digest, Commit] = {}  # commits of this session that the index does not know yet
        self._writer: Writer | None = None
        self._writing = threading.RLock()

    # -- open and close

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> Repository:
        """Open the store that ``url`` names.

        Args:
            url: a folder, ``s3://bucket/prefix``, ``memory://name`` or any fsspec URL.
            create: make an empty store if there is none. The user's own store always is.

        Raises:
            NotFoundError: there is no store.
            FormatError: a newer cas wrote it, or it is something else.
        """
        storage = open_storage(url)
        try:
            data = storage.read(FORMAT_KEY)
        except NotFoundError as error:
            if not create and storage.local_path != str(user_store()):
                storage.close()
                raise NotFoundError(
                    f"{storage.url} is not a cas store; make one with `cas init {storage.url}`"
                ) from error
            return cls.init(url)
        return cls(storage, StoreFormat.decode(data, f"{FORMAT_KEY} of {storage.url}"))

    @classmethod
    def init(cls, url: str) -> Repository:
        """Make an empty store, or open the one that is there already.

        Raises:
            RefusedError: the folder has other things in it, or the storage cannot hold refs.
        """
        storage = open_storage(url)
        require_exclusive_create(storage, prove=True)
        _refuse_occupied(storage)
        declared = StoreFormat(os.urandom(16).hex(), now_us())
        try:
            storage.create(FORMAT_KEY, [declared.encode()])
        except ConflictError:
            declared = StoreFormat.decode(storage.read(FORMAT_KEY), f"{FORMAT_KEY} of {storage.url}")
        return cls(storage, declared)

    @property
    def url(self) -> str:
        """What names the store, without secrets."""
        return self.storage.url

    @property
    def index_url(self) -> str:
        """Where this store's index lies."""
        return index_url(self.storage.local_path, self.declared.store_id)

    @property
    def _own_index(self) -> str | None:
        path = self.storage.local_path
        return None if path is None else os.path.join(path, INDEX_NAME)

    @cached_property
    def index(self) -> Index:
        """The index, opened now; one that is new to a store that is not is rebuilt first."""
        with ExitStack() as stack:
            index = stack.enter_context(open_index(self.index_url))
            index.bind(self.declared.store_id)
            if index.is_empty() and next(iter(self.storage.list(f"{PACKS}/")), None) is not None:
                rebuild(self.storage, self.declared.store_id, index, self.reader, self.refs)
            stack.pop_all()
        return index

    def close(self) -> None:
        """Release the lease, stop the threads, give back connections."""
        with ExitStack() as stack:  # each is closed, whatever the others raise
            stack.callback(self.storage.close)
            if "index" in self.__dict__:
                stack.callback(self.__dict__.pop("index").close)
            with self._writing:
                if self._writer is not None:
                    stack.callback(self._writer.close)
                    self._writer = None

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- write

    def put(
        self,
        sources: Sequence[Source],
        empty_directories: Iterable[str] = (),
        *,
        ref: str | None = None,
        about: Commit | None = None,
        progress: Progress = SILENT,
    ) -> PutResult:
        """Store files as one checkpoint, say what is known about it, and point a ref at it.

        Args:
            sources: the files.
            empty_directories: directories with nothing in them.
            ref: the name to move; without one the commit gets a ref of its own, so that it is a root.
            about: everything but the checkpoint, as a commit whose checkpoint is ignored. Without
                parents, the ref's last commit becomes the parent.
            progress: told of raw bytes as they are read.
        """
        with self._writing:
            stored = self.store_tree(sources, empty_directories, progress)
            commit, name = self.commit(stored.tree.hash, ref=ref, about=about)
        return PutResult(
            stored.tree.hash, commit, name, len(stored.tree.files),
            stored.tree.size_bytes, stored.new_bytes, stored.stored_bytes,
        )  # fmt: skip

    def store_tree(
        self, sources: Sequence[Source], empty_directories: Iterable[str] = (), progress: Progress = SILENT
    ) -> Stored:
        """Store files durably, without a commit: nothing keeps them from gc once this process ends."""
        with self._writing:
            return self.writer().put(sources, empty_directories, progress)

    def commit(self, checkpoint: Digest, *, ref: str | None = None, about: Commit | None = None) -> tuple[Commit, str]:
        """Say something about a stored checkpoint and point a ref at it; the commit and the ref's name."""
        about = about or Commit(checkpoint, time_us=now_us())
        commit = replace(about, checkpoint=checkpoint)
        if ref is None:
            self._commit_to(detached_name(commit.id), commit, 0)
            return commit, detached_name(commit.id)
        for _ in range(_REF_TRIES):
            tip = self._tip(ref)
            if not about.parents and tip is not None and tip.commit is not None:
                commit = replace(commit, parents=(tip.commit,))
            if self._commit_to(ref, commit, tip.sequence if tip else 0):
                return commit, ref
        raise ConflictError(f"ref {ref!r} moved {_REF_TRIES} times while it was to be moved; try again")

    def _commit_to(self, name: str, commit: Commit, after: int) -> bool:
        """Write a commit and point a ref at it; the index learns of both at once. False if the ref has moved."""
        self._write_commit(commit)
        try:
            self.advance(name, commit.id, after)
        except ConflictError:
            self._written.pop(commit.id, None)  # nothing will ever lead to it
            return False
        return True

    def add_commit(self, commit: Commit) -> None:
        """Write a commit whose checkpoint is stored. The index learns of it once a ref leads to it."""
        self._write_commit(commit)
        if self.index.has_child(commit.id):  # a history that ended there is filled in
            self._catching_up().ancestors(commit.id)

    def _write_commit(self, commit: Commit) -> None:
        with suppress(ConflictError):  # the same was said at the same microsecond: it is there
            self.storage.create(object_key(COMMITS, commit.id), [commit.encode()])
        self._written[commit.id] = commit

    def move_ref(self, name: str, commit: Digest | None) -> RefRecord:
        """Point ``name`` at a commit, wherever it points now; None deletes the name."""
        for _ in range(_REF_TRIES):
            tip = self.refs.find(name)
            if commit is None and (tip is None or tip.commit is None):
                raise NotFoundError(f"no ref {name!r} in {self.url}; see `cas refs`")
            if record := self._try_advance(name, commit, tip.sequence if tip else 0):
                return record
        raise ConflictError(f"ref {name!r} moved {_REF_TRIES} times while it was to be moved; try again")

    def advance(self, name: str, commit: Digest | None, after: int) -> RefRecord:
        """Point ``name`` at a commit by the record that follows number ``after``.

        Raises:
            ConflictError: that record is there: somebody else has moved the ref.
            RefusedError: the storage cannot promise a single winner.
        """
        self._tips.pop(name, None)
        record = self.refs.advance(name, commit, after)
        if not name.startswith(f"{DETACHED}/"):  # those move once
            self._tips[name] = record
        # Unless others have moved the ref and the index has not seen it, one transaction does.
        written = self._written.get(commit) if commit is not None else None
        if not self.index.follow(record, written):
            self._catching_up().one_ref(name)
        elif written is not None:
            self._written.pop(written.id, None)
        return record

    def writer(self) -> Writer:
        """The writer of this session; its lease is opened on first use and kept until `close`."""
        with self._writing:
            if self._writer is None:
                require_exclusive_create(self.storage, prove=False)  # else all is uploaded before the ref is refused
                if self.index_url != self._own_index:
                    self.catch_up()  # others may have an index of their own: learn what not to store again
                self._writer = Writer(self.storage, self.index, self.reader, HeldLease(self.storage))
            return self._writer

    # -- read

    def resolve(self, rev: str) -> Revision:
        """What a REV means here."""
        return resolve(rev, self.storage, self.reader, self.refs)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and its first parents, newest first, as far as this store has them."""
        while True:
            yield commit
            if not commit.parents:
                return
            try:
                commit = self.reader.commit(commit.parents[0])
            except NotFoundError:
                return

    def live_refs(self, *, detached: bool = False) -> Iterator[tuple[str, Digest]]:
        """The refs that are not deleted and the commits they point at; with ``detached`` those nobody named too."""
        for name, sequence in self.refs.heads():
            if detached or not name.startswith(f"{DETACHED}/"):
                commit = self.refs.read(name, sequence).commit
                if commit is not None:
                    yield name, commit

    def catch_up(self) -> int:
        """Let the index learn what others wrote; how many refs had moved."""
        return self._catching_up().all_refs()

    def _catching_up(self) -> CatchUp:
        return CatchUp(self.storage, self.index, self.reader, self.refs, self._written)

    def upgrade_index(self) -> tuple[str | None, str]:
        """Bring the index's schema up to this version's; the versions before and after."""
        return upgrade(self.index_url)

    def reindex(self, progress: Progress = SILENT) -> Rebuilt:
        """Rebuild the index from the store alone; a damaged one is thrown away first.

        What is damaged in the store is left out of it, and named in the result.

        Raises:
            RefusedError: it is damaged, and somebody else chose its name: it may be something else.
        """
        index = self._sound_index()
        return rebuild(self.storage, self.declared.store_id, index, self.reader, self.refs, progress)

    def _sound_index(self) -> Index:
        try:
            self.index.check()
        except CorruptError as error:
            if index_is_named():
                raise RefusedError(
                    f"{error};\ncas deletes only what it named itself: remove what CAS_INDEX names, then reindex again"
                ) from error
            with self._writing:
                if self._writer is not None:
                    self._writer.close()
                    self._writer = None
                if "index" in self.__dict__:
                    self.__dict__.pop("index").close()
                discard_index(self.index_url)
        return self.index

    def _tip(self, name: str) -> RefRecord | None:
        """The record of a ref that holds now: one request, and no listing, if this session moved it last."""
        left = self._tips.get(name)
        if left is not None and not self.refs.has(name, left.sequence + 1):
            return left
        return self.refs.find(name)

    def _try_advance(self, name: str, commit: Digest | None, after: int) -> RefRecord | None:
        try:
            return self.advance(name, commit, after)
        except ConflictError:
            return None


def _node_cache(storage: Storage) -> ChunkCache | None:
    """The node's cache, for a storage that is not on this machine anyway."""
    near = storage.local_path is not None or storage.url.startswith("memory:")
    limit_bytes = 0 if near else cache_bytes()
    return ChunkCache(limit_bytes) if limit_bytes else None


def _refuse_occupied(storage: Storage) -> None:
    path = storage.local_path
    if path is None:
        return
    others = [name for name in foreign_names(path) if name not in _BEFORE_THE_STORE]
    # Looked for last: whoever makes the same store at this moment writes it before anything else.
    if others and not os.path.lexists(os.path.join(path, FORMAT_KEY)):
        raise RefusedError(f"{path} has other things in it ({others[0]!r}); give an empty or a new folder")

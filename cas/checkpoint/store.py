"""The store as its users see it: put, get, and everything the command line does."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cas.checkpoint.facts import plain_metrics, plain_params, plain_step
from cas.clock import now_us
from cas.codecs import CodecId
from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError
from cas.format import EMPTY, Buffer, Commit, Digest, Param, Tree
from cas.maintenance import FsckReport, fsck
from cas.progress import SILENT, Progress
from cas.repository import DETACHED, PutResult, Repository, Revision, locate_store
from cas.repository.locate import DIRECTORY_NAME
from cas.repository.rebuild import Rebuilt
from cas.transfer import Mirrored, Moved, Remotes, mirror, transfer
from cas.worktree import RestoreResult, directory_sources, restore

if TYPE_CHECKING:
    from cas.checkpoint.checkpoint import Checkpoint

__all__ = ["CodecStats", "Store", "StoreStats"]


@dataclass(frozen=True, slots=True)
class CodecStats:
    """What one codec holds: how many chunks, their raw and their stored bytes."""

    codec: str
    chunks: int
    raw_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a store holds.

    Attributes:
        commits, checkpoints: how many.
        logical_bytes: what plain copies of the distinct checkpoints would take.
        unique_bytes: raw bytes of distinct chunks.
        stored_bytes: the same chunks as they are encoded.
        pack_bytes: the packs, headers and tables included.
        codecs: the same by codec.
    """

    commits: int
    checkpoints: int
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    pack_bytes: int
    codecs: tuple[CodecStats, ...]

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "commits": self.commits,
            "checkpoints": self.checkpoints,
            "logical_bytes": self.logical_bytes,
            "unique_bytes": self.unique_bytes,
            "stored_bytes": self.stored_bytes,
            "pack_bytes": self.pack_bytes,
            "codecs": {
                c.codec: {"chunks": c.chunks, "raw_bytes": c.raw_bytes, "stored_bytes": c.stored_bytes}
                for c in self.codecs
            },
        }


class Store:
    """A store, opened. Close it when done, or use it as a context manager; threads may share it."""

    def __init__(self, repository: Repository, url: str | None = None) -> None:
        """An open repository; ``url`` is what it was opened by, secrets and all."""
        self.repository = repository
        self._opened_by = url or repository.url

    @classmethod
    def open(cls, store: str | os.PathLike[str] | None = None, *, create: bool = False) -> Store:
        """Open a store.

        Args:
            store: its URL; else ``CAS_STORE``, else the nearest ``.cas/`` upwards, else your own.
            create: make an empty one if there is none.

        Raises:
            NotFoundError: there is no store; the message says how to make one.
        """
        url = locate_store(store)
        return cls(Repository.open(url, create=create), url)

    @classmethod
    def init(cls, store: str | os.PathLike[str] | None = None) -> Store:
        """Make a store at a URL, by default ``.cas`` in the current directory; one that is there is opened."""
        url = os.fspath(store) if store else os.path.abspath(DIRECTORY_NAME)
        return cls(Repository.init(url), url)

    @property
    def url(self) -> str:
        """What names the store, without secrets."""
        return self.repository.url

    @property
    def store_id(self) -> str:
        """The store's own random name: tells it from any other that had its URL."""
        return self.repository.declared.store_id

    def close(self) -> None:
        """Release the lease and give back connections."""
        self.repository.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- content

    def put(
        self,
        content: str | os.PathLike[str] | Mapping[str, Any] | Checkpoint,
        *,
        ref: str | None = None,
        parents: str | Iterable[str] = (),
        message: str = "",
        metrics: Mapping[str, int | float] | None = None,
        params: Mapping[str, Param] | None = None,
        run: str = "",
        trial: str = "",
        step: int | None = None,
        author: str | None = None,
        follow_symlinks: bool = False,
        allow_pickle: bool | None = None,
        progress: Progress = SILENT,
    ) -> PutResult:
        """Store a checkpoint and say what is known about it.

        Args:
            content: a directory, a dict, or a `Checkpoint`.
            ref: the name to move to the new commit; without one the commit is kept all the same.
            parents: REVs of commits that it was trained from; else the ref's last commit.
            message, run, trial, step, metrics, params, author: what the commit says.
            follow_symlinks: store what symlinks inside a directory point to.
            allow_pickle: whether objects in a dict may be pickled; else ``CAS_ALLOW_PICKLE``.
            progress: told of raw bytes as they are read.

        Returns:
            The hash, the commit, and how much of it was new.
        """
        from cas.checkpoint.checkpoint import Checkpoint

        if ref is not None:
            _check_own_name(ref)
        parents = [parents] if isinstance(parents, str) else list(parents)
        about = Commit(
            EMPTY,  # not known yet: the repository fills it in
            parents=tuple(self._commit_of(parent).id for parent in parents),
            time_us=now_us(), author=author if author is not None else default_author(), message=message,
            run=run, trial=trial, step=plain_step(step), metrics=plain_metrics(metrics), params=plain_params(params),
        )  # fmt: skip
        if isinstance(content, str | os.PathLike) and not isinstance(content, Checkpoint):
            sources, empty = directory_sources(Path(content), follow_symlinks=follow_symlinks)
        else:
            if isinstance(content, Mapping):
                content = Checkpoint.from_dict(content, allow_pickle=allow_pickle)
            if not isinstance(content, Checkpoint):
                raise FormatError(f"cannot store a {type(content).__name__}: give a directory, a dict or a Checkpoint")
            if (digest := content.digest_in(self)) is not None:
                return self._commit_again(digest, ref, about)
            sources, empty = content.sources()
        return self.repository.put(sources, empty, ref=ref, about=about, progress=progress)

    def keep(self, checkpoint: Checkpoint) -> Digest:
        """Make a checkpoint's content durable here, and a root, if it is not one already; its hash."""
        digest = checkpoint.digest_in(self)
        if digest is None:
            digest = self.repository.store_tree(*checkpoint.sources()).tree.hash
        if not self.repository.index.commits_of(digest):
            self.repository.commit(digest, about=Commit(digest, time_us=now_us(), author=default_author()))
        return digest

    def get(self, rev: str | Digest) -> Checkpoint:
        """The checkpoint that a REV names. Its content is read when it is asked for."""
        from cas.checkpoint.checkpoint import Checkpoint

        return Checkpoint.from_hash(str(self.resolve(rev).checkpoint), store=self._opened_by)

    def pull(
        self, rev: str | Digest, path: str | os.PathLike[str], *, overwrite: bool = False, progress: Progress = SILENT
    ) -> RestoreResult:
        """Write a checkpoint's files into a directory.

        Args:
            rev: which.
            path: the directory; made if it is not there. Files it has that are not in the checkpoint stay.
            overwrite: replace files that are there and differ; otherwise they are a ConflictError.
            progress: told of raw bytes as they are written.
        """
        reader = self.repository.reader
        manifest = reader.manifest(self.resolve(rev).checkpoint)
        return restore(reader, manifest, Path(path), overwrite=overwrite, progress=progress)

    def tree(self, rev: str | Digest) -> Tree:
        """The files of a checkpoint."""
        return self.repository.reader.manifest(self.resolve(rev).checkpoint).tree

    def iter_file(self, rev: str, path: str) -> Iterator[Buffer]:
        """One file of a checkpoint, piece by piece, verified."""
        reader = self.repository.reader
        manifest = reader.manifest(self.resolve(rev).checkpoint)
        return reader.iter_blob(manifest, manifest.tree.entry(path))

    # -- other stores

    @property
    def remotes(self) -> Remotes:
        """Names for other stores' URLs. `push`, `fetch` and the like take a name where they take a URL."""
        return Remotes(self.url)

    def push(self, rev: str, url: str, *, force: bool = False, progress: Progress = SILENT) -> Moved:
        """Bring a checkpoint, and the commit or ref that ``rev`` names, into another store.

        Only what that one lacks moves. ``force`` moves a ref that points at another history there.
        """
        with Repository.open(self.remotes.locate(url)) as target:
            return transfer(self.repository, target, self.resolve(rev), force=force, progress=progress)

    def push_all(self, url: str, *, force: bool = False, progress: Progress = SILENT) -> Mirrored:
        """Bring all refs, and the history and content they lead to, into another store."""
        with Repository.open(self.remotes.locate(url)) as target:
            return mirror(self.repository, target, force=force, progress=progress)

    def fetch(self, rev: str, url: str, *, force: bool = False, progress: Progress = SILENT) -> Moved:
        """Bring a checkpoint from another store into this one; the reverse of `push`."""
        with Repository.open(self.remotes.locate(url)) as source:
            return transfer(source, self.repository, source.resolve(rev), force=force, progress=progress)

    @classmethod
    def clone(
        cls, url: str, store: str | os.PathLike[str] | None = None, *, progress: Progress = SILENT
    ) -> tuple[Store, Mirrored]:
        """Make a store with everything that another has, which it remembers as its remote ``origin``.

        Interrupted, it can be run again and goes on.

        Args:
            url: the other store.
            store: where; by default ``.cas`` in the current directory.
            progress: told of bytes as they arrive.

        Raises:
            ConflictError: there is a store already, and its ``origin`` is another.
        """
        with Repository.open(url) as source:
            opened = cls.init(store)
            try:
                opened.remotes.add("origin", url)
                return opened, mirror(source, opened.repository, progress=progress)
            except BaseException:
                opened.close()
                raise

    # -- history

    def resolve(self, rev: str | Digest) -> Revision:
        """What a REV means: a hash, a prefix of 8 digits or more, a ref, a commit, or one of these and ``~n``."""
        return self.repository.resolve(str(rev))

    def log(
        self,
        rev: str | None = None,
        *,
        run: str | None = None,
        trial: str | None = None,
        where: str | Sequence[str] = (),
        limit: int | None = None,
    ) -> list[Commit]:
        """Commits, newest first: the history of a REV, or all that the store has.

        Args:
            rev: whose history; with ``*`` or ``?`` that of all refs of such names together (``runs/first/*``).
            run, trial: only those of this run or trial.
            where: a search, or several that must all be true: ``metrics.loss < 0.1 and params.lr >= 1e-4``
                (docs/search.md).
            limit: at most so many.

        Raises:
            FormatError: a search is malformed.
        """
        if rev is not None and _is_pattern(rev):
            tips = [tip for name, tip in self.refs().items() if fnmatchcase(name, rev)]
            if not tips:
                raise NotFoundError(f"no ref matches {rev!r} in {self.url}; see `cas refs`")
            lines = (self.log(str(tip), run=run, trial=trial, where=where, limit=limit) for tip in tips)
            found = {commit.id: commit for line in lines for commit in line}
            return sorted(found.values(), key=lambda commit: (commit.time_us, commit.id), reverse=True)[:limit]
        searches = _searches(where)
        tip = None
        if searches and rev is not None:
            tip = self._commit_of(rev).id
        if searches or rev is None:
            self.repository.catch_up()
            index = self.repository.index
            if tip is not None and index.find_commit(tip) is None:
                raise NotFoundError(
                    f"no ref leads to commit {tip}, so searches miss it; `cas tag NAME {tip}` makes one"
                )
            return index.log(run=run, trial=trial, where=searches, tip=tip, limit=limit)
        history = []
        for commit in self.repository.history(self._commit_of(rev)):
            if (run is None or commit.run == run) and (trial is None or commit.trial == trial):
                history.append(commit)
            if len(history) == limit:
                break
        return history

    def commits_of(self, checkpoint: Digest) -> list[Commit]:
        """Every commit of one checkpoint, newest first."""
        self.repository.catch_up()
        return self.repository.index.commits_of(checkpoint)

    def refs(self, *, everything: bool = False) -> dict[str, Digest]:
        """Names and the commits they point at; with ``everything`` also those of commits nobody named."""
        return dict(self.repository.live_refs(detached=everything))

    def tag(self, name: str, rev: str, *, force: bool = False) -> Digest:
        """Give a REV a name; the commit it points at.

        Raises:
            ConflictError: the name points elsewhere, and ``force`` was not given.
        """
        _check_own_name(name)
        commit = self._commit_of(rev)
        tip = self.repository.refs.find(name)
        if tip is not None and tip.commit == commit.id:
            return commit.id
        if tip is not None and tip.commit is not None and not force:
            raise ConflictError(f"{name!r} names {tip.commit} already; give --force (force=True) to move it")
        self.repository.move_ref(name, commit.id)
        return commit.id

    def delete_ref(self, name: str) -> None:
        """Delete a name. What it pointed at stays as long as another root or gc's grace keeps it."""
        self.repository.move_ref(name, None)

    def best(
        self,
        metric: str,
        *,
        maximize: bool = False,
        run: str | None = None,
        trial: str | None = None,
        where: str | Sequence[str] = (),
        limit: int = 1,
    ) -> list[Commit]:
        """The commits with the lowest ``metric``, or with ``maximize`` the highest; NaN is never best.

        Args:
            metric: its name.
            maximize: whether the highest is best.
            run, trial, where: only of these commits, as for `log`.
            limit: at most so many.

        Raises:
            FormatError: a search is malformed.
            NotFoundError: no commit has that metric.
        """
        searches = _searches(where)
        self.repository.catch_up()
        found = self.repository.index.best(metric, maximize=maximize, run=run, trial=trial, where=searches, limit=limit)
        if not found:
            whose = "".join(f" of {kind} {name!r}" for kind, name in (("run", run), ("trial", trial)) if name)
            which = " that the search finds" if searches else ""
            raise NotFoundError(f"no commit{whose}{which} has a metric {metric!r}; see `cas log`")
        return [commit for commit, _ in found]

    # -- the store itself

    def stats(self) -> StoreStats:
        """Count what the store holds."""
        self.repository.catch_up()
        found = self.repository.index.stats()
        codecs = (
            CodecStats(CodecId(codec).name.lower(), chunks, raw, stored)
            for codec, (chunks, raw, stored) in found.by_codec.items()
        )
        return StoreStats(
            found.commits, found.checkpoints, found.logical_bytes, found.unique_bytes, found.stored_bytes,
            found.pack_bytes, tuple(codecs),
        )  # fmt: skip

    def fsck(self, *, read_data: bool = False, progress: Progress = SILENT) -> FsckReport:
        """Check that all is whole; with ``read_data`` every byte."""
        return fsck(self.repository, read_data=read_data, progress=progress)

    def upgrade_index(self) -> tuple[str | None, str]:
        """Bring the index's schema up to this version's; the versions before and after."""
        return self.repository.upgrade_index()

    def reindex(self, *, progress: Progress = SILENT) -> Rebuilt:
        """Rebuild the index from the object store alone; what is damaged there is left out and named."""
        return self.repository.reindex(progress)

    def _commit_of(self, rev: str) -> Commit:
        found = self.resolve(rev)
        if found.commit is not None:
            return found.commit
        commits = self.commits_of(found.checkpoint)
        if not commits:
            raise FormatError(f"{rev!r} is a checkpoint without a commit; put it with a message first")
        return commits[0]

    def _commit_again(self, digest: Digest, ref: str | None, about: Commit) -> PutResult:
        tree = self.repository.reader.manifest(digest).tree
        commit, name = self.repository.commit(digest, ref=ref, about=about)
        return PutResult(digest, commit, name, len(tree.files), tree.size_bytes, 0, 0)


def _check_own_name(name: str) -> None:
    if name.partition("/")[0] == DETACHED:
        raise RefusedError(f"names under {DETACHED}/ belong to commits that nobody named; choose another")


def _is_pattern(rev: str) -> bool:
    return "*" in rev or "?" in rev  # which no name of a ref has


def _searches(where: str | Sequence[str]) -> Sequence[str]:
    return [where] if isinstance(where, str) else where


def default_author() -> str:
    """Who commits, if nobody says: ``CAS_AUTHOR``, else the login name."""
    if named := os.environ.get("CAS_AUTHOR"):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return ""

"""A store, and the area of its runs, opened in this process for as long as it lives.

Whatever of a process touches a run (file systems that were unpickled many times over, callbacks, upload functions)
shares one, so that files that are not stored yet are seen by all, and a lease is held once.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, ClassVar

from cas.checkpoint.store import default_author
from cas.clock import now_us
from cas.errors import CasError, NotFoundError
from cas.format import Commit, Digest, Manifest, Param, Tree
from cas.integrations.run_area import RunArea, Sealed
from cas.integrations.run_staging import Sink, Staging, Upload
from cas.repository import Repository
from cas.repository.rebuild import read_toc
from cas.storage import open_storage
from cas.views import StoredFiles
from cas.worktree import directory_sources

__all__ = ["Report", "RunStore"]

_VIEWS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Report:
    """What a training program says about a checkpoint.

    Attributes:
        run, trial: which experiment and which of its trials; their names in it.
        step: training step, or None.
        metrics, params: as of a commit.
        trained_from: the path of the checkpoint directory that this one was trained from, if it is known.
    """

    run: str
    trial: str
    step: int | None
    metrics: Mapping[str, int | float]
    params: Mapping[str, Param]
    trained_from: str | None = None

    @property
    def ref(self) -> str:
        """The ref that its checkpoints are on."""
        return f"runs/{_ref_part(self.run)}/{_ref_part(self.trial)}"


class RunStore:
    """One store and its area. `RunStore.at` gives the one of this process. May be used by threads."""

    _opened: ClassVar[dict[tuple[int, str, str], RunStore]] = {}
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, store_url: str, area_url: str) -> None:
        """Use `at` instead."""
        self.repository = Repository.open(store_url)
        self.area = RunArea(open_storage(area_url))
        self.staging = Staging()
        self._settling = threading.RLock()
        self._files = lru_cache(_VIEWS_KEPT)(self._open_files)

    @classmethod
    def at(cls, store_url: str, area_url: str) -> RunStore:
        """The one of this process, opened now if it was not.

        Raises:
            NotFoundError: there is no such store.
        """
        name = (os.getpid(), store_url, area_url)  # after a fork, connections are the parent's
        with cls._opening:
            if name not in cls._opened:
                cls._opened[name] = cls(store_url, area_url)
            return cls._opened[name]

    @classmethod
    def find(cls, store_url: str, area_url: str) -> RunStore | None:
        """The one of this process, if it was opened."""
        return cls._opened.get((os.getpid(), store_url, area_url))

    @classmethod
    def close_all(cls) -> None:
        """Release what this process has open; it is opened again when it is needed."""
        with cls._opening:
            opened, cls._opened = cls._opened, {}
        for (process, _, _), store in opened.items():
            if process == os.getpid():
                store._close()

    # -- write

    def sink(self, checkpoint: str, inner: str) -> Sink:
        """A file to write below a checkpoint directory.

        As part of an upload it is stored by `settle`. Else it changes what is there already, and
        is stored when it is closed.
        """

        def finish(file: IO[bytes], size_bytes: int) -> None:
            if not self.staging.add(checkpoint, inner, file, size_bytes):
                self._settle(self.staging.take(checkpoint))

        return Sink(finish)

    def settle(self) -> None:
        """Store everything that this process has written below checkpoint directories, and bind their paths."""
        self._settle(self.staging.take())

    def put_directory(self, checkpoint: str, directory: Path) -> None:
        """Store a local directory as a whole, and bind a path to it."""
        with self._settling:
            stored = self.repository.store_tree(*directory_sources(directory))
            self.area.bind(checkpoint, stored.tree.hash, anew=True)

    def _settle(self, uploads: Sequence[Upload]) -> None:
        with self._settling:
            for upload in uploads:
                try:
                    stored = self.repository.store_tree(list(upload.files.values()), upload.empty_directories())
                    self._bind(upload, stored.tree.hash)
                finally:
                    upload.close()

    def _bind(self, upload: Upload, tree: Digest) -> None:
        self.area.bind(upload.checkpoint, tree, anew=upload.begun)
        if upload.begun:
            return
        # A finished checkpoint was edited: what its path stands for now must be kept as well.
        sealed = self.area.binding(upload.checkpoint).sealed
        if sealed is not None:
            before = self.repository.reader.commit(sealed.commit)
            ref = f"runs/{_ref_part(before.run)}/{_ref_part(before.trial)}"
            tip = self.repository.refs.find(ref)
            is_last = tip is not None and tip.commit == before.id
            about = replace(before, parents=(before.id,), time_us=now_us(), message="edited after it was reported")
            self._commit(upload.checkpoint, ref if is_last else None, about)

    # -- commit

    def commit(self, checkpoint: str, report: Report) -> Commit:
        """Make one commit of a checkpoint directory that is complete; the same again changes nothing.

        Raises:
            NotFoundError: nothing was stored for that path.
        """
        self.settle()
        with self._settling:
            binding = self.area.binding(checkpoint)
            if binding.sealed is not None and binding.is_committed:
                return self.repository.reader.commit(binding.sealed.commit)
            about = Commit(
                Digest(bytes(32)),  # not known yet
                parents=self._parents(report), time_us=now_us(), author=default_author(), run=report.run,
                trial=report.trial, step=report.step, metrics=report.metrics, params=report.params,
            )  # fmt: skip
            return self._commit(checkpoint, report.ref, about)

    def _commit(self, checkpoint: str, ref: str | None, about: Commit) -> Commit:
        binding = self.area.binding(checkpoint)
        manifest = self._whole(checkpoint, list(binding.parts.values()))
        self._learn(manifest)
        self.repository.writer().publish(manifest)
        commit, _ = self.repository.commit(manifest.tree.hash, ref=ref, about=about)
        self.area.seal(checkpoint, Sealed(commit.id, commit.checkpoint, frozenset(binding.parts)))
        return commit

    def _parents(self, report: Report) -> tuple[Digest, ...]:
        """What it was trained from, then the trial's own last one; none if that is the same, as for any commit."""
        if report.trained_from is None:
            return ()
        sealed = self.area.binding(report.trained_from).sealed
        tip = self.repository.refs.find(report.ref)
        own = tip.commit if tip is not None else None
        if sealed is None or sealed.commit == own:
            return ()
        return (sealed.commit,) if own is None else (sealed.commit, own)

    # -- read

    def tree_of(self, checkpoint: str) -> Digest | None:
        """The hash of what a checkpoint directory stands for, durable in the store; None if it stands for nothing."""
        self.settle()
        parts = list(self.area.binding(checkpoint).parts.values())
        if len(parts) > 1:
            manifest = self._whole(checkpoint, parts)
            self.repository.writer().publish(manifest)
            return manifest.tree.hash
        return parts[0] if parts else None

    def parts_of(self, checkpoint: str) -> list[StoredFiles]:
        """The trees that a checkpoint directory is made of, oldest first."""
        return [self._files(part) for part in self.area.binding(checkpoint).parts.values()]

    def _open_files(self, tree: Digest) -> StoredFiles:
        files = StoredFiles(self.repository.reader, tree)
        # Whoever reads a checkpoint goes on from there: what it then stores again is known to be here.
        self._learn(files.manifest)
        return files

    def _whole(self, checkpoint: str, parts: Sequence[Digest]) -> Manifest:
        """One manifest of all parts; nothing is read but theirs."""
        if not parts:
            raise NotFoundError(
                f"nothing was stored for {checkpoint};\n"
                "give the run storage_filesystem=cas.integrations.ray_tune.storage(URL)"
            )
        manifests = [self.repository.reader.manifest(part) for part in parts]
        if len(manifests) == 1:
            return manifests[0]
        files = {entry.path: entry for manifest in manifests for entry in manifest.tree.files}
        directories = {path for manifest in manifests for path in manifest.tree.empty_directories}
        empty = [path for path in directories if not any(file.startswith(f"{path}/") for file in files)]
        recipes = [recipe for manifest in manifests for recipe in manifest.recipes.values()]
        locations = [location for manifest in manifests for location in manifest.locations.values()]
        return Manifest.of(Tree.of(files.values(), empty), recipes, locations)

    def _learn(self, manifest: Manifest) -> None:
        """Tell this machine's index of packs that another one's wrote."""
        index = self.repository.index
        for pack in {location.pack for location in manifest.locations.values()}:
            if not index.has_pack(pack):
                generation = self.repository.writer().generation
                index.add_pack(pack, *read_toc(self.repository.storage, pack), generation)

    def _close(self) -> None:
        for upload in self.staging.take():
            upload.close()
        self.area.close()
        self.repository.close()


def _ref_part(name: str) -> str:
    """A name as one component of a ref, in which some characters have another meaning."""
    return re.sub(r"[^A-Za-z0-9._=,+-]", "-", name).lstrip(".-")[:200] or "unnamed"


@atexit.register
def _close_at_exit() -> None:
    with suppress(CasError, OSError):  # a lease that cannot be given up lapses
        RunStore.close_all()

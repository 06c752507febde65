"""fsck: is everything that the store holds whole, and everything that is named there?

Structure is checked by reading every manifest, commit, ref, lease and every
pack's table of contents. With ``read_data`` every pack is read whole as well: its
bytes must hash to its name, every chunk must decode to its digest, and every blob
to its own. Reads the store alone; the index is not asked and not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cas.errors import CasError, CorruptError, NotFoundError
from cas.format import Digest, Lease, Manifest, PackEntry, RefRecord
from cas.format.pack import parse_pack
from cas.progress import SILENT, Progress
from cas.repository import Repository
from cas.repository.keys import COMMITS, LEASES, MANIFESTS, PACKS, REFS, digest_of, object_key
from cas.repository.rebuild import read_toc
from cas.storage import ObjectInfo, Storage

__all__ = ["FsckReport", "Problem", "fsck"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        key: the object that is damaged or missing.
        what: what is wrong with it.
        touches: checkpoints that cannot be read whole because of it.
    """

    key: str
    what: str
    touches: tuple[str, ...] = ()

    def __str__(self) -> str:
        hit = f"; touches {', '.join(self.touches)}" if self.touches else ""
        return f"{self.key}: {self.what}{hit}"


@dataclass(slots=True)
class FsckReport:
    """What `fsck` looked at and what it found."""

    packs: int = 0
    chunks: int = 0
    checkpoints: int = 0
    commits: int = 0
    refs: int = 0
    unreferenced_packs: int = 0
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "packs": self.packs,
            "chunks": self.chunks,
            "checkpoints": self.checkpoints,
            "commits": self.commits,
            "refs": self.refs,
            "unreferenced_packs": self.unreferenced_packs,
            "problems": [{"key": p.key, "what": p.what, "touches": list(p.touches)} for p in self.problems],
        }


def fsck(repository: Repository, *, read_data: bool = False, progress: Progress = SILENT) -> FsckReport:
    """Check a store.

    Args:
        repository: the store.
        read_data: also read and verify every stored byte.
        progress: told of stored bytes as they are checked.

    Returns:
        What was counted, and every problem found; none means that all is well.
    """
    return _Check(repository, read_data, progress).run()


class _Check:
    def __init__(self, repository: Repository, read_data: bool, progress: Progress) -> None:
        self._repository, self._read_data, self._progress = repository, read_data, progress
        self._storage: Storage = repository.storage
        self._report = FsckReport()
        self._packs: dict[Digest, frozenset[PackEntry]] = {}
        self._manifests: set[Digest] = set()
        self._used_packs: set[Digest] = set()
        self._refs: set[str] = set()
        self._read_blobs: set[Digest] = set()  # each blob is read once, however many checkpoints share it

    def run(self) -> FsckReport:
        self._progress.begin("fsck", None)
        try:
            for info in self._storage.list(f"{PACKS}/"):
                self._try(info, self._check_pack)
            # Manifests are read again, not kept: a store has more of them than memory.
            for info in self._storage.list(f"{MANIFESTS}/"):
                self._try(info, self._check_manifest)
            for info in self._storage.list(f"{COMMITS}/"):
                self._try(info, self._check_commit)
            for info in self._storage.list(f"{LEASES}/"):
                self._try(info, lambda key: Lease.decode(self._storage.read(key), key))
            for info in self._storage.list(f"{REFS}/"):
                self._try(info, self._check_ref)
        finally:
            self._progress.end()
        self._report.unreferenced_packs = len(self._packs.keys() - self._used_packs)
        return self._report

    def _problem(self, key: str, what: object, *touches: object) -> None:
        self._report.problems.append(Problem(key, str(what), tuple(str(item) for item in touches)))

    def _try(self, info: ObjectInfo, check: Callable[[str], object]) -> None:
        try:
            check(info.key)
        except CasError as error:
            self._problem(info.key, error)
        self._progress.advance(info.size_bytes)

    def _check_pack(self, key: str) -> None:
        pack = digest_of(key)
        self._report.packs += 1
        _, entries = read_toc(self._storage, pack)
        self._packs[pack] = frozenset(entries)
        self._report.chunks += len(entries)
        if self._read_data:
            data = self._storage.read(key)
            if (actual := Digest.of(data)) != pack:
                # Each chunk is read below: one flipped bit should not condemn its neighbours.
                raise CorruptError(pack, actual, key)
            parse_pack(data, key)

    def _check_manifest(self, key: str) -> None:
        self._report.checkpoints += 1
        manifest = Manifest.decode(self._storage.read(key), digest_of(key), key)
        self._manifests.add(manifest.tree.hash)
        for location in manifest.locations.values():
            self._used_packs.add(location.pack)
            where = object_key(PACKS, location.pack)
            if location.entry not in self._packs.get(location.pack, ()):
                self._problem(where, f"chunk {location.entry.digest} is not as its manifest says", manifest.tree.hash)
        if self._read_data:
            self._check_content(manifest)

    def _check_content(self, manifest: Manifest) -> None:
        for entry in manifest.tree.files:
            if entry.blob in self._read_blobs:
                continue
            self._read_blobs.add(entry.blob)
            try:
                for _ in self._repository.reader.iter_blob(manifest, entry):
                    pass
            except CasError as error:
                self._problem(f"{manifest.tree.hash}:{entry.path}", error, manifest.tree.hash)

    def _check_commit(self, key: str) -> None:
        self._report.commits += 1
        commit = self._repository.reader.commit(digest_of(key))
        if commit.checkpoint not in self._manifests:
            manifest = object_key(MANIFESTS, commit.checkpoint)
            self._problem(manifest, f"is missing or damaged, and commit {commit.id} names it", commit.checkpoint)

    def _check_ref(self, key: str) -> None:
        record = RefRecord.decode(self._storage.read(key), key)
        self._refs.add(record.name)
        self._report.refs = len(self._refs)
        if record.commit is not None:
            try:
                self._repository.reader.commit(record.commit)
            except NotFoundError:
                # Also of a record that no longer holds: it is how people go back.
                self._problem(key, f"points at commit {record.commit}, which is not there")
            except CasError:
                pass  # the commit's own problem, found under its own key

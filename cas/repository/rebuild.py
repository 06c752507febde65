"""Keeping the index true: rebuild it from the store, or catch up with what others wrote.

The object store is the truth. `rebuild` reads all of it; `catch_up` compares refs
by their keys alone and reads only what is new behind those that moved, which also
repairs an index whose writer died between the store and the index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.errors import NotFoundError
from cas.format import Digest
from cas.format.pack import FOOTER_BYTES, Footer, PackEntry, decode_toc
from cas.progress import SILENT, Progress
from cas.repository.keys import COMMITS, MANIFESTS, PACKS, digest_of, object_key
from cas.repository.leases import current_generation
from cas.repository.reader import Reader
from cas.repository.refs import Refs
from cas.storage.base import Storage

if TYPE_CHECKING:
    from cas.index import Index

__all__ = ["Rebuilt", "catch_up", "read_toc", "rebuild"]

_TAIL_BYTES = 64 << 10  # most tables of contents fit, so that one request reads one


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many objects of each kind `rebuild` read."""

    packs: int
    checkpoints: int
    commits: int
    refs: int


def read_toc(storage: Storage, pack: Digest) -> tuple[int, list[PackEntry]]:
    """A pack's size in bytes and its table of contents.

    Raises:
        NotFoundError, CorruptError: there is no such pack, or it is damaged.
    """
    key = object_key(PACKS, pack)
    tail, size_bytes = storage.read_tail(key, _TAIL_BYTES)
    footer = Footer.decode(tail[-FOOTER_BYTES:], size_bytes, key)
    if footer.toc_bytes + FOOTER_BYTES <= len(tail):
        table = tail[-FOOTER_BYTES - footer.toc_bytes : -FOOTER_BYTES]
    else:
        table = storage.read_range(key, footer.toc_offset, footer.toc_bytes)
    return size_bytes, decode_toc(table, footer, key)


def rebuild(
    storage: Storage, store_id: str, index: Index, reader: Reader, refs: Refs, progress: Progress = SILENT
) -> Rebuilt:
    """Replace all that the index holds by what the store holds, in one transaction.

    Raises:
        CorruptError: an object is damaged; the index stays as it was. `cas fsck` names all of them.
    """
    counts = {PACKS: 0, MANIFESTS: 0, COMMITS: 0}
    generation = current_generation(storage)

    def add_pack(pack: Digest) -> None:
        size_bytes, entries = read_toc(storage, pack)
        index.add_pack(pack, size_bytes, entries, generation)

    steps: list[tuple[str, Callable[[Digest], None]]] = [
        (PACKS, add_pack),
        (MANIFESTS, lambda key: index.add_checkpoint(reader.manifest(key))),
        (COMMITS, lambda key: index.add_commit(reader.commit(key))),
    ]
    progress.begin("reindex", None)
    try:
        with index.rebuilding():
            index.bind(store_id)
            for kind, add in steps:
                for info in storage.list(f"{kind}/"):
                    add(digest_of(info.key))
                    counts[kind] += 1
                    progress.advance(info.size_bytes)
            heads = list(refs.heads())
            for name, sequence in heads:
                index.set_ref(refs.read(name, sequence))
    finally:
        progress.end()
    return Rebuilt(counts[PACKS], counts[MANIFESTS], counts[COMMITS], len(heads))


def catch_up(storage: Storage, index: Index, reader: Reader, refs: Refs) -> int:
    """Learn what other writers have committed since the index was last told.

    Returns:
        How many refs had moved.
    """
    known = index.ref_sequences()
    moved = [(name, sequence) for name, sequence in refs.heads() if known.get(name, 0) < sequence]
    generation = current_generation(storage) if moved else 0
    for name, sequence in moved:
        record = refs.read(name, sequence)
        waiting = [record.commit] if record.commit else []
        while waiting:
            commit_id = waiting.pop()
            if index.find_commit(commit_id) is not None:
                continue
            try:
                commit = reader.commit(commit_id)
            except NotFoundError:
                continue  # history that was never brought here: a push moves commits without their ancestors
            manifest = reader.manifest(commit.checkpoint)
            for pack in {location.pack for location in manifest.locations.values()}:
                if not index.has_pack(pack):
                    index.add_pack(pack, *read_toc(storage, pack), generation)
            index.add_checkpoint(manifest)
            index.add_commit(commit)
            waiting += commit.parents
        index.set_ref(record)
    return len(moved)

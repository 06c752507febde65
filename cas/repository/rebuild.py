"""Rebuilding the index from the store, which is the truth.

Everything is read. What is damaged is left out and named, so that one bad object does
not keep a machine from working with all the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.format import Digest, Manifest, RefRecord
from cas.format.pack import FOOTER_BYTES, Footer, PackEntry, decode_toc
from cas.progress import SILENT, Progress
from cas.repository.ahead import in_batches
from cas.repository.keys import MANIFESTS, PACKS, digest_of, object_key
from cas.repository.leases import current_generation
from cas.repository.reader import Reader
from cas.repository.refs import Refs
from cas.repository.walk import iter_history
from cas.repository.whole import LeftOut, WholeObjects
from cas.storage.base import ObjectInfo, Storage

if TYPE_CHECKING:
    from cas.index import Index

__all__ = ["ROWS_AT_ONCE", "Rebuilt", "read_toc", "rebuild"]

ROWS_AT_ONCE = 16_384  # gathered for the index: some MiB, and enough that a statement's own cost is nothing
_COMMITS_AT_ONCE = 256
_TAIL_BYTES = 64 << 10  # most tables of contents fit, so that one request reads one


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` read.

    Attributes:
        packs, checkpoints, commits, refs: how many the index knows now.
        left_out: what was damaged, or is named by a ref and not there.
    """

    packs: int
    checkpoints: int
    commits: int
    refs: int
    left_out: tuple[LeftOut, ...] = ()


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

    Commits are those to which any record of any ref leads. What is damaged is left out.
    """
    whole = WholeObjects(storage)
    generation = current_generation(storage)
    packs = checkpoints = commits = 0
    heads: dict[str, RefRecord] = {}
    tips: set[Digest] = set()
    progress.begin("reindex", None)
    try:
        with index.rebuilding():
            index.bind(store_id)
            contents = whole.read(lambda info: _read_pack(storage, info), storage.list(f"{PACKS}/"), _key)
            for found in in_batches(contents, ROWS_AT_ONCE, lambda pack: len(pack[2])):
                index.add_packs(found, generation)
                packs += len(found)
                progress.advance(sum(size_bytes for _, size_bytes, _ in found))
            manifests = whole.read(lambda info: _read_manifest(reader, info), storage.list(f"{MANIFESTS}/"), _key)
            for some in in_batches(manifests, ROWS_AT_ONCE, lambda one: len(one[0].tree.files) + len(one[0].locations)):
                index.add_checkpoints([manifest for manifest, _ in some])
                checkpoints += len(some)
                progress.advance(sum(size_bytes for _, size_bytes in some))
            for record in whole.read(lambda move: refs.read(*move), refs.records(), lambda move: refs.key(*move)):
                heads[record.name] = record
                if record.commit is not None:
                    tips.add(record.commit)
            for history in in_batches(iter_history(whole, reader, tips), _COMMITS_AT_ONCE):
                index.add_commits(history)
                commits += len(history)
            index.set_refs(list(heads.values()))
    finally:
        progress.end()
    return Rebuilt(packs, checkpoints, commits, len(heads), tuple(whole.left_out))


def _read_pack(storage: Storage, info: ObjectInfo) -> tuple[Digest, int, list[PackEntry]]:
    pack = digest_of(info.key)
    return pack, *read_toc(storage, pack)


def _read_manifest(reader: Reader, info: ObjectInfo) -> tuple[Manifest, int]:
    return reader.manifest(digest_of(info.key)), info.size_bytes


def _key(info: ObjectInfo) -> str:
    return info.key

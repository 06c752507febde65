"""Contents: checkpoints' chunks and manifests on their way from one store into another.

Only chunks that the target lacks move, as they are encoded; each is decoded and held
to its digest first. Small checkpoints share packs. The target's index learns of every
pack as soon as it is durable, so that a transfer that was cut short does not send
again what arrived: at most `FLUSH_S` seconds of it, and the packs in flight.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from cas.errors import CasError
from cas.format import Digest, Location, Manifest
from cas.progress import SILENT, Progress
from cas.repository import Repository
from cas.repository.packer import PACK_BYTES

__all__ = ["FLUSH_S", "ContentMover", "missing_chunks"]

FLUSH_S = 30.0
_PENDING_CHECKPOINTS = 64


@dataclass(frozen=True, slots=True)
class _Pending:
    """A checkpoint whose chunks are in the target or on their way, and where those lie that were there."""

    manifest: Manifest
    known: Mapping[Digest, Location]


class ContentMover:
    """Brings checkpoints into one store. Used by one thread.

    Attributes:
        logical_bytes: what plain copies of the checkpoints that were brought would take.
        new_bytes: raw bytes of the chunks that the target lacked.
        moved_bytes: the same chunks as they are encoded.
    """

    def __init__(self, source: Repository, target: Repository, progress: Progress = SILENT) -> None:
        """Bring from ``source`` into ``target``; ``progress`` is told of raw and of moved bytes."""
        self._source, self._target, self._progress = source, target, progress
        self._pending: list[_Pending] = []
        self._sent: set[Digest] = set()  # chunks that left since the last `settle`, durable or not
        self._arrived: dict[Digest, Location] = {}  # those of them that are durable
        self._unsettled_bytes = 0
        self._flushed_s = time.monotonic()
        self.logical_bytes = self.new_bytes = self.moved_bytes = 0

    def bring(self, checkpoint: Digest) -> bool:
        """Send what the target lacks of a checkpoint; it is there after `settle`.

        Returns:
            Whether enough has been sent to be worth settling.

        Raises:
            NotFoundError: the source has no such checkpoint.
            CorruptError: the source has bytes that are not what was written; nothing refers to them.
        """
        manifest = self._source.reader.manifest(checkpoint)
        known = self._target.writer().find_chunks(manifest.locations.keys() - self._sent)
        missing = missing_chunks(manifest, known, self._sent)
        new_bytes = sum(location.entry.raw_bytes for location in missing)
        self._progress.advance(max(manifest.tree.size_bytes - new_bytes, 0))
        self._send(manifest, missing)
        self._pending.append(_Pending(manifest, known))
        self.logical_bytes += manifest.tree.size_bytes
        self.new_bytes += new_bytes
        return self._unsettled_bytes >= PACK_BYTES or len(self._pending) >= _PENDING_CHECKPOINTS

    def settle(self) -> None:
        """Make all that was brought durable, and publish the manifests."""
        if not self._pending:
            return
        self._flush()
        pending, self._pending = self._pending, []
        for one in pending:
            locations = {**self._arrived, **one.known}
            writer = self._target.writer()
            writer.publish(Manifest.of(one.manifest.tree, one.manifest.recipes.values(), locations.values()))
        self._sent.clear()
        self._arrived.clear()
        self._unsettled_bytes = 0

    def _send(self, manifest: Manifest, missing: list[Location]) -> None:
        writer = self._target.writer()
        try:
            for location, encoded in self._source.reader.read_encoded(manifest, missing):
                writer.add_encoded(location.entry, encoded)
                self._sent.add(location.entry.digest)
                self._unsettled_bytes += len(encoded)
                self.moved_bytes += len(encoded)
                self._progress.advance(location.entry.raw_bytes, len(encoded))
                if time.monotonic() - self._flushed_s >= FLUSH_S:
                    self._flush()
        except CasError:
            with suppress(CasError):  # what came before the source failed need not come again
                self._flush()
            raise

    def _flush(self) -> None:
        for location in self._target.writer().finish_packs():
            self._arrived[location.entry.digest] = location
        self._flushed_s = time.monotonic()


def missing_chunks(manifest: Manifest, known: dict[Digest, Location], sent: set[Digest]) -> list[Location]:
    """What must be sent of a checkpoint, in the order in which it lies in the source.

    Args:
        manifest: where the checkpoint's chunks and their bases lie in the source.
        known: where readable chunks lie in the target, with their bases. Loses a base that is built on more
            bases there than in the source: it comes along, so that no chain ever grows by being moved.
        sent: chunks that are on their way already.
    """
    missing = manifest.locations.keys() - known.keys() - sent
    waiting = list(missing)
    while waiting:
        base = manifest.locations[waiting.pop()].entry.base
        if base in known and _depth(base, {**manifest.locations, **known}) > _depth(base, manifest.locations):
            del known[base]
            missing.add(base)
            waiting.append(base)
    return sorted((manifest.locations[digest] for digest in missing), key=lambda at: (at.pack, at.entry.offset))


def _depth(digest: Digest, locations: Mapping[Digest, Location]) -> int:
    """How many bases lie under a chunk."""
    base = locations[digest].entry.base
    return 0 if base is None else 1 + _depth(base, locations)

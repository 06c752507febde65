"""Where a file with a known layout is cut, as far as the layout alone decides.

Every byte of the file falls into exactly one `Piece`, in order. Pure arithmetic: nothing
is read, and the tensors' values decide nothing, so two checkpoints of one model are cut
alike. docs/design/003-cutting.md says why it is done so, with measurements.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from cas.layouts import Layout, TensorSpan

__all__ = ["PIECE_BYTES", "RUN_MAX_BYTES", "RUN_MIN_BYTES", "SMALL_BYTES", "Piece", "iter_pieces"]

PIECE_BYTES = 4 << 20
"""A tensor is cut every so many bytes from its start: whole items of every numeric dtype."""

SMALL_BYTES = 64 << 10
"""A tensor, a tensor's last piece or a gap of fewer bytes is joined with such neighbours into a run."""

RUN_MIN_BYTES = 128 << 10
"""A run of fewer bytes goes on, if there is anything small to go on with."""

RUN_MAX_BYTES = 1 << 20
"""A run that has reached this many bytes ends, so it never exceeds them by more than a gap and a small tensor."""

_RUN_END_MASK = 0x3  # one name in four ends a run that is long enough

_UNITS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file.

    Attributes:
        offset: of its first byte in the file.
        size_bytes: never zero.
        itemsize: see `cas.chunkers.RawChunk`.
        by_content: whether it is to be cut further by what is in it; else it is one chunk.
    """

    offset: int
    size_bytes: int
    itemsize: int
    by_content: bool = False


def iter_pieces(size_bytes: int, layout: Layout | None) -> Iterator[Piece]:
    """The pieces of a file of ``size_bytes`` bytes. A layout that reaches beyond its end is ignored."""
    run: list[_Part] = []
    for part in _iter_parts(size_bytes, layout.spans if layout and layout.end <= size_bytes else ()):
        if part.kind in (_Kind.SMALL, _Kind.SMALL_GAP):
            run.append(part)
            if not _ends_run(part, part.end - run[0].offset):
                continue
        if run:
            yield _join(run)
            run = []
        if part.kind is _Kind.TENSOR:
            yield Piece(part.offset, part.size_bytes, part.itemsize if part.itemsize in _UNITS else 0)
        elif part.kind is _Kind.CONTENT:
            yield Piece(part.offset, part.size_bytes, 0, by_content=True)
    if run:
        yield _join(run)


class _Kind(Enum):
    TENSOR = auto()
    SMALL = auto()  # a small tensor or the short last piece of a large one
    SMALL_GAP = auto()  # some of the format's own bytes between two tensors
    CONTENT = auto()  # headers, pickles, whatever has no layout


@dataclass(frozen=True, slots=True)
class _Part:
    kind: _Kind
    offset: int
    end: int
    itemsize: int = 0
    name: str = ""

    @property
    def size_bytes(self) -> int:
        return self.end - self.offset


def _iter_parts(size_bytes: int, spans: Sequence[TensorSpan]) -> Iterator[_Part]:
    at = 0
    for span in spans:
        if at < span.offset:
            # What precedes the first tensor lists them all, so it changes when they do not: never in a run.
            small = at > 0 and span.offset - at < SMALL_BYTES
            yield _Part(_Kind.SMALL_GAP if small else _Kind.CONTENT, at, span.offset)
        for offset in range(span.offset, span.end, PIECE_BYTES):
            end = min(offset + PIECE_BYTES, span.end)
            kind = _Kind.SMALL if end - offset < SMALL_BYTES else _Kind.TENSOR
            yield _Part(kind, offset, end, span.itemsize, span.name)
        at = span.end
    if at < size_bytes:
        yield _Part(_Kind.CONTENT, at, size_bytes)


def _ends_run(part: _Part, run_bytes: int) -> bool:
    # By name, so that a tensor added or removed moves few ends. Not by content, which every training step
    # changes: a run and its predecessor must cover the same tensors to be worth a difference.
    if part.kind is not _Kind.SMALL or run_bytes < RUN_MIN_BYTES:
        return False
    return run_bytes >= RUN_MAX_BYTES or zlib.crc32(part.name.encode()) & _RUN_END_MASK == 0


def _join(run: list[_Part]) -> Piece:
    start = run[0].offset
    tensors = [part for part in run if part.kind is _Kind.SMALL]
    # The longest unit that every tensor here is whole units of, counted from the run's first byte.
    unit = math.gcd(*(number for part in tensors for number in (part.itemsize, part.offset - start)))
    known = all(part.itemsize for part in tensors)
    return Piece(start, run[-1].end - start, unit if known and unit in _UNITS else 0)

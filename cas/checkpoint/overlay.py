"""An overlay: a content with a few small files put over it, or taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cas.checkpoint.contents import Content, LooseContent
from cas.format import Buffer, TreeEntry
from cas.repository import BytesSource, Source
from cas.views import Ranges, SourceRanges

__all__ = ["Overlay", "overlaid"]


def overlaid(base: Content, files: Mapping[str, bytes | None]) -> Content:
    """``base`` with ``files`` over it; None takes a file away."""
    if isinstance(base, Overlay):
        return Overlay(base.base, {**base.files, **files})
    return Overlay(base, dict(files))


@dataclass(frozen=True, slots=True)
class Overlay(LooseContent):
    """A content whose small files were changed; the large ones are read from where they are.

    Attributes:
        base: the content below.
        files: content by path, None where the base's file is not there any more.
    """

    base: Content
    files: Mapping[str, bytes | None]

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """The base's sources, but for those that were replaced."""
        below, empty_directories = self.base.sources()
        above: list[Source] = [BytesSource(path, data) for path, data in self.files.items() if data is not None]
        found = sorted([*(source for source in below if source.path not in self.files), *above], key=lambda s: s.path)
        filled = {parent for source in above for parent in _parents(source.path)}
        return found, tuple(path for path in empty_directories if path not in filled)

    def iter_file(self, entry: TreeEntry) -> Iterator[Buffer]:
        """From memory, or from the base."""
        data = self.files.get(entry.path)
        return self.base.iter_file(entry) if data is None else iter([data] if data else [])

    def find_file(self, path: str) -> Buffer | None:
        """From memory, or from the base."""
        return self.files[path] if path in self.files else self.base.find_file(path)

    def ranges(self) -> Mapping[str, Ranges]:
        """The files, to be read by position."""
        below = {path: ranges for path, ranges in self.base.ranges().items() if path not in self.files}
        above = {path: SourceRanges(BytesSource(path, data)) for path, data in self.files.items() if data is not None}
        return below | above

    def describe(self) -> str:
        """What is below, and that it was changed."""
        return f"{self.base.describe()[:70]}, changed={len(self.files)}"


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[: count + 1]) for count in range(len(parts)))

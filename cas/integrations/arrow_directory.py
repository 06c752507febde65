"""A directory on any file system that pyarrow knows: nothing is looked at before it is asked for."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cas.checkpoint.contents import LooseContent
from cas.errors import ConflictError, NotFoundError
from cas.format import Buffer, Digest
from cas.repository import ReadAt, Source

__all__ = ["ArrowDirectory"]


@dataclass(frozen=True, slots=True)
class ArrowDirectory(LooseContent):
    """The files below a path.

    Attributes:
        filesystem: a `pyarrow.fs.FileSystem`.
        path: a path on it.
    """

    filesystem: Any
    path: str

    def sources(self) -> tuple[list[Source], tuple[str, ...]]:
        """The files, listed now.

        Raises:
            NotFoundError: there is no such directory.
        """
        from pyarrow.fs import FileSelector, FileType

        try:
            found = self.filesystem.get_file_info(FileSelector(self.path, recursive=True))
        except FileNotFoundError as error:
            raise NotFoundError(f"no directory {self.path} on {self.filesystem.type_name}") from error
        relative = {posixpath.relpath("/" + info.path.strip("/"), "/" + self.path.strip("/")): info for info in found}
        files = [
            _ArrowFile(self.filesystem, path, info) for path, info in relative.items() if info.type == FileType.File
        ]
        full = {posixpath.dirname(path) for path in relative}
        empty = [path for path, info in relative.items() if info.type == FileType.Directory and path not in full]
        return sorted(files, key=lambda file: file.path), tuple(sorted(empty))

    def describe(self) -> str:
        """Its path, shortened, and what kind of file system it is on."""
        return f"path={self.path[-70:]!r}, filesystem={self.filesystem.type_name!r}"


class _ArrowFile:
    """One file; a `cas.repository.Source`."""

    executable = False
    known_blob: Digest | None = None

    def __init__(self, filesystem: Any, path: str, info: Any) -> None:
        self.path, self.size_bytes = path, info.size
        self._filesystem, self._info = filesystem, info

    @contextmanager
    def open(self) -> Iterator[ReadAt]:
        """Read by ranges."""
        try:
            file = self._filesystem.open_input_file(self._info.path)
        except FileNotFoundError as error:
            raise self._changed() from error
        with file:

            def read_at(offset: int, size_bytes: int) -> Buffer:
                data: bytes = file.read_at(size_bytes, offset)
                if len(data) != size_bytes:
                    raise self._changed()
                return data

            yield read_at

    def settle(self, blob: Digest) -> None:
        """Look whether it still is what was listed."""
        now = self._filesystem.get_file_info(self._info.path)
        if (now.size, now.mtime_ns) != (self._info.size, self._info.mtime_ns):
            raise self._changed()

    def _changed(self) -> ConflictError:
        return ConflictError(f"{self._info.path} changed while it was being read; try again")

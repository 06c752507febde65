"""The file system that Ray writes a run through: checkpoints go into the store, all else into the area.

Ray copies a checkpoint file by file and never says when it is done. But it hands the reference on, to another
process, only once the copy is whole: so what was written is stored when this file system is pickled. A
copy that failed or whose process was killed never gets there.

Reading is served from the store. This module needs pyarrow, and is imported by what has made sure of it.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any, NoReturn

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType

from cas.errors import NotFoundError
from cas.format import TreeEntry
from cas.integrations.run_area import is_binding, split_path
from cas.integrations.run_staging import Sink, StagedFile
from cas.integrations.run_store import RunStore
from cas.views import StoredFiles, open_file

__all__ = ["RunFileSystem", "let_ray_know"]

_CALLBACKS = {
    "RAY_TUNE_CALLBACKS": "cas.integrations.ray_tune_callback.CommitCallback",
    "RAY_TRAIN_CALLBACKS": "cas.integrations.ray_train_callback.CommitCallback",
}


def let_ray_know() -> None:
    """Have Tune and Train tell cas, in runs that this process starts, when a checkpoint is reported."""
    for variable, callback in _CALLBACKS.items():
        names = [name for name in os.environ.get(variable, "").split(",") if name]
        if callback not in names:
            os.environ[variable] = ",".join([*names, callback])


class RunFileSystem(FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """What a `pyarrow.fs.PyFileSystem` is made of. Paths are relative to the area, with or without a leading slash.

    A checkpoint directory is immutable content: a later write to it makes other content, under the same path.
    One that was deleted is left out of listings, and can still be read by its path.
    """

    def __init__(self, store_url: str, area_url: str) -> None:
        self.store_url, self.area_url = store_url, area_url
        let_ray_know()

    @property
    def run_store(self) -> RunStore:
        """The store and the area, opened in this process."""
        return RunStore.at(self.store_url, self.area_url)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RunFileSystem):
            return (self.store_url, self.area_url) == (other.store_url, other.area_url)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.store_url, self.area_url))

    def __reduce__(self) -> tuple[Any, ...]:
        if (opened := RunStore.find(self.store_url, self.area_url)) is not None:
            opened.settle()
        return type(self), (self.store_url, self.area_url)

    def get_type_name(self) -> str:
        """How Ray calls it in messages."""
        return "cas"

    def normalize_path(self, path: str) -> str:
        """``path`` itself."""
        return path

    # -- what is there

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Type and size of each path."""
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """What is in a directory, or anywhere below it."""
        base = selector.base_dir
        directory, inner = split_path(base)
        found = self._list_area(directory, selector.recursive) if inner is None else self._list(directory, inner)
        infos: dict[str, int | None] = {}
        for path, size_bytes in found:
            parts = path.split("/")
            for depth in range(1, len(parts) if selector.recursive else 1):
                infos["/".join(parts[:depth])] = None
            if selector.recursive or len(parts) == 1:
                infos[path] = size_bytes
            else:
                infos[parts[0]] = None
        if not infos and not selector.allow_not_found and self._info(base).type != FileType.Directory:
            raise _not_found(base)
        prefix = f"{base.rstrip('/')}/" if base.strip("/") else base
        return [_file_info(prefix + path, size_bytes) for path, size_bytes in sorted(infos.items())]

    def _info(self, path: str) -> FileInfo:
        directory, inner = split_path(path)
        if inner is None:
            size_bytes = self.run_store.area.find_size(directory) if directory else None
            if size_bytes is not None:
                return _file_info(path, size_bytes)
            return _file_info(path, None) if self.run_store.area.has_below(directory) else _nothing(path)
        found = self._find(directory, inner)
        if isinstance(found, StagedFile | TreeEntry):
            return _file_info(path, found.size_bytes)
        return _file_info(path, None) if found else _nothing(path)

    def _find(self, directory: str, inner: str) -> StagedFile | TreeEntry | bool:
        """A file below a checkpoint directory; else whether it is a directory itself."""
        upload = self.run_store.staging.find(directory)
        if upload is not None and (not inner or inner in upload.files):
            return upload.files.get(inner, True)
        parts = self.run_store.parts_of(directory)
        for files in reversed(parts):
            if (entry := files.tree.find(inner)) is not None:
                return entry
        staged = (*upload.files, *upload.directories) if upload else ()
        return any(inner in files.folders for files in parts) or any(
            f"{path}/".startswith(f"{inner}/") for path in staged
        )

    def _list(self, directory: str, inner: str) -> Iterator[tuple[str, int | None]]:
        """Everything below a directory in a checkpoint: relative path, and size or None for a directory."""
        found: dict[str, int | None] = {}
        for files in self.run_store.parts_of(directory):
            found |= dict.fromkeys(files.tree.empty_directories)
            found |= {entry.path: entry.size_bytes for entry in files.tree.files}
        if (upload := self.run_store.staging.find(directory)) is not None:
            found |= dict.fromkeys(upload.directories)
            found |= {path: file.size_bytes for path, file in upload.files.items()}
        prefix = f"{inner}/" if inner else ""
        return (
            (path[len(prefix) :], size_bytes)
            for path, size_bytes in found.items()
            if path.startswith(prefix) and path != inner
        )

    def _list_area(self, directory: str, recursive: bool) -> Iterator[tuple[str, int | None]]:
        """Everything below a directory outside of checkpoints, whose content follows only if it is asked for."""
        records: dict[str, set[str]] = {}
        for path, info in self.run_store.area.list(directory):
            checkpoint, record = split_path(path)
            if record is None:
                yield path, info.size_bytes
            else:
                records.setdefault(checkpoint, set()).add(record)
        for checkpoint, names in records.items():
            if is_binding(names):
                yield checkpoint, None
                for below, size_bytes in self._list(f"{directory}/{checkpoint}", "") if recursive else ():
                    yield f"{checkpoint}/{below}", size_bytes

    # -- content

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file, for reading."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file, for reading from anywhere."""
        directory, inner = split_path(path)
        if inner is None:
            try:
                return pa.BufferReader(self.run_store.area.read(directory))
            except NotFoundError:
                raise _not_found(path) from None
        found = self._find(directory, inner)
        if isinstance(found, StagedFile):
            return pa.BufferReader(found.read())
        if not isinstance(found, TreeEntry):
            raise _not_found(path)
        return pa.PythonFile(open_file(_holder(self.run_store.parts_of(directory), inner)[inner]), mode="r")

    def open_output_stream(self, path: str, metadata: Mapping[str, str]) -> pa.NativeFile:
        """A file, for writing; one that is there is replaced."""
        directory, inner = split_path(path)
        if inner:
            return pa.PythonFile(self.run_store.sink(directory, inner), mode="w")

        def finish(file: IO[bytes], size_bytes: int) -> None:
            with file:
                file.seek(0)
                self.run_store.area.write(directory, file.read())

        return pa.PythonFile(Sink(finish), mode="w")

    # -- changes

    def create_dir(self, path: str, recursive: bool) -> None:
        """Begin an upload, if it is a checkpoint directory; other directories are there once something is in them."""
        directory, inner = split_path(path)
        if inner is not None:
            self.run_store.staging.begin(directory, inner)

    def delete_dir(self, path: str) -> None:
        """Delete a directory. Of checkpoints only names go: their commits stay, and so does what these keep."""
        directory, inner = split_path(path)
        if inner:
            _refuse()
        if inner is None:
            self.run_store.area.delete_below(directory)
            return
        for upload in self.run_store.staging.take(directory):
            upload.close()
        if self.run_store.area.binding(directory).parts:
            self.run_store.area.mark_deleted(directory)

    def delete_file(self, path: str) -> None:
        """Delete a file outside of checkpoints."""
        directory, inner = split_path(path)
        if inner is not None:
            _refuse()
        self.run_store.area.delete(directory)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """As `delete_dir`: a directory is nothing but what is in it."""
        self.delete_dir(path)

    def _refuse(self, *arguments: Any) -> NoReturn:
        _refuse()

    delete_root_dir_contents = move = copy_file = open_append_stream = _refuse


def _holder(parts: list[StoredFiles], inner: str) -> StoredFiles:
    return next(files for files in reversed(parts) if inner in files)


def _file_info(path: str, size_bytes: int | None) -> FileInfo:
    if size_bytes is None:
        return FileInfo(path, FileType.Directory)
    return FileInfo(path, FileType.File, size=size_bytes)


def _nothing(path: str) -> FileInfo:
    return FileInfo(path, FileType.NotFound)


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _refuse() -> NoReturn:
    raise io.UnsupportedOperation("a run in cas cannot append, move, copy, or take single files out of a checkpoint")

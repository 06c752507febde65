"""``cas://`` for fsspec: checkpoints as folders, read-only.

    cas://<hash, prefix or ref>/path/in/the/checkpoint

Which part is the REV is said in `cas.views.places`. A ref is looked up with every call, so what it points at is
never out of date; one call that concerns many files (``get``, ``cat``, ``find``, ``glob``, ``walk``) sees one
checkpoint.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NoReturn

from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.config import apply_config
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike

from cas.errors import NotFoundError
from cas.format import Digest, TreeEntry
from cas.repository import Repository, locate_store
from cas.views.file import LazyFile, open_file
from cas.views.places import Place, Places
from cas.views.ranges import read_ranges
from cas.views.recent import RecentChunks
from cas.views.stored import StoredFiles

__all__ = ["CasFileSystem"]

_CHECKPOINTS_KEPT = 16


class _Located(type(AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """Finds out which store is meant before fsspec looks for an instance that it has, or pickles one.

    So an instance belongs to one store, also where the environment named it, and in another process it is the same.
    """

    def __call__(cls, store: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        located = locate_store(store if store is not None else apply_config(cls, {}).get("store"))
        if "://" not in located:
            located = os.path.abspath(os.path.expanduser(located))
        return super().__call__(store=located, **options)


class CasFileSystem(AbstractFileSystem, metaclass=_Located):  # type: ignore[misc]
    """The checkpoints of one store. Opened when something is read; may be used by threads and pickled.

    Args:
        store: the store's URL; else ``CAS_STORE``, the nearest ``.cas/``, or the user's own.
    """

    protocol = "cas"
    root_marker = ""

    def __init__(self, store: str, **options: Any) -> None:
        super().__init__(**options)
        self._store = store
        self._lock = threading.Lock()
        self._opened: tuple[int, Repository] | None = None
        self._local = threading.local()
        self._recent = RecentChunks()
        self._files = lru_cache(_CHECKPOINTS_KEPT)(self._open_files)

    @property
    def fsid(self) -> str:
        """Names the store: the same wherever it lies."""
        return f"cas-{self._repository().declared.store_id}"

    # -- what is there

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name, size and type; inside of a checkpoint also its hash, and the file's blob and executable bit."""
        path = self._strip_protocol(path)
        with self._steady(), _as_os_errors(path):
            if not path.strip("/"):
                return _folder_info(path)
            try:
                place = self._place(path)
            except NotFoundError:
                if self._now().refs_below(path.strip("/")):
                    return _folder_info(path)
                raise
            return _info(path, place, self._entry(place))

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What is in a folder: files and folders of a checkpoint, or refs and what their names begin with."""
        path = self._strip_protocol(path)
        with self._steady(), _as_os_errors(path):
            try:
                found = self._ls_checkpoint(path, self._place(path))
            except NotFoundError:
                found = self._ls_refs(path)
                if not found and path.strip("/"):
                    raise
        return found if detail else [info["name"] for info in found]

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        """Every file below a folder, and with ``withdirs`` every folder; ``path`` alone if it is a file."""
        path = self._strip_protocol(path)
        with self._steady():
            try:
                place = self._place(path)
            except NotFoundError:
                return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **options)
            found = dict(self._find(path, place, maxdepth, withdirs))
        return {name: found[name] for name in sorted(found)} if detail else sorted(found)

    def walk(self, path: str, *arguments: Any, **options: Any) -> Iterator[Any]:
        """As fsspec has it."""
        places = self._now()
        steps = super().walk(path, *arguments, **options)
        while True:
            # Only while a step is made: between two, whoever iterates may look at something else.
            with self._steady(places):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def glob(self, path: str, *arguments: Any, **options: Any) -> Any:
        """As fsspec has it."""
        with self._steady():
            return super().glob(path, *arguments, **options)

    def exists(self, path: str, **options: Any) -> bool:
        """Whether there is a file or folder. A store that cannot be reached is an error, not a no."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Whether there is a file. Errors as `exists`."""
        with suppress(FileNotFoundError):
            return bool(self.info(path)["type"] == "file")
        return False

    def isdir(self, path: str) -> bool:
        """Whether there is a folder. Errors as `exists`."""
        with suppress(FileNotFoundError):
            return bool(self.info(path)["type"] == "directory")
        return False

    def ukey(self, path: str) -> str:
        """The blob's digest; for a folder, the checkpoint and its path there."""
        info = self.info(path)
        return str(info.get("blob") or f"{info.get('checkpoint', '')}/{self._strip_protocol(path)}")

    def checksum(self, path: str) -> int:
        """The blob's digest as a number."""
        with self._steady():
            return int(str(self._file(path)[1].blob), 16)

    # -- content

    def _open(self, path: str, mode: str = "rb", **options: Any) -> LazyFile:
        if mode != "rb":
            self._refuse(path)
        with self._steady():
            files, entry = self._file(path)
            return open_file(files[entry.path])

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """A file's bytes, or those from ``start`` to ``end`` as in a slice; a whole file is held to its digest."""
        with self._steady():
            files, entry = self._file(path)
            start, end, _ = slice(start, end).indices(entry.size_bytes)
            if (start, end) == (0, entry.size_bytes):
                return files.reader.read_blob(files.manifest, entry)
            return read_ranges(files[entry.path], start, max(end - start, 0))

    def cat(self, path: Any, *arguments: Any, **options: Any) -> Any:
        """As fsspec has it."""
        with self._steady():
            return super().cat(path, *arguments, **options)

    def cat_ranges(self, paths: Any, starts: Any, ends: Any, max_gap: Any = None, on_error: str = "return",
                   **options: Any) -> list[Any]:  # fmt: skip
        """Ranges of files, as fsspec has it; those that lie in one chunk fetch it once. ``max_gap`` changes nothing."""
        with self._steady():
            return super().cat_ranges(paths, starts, ends, on_error=on_error, **options)  # type: ignore[no-any-return]

    def get_file(self, rpath: str, lpath: Any, callback: Callback = DEFAULT_CALLBACK, outfile: Any = None,
                 **options: Any) -> None:  # fmt: skip
        """Copy a file to this machine. It appears under its name once all of it was held to the blob's digest."""
        with self._steady():
            if outfile is None and not isfilelike(lpath) and self.isdir(rpath):
                os.makedirs(lpath, exist_ok=True)
                return
            files, entry = self._file(rpath)
            callback.set_size(entry.size_bytes)
            with _landing(lpath if outfile is None else outfile) as target:
                for piece in files.reader.iter_blob(files.manifest, entry):
                    target.write(piece)
                    callback.relative_update(len(piece))

    def get(self, *arguments: Any, **options: Any) -> Any:
        """As fsspec has it; all files come from one checkpoint, though a ref may move meanwhile."""
        with self._steady():
            return super().get(*arguments, **options)

    # -- what is refused

    def _refuse(self, *arguments: Any, **options: Any) -> NoReturn:
        path = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        raise OSError(errno.EROFS, "cas:// is read-only; store a checkpoint by `cas put` or cas.Store.put", path)

    mkdir = makedirs = rmdir = rm_file = _rm = rm = cp_file = copy = mv = put_file = put = _refuse
    pipe_file = pipe = touch = _refuse

    # -- the store

    def _repository(self) -> Repository:
        with self._lock:
            # After a fork, connections are the parent's.
            if self._opened is None or self._opened[0] != os.getpid():
                repository = Repository.open(self._store)
                weakref.finalize(self, repository.close)
                self._opened = os.getpid(), repository
                self._files.cache_clear()
            return self._opened[1]

    def _open_files(self, checkpoint: Digest) -> StoredFiles:
        return StoredFiles(self._repository().reader, checkpoint, self._recent)

    def _now(self) -> Places:
        """Where refs point: as far as the call that this is part of has looked, else from now on."""
        found: Places | None = getattr(self._local, "places", None)
        return found or Places(self._repository())

    @contextmanager
    def _steady(self, places: Places | None = None) -> Iterator[Places]:
        """Within this, in this thread, a ref keeps pointing where it did when it was first looked at."""
        outer = getattr(self._local, "places", None)
        self._local.places = places or self._now()
        try:
            yield self._local.places
        finally:
            self._local.places = outer

    def _place(self, path: str) -> Place:
        return self._now().find(path)

    def _entry(self, place: Place) -> TreeEntry | None:
        """The file that a place is; None if it is a folder. NotFoundError if there is neither."""
        files = self._files(place.checkpoint)
        return None if place.inner in files.folders else files.tree.entry(place.inner)

    def _file(self, path: str) -> tuple[StoredFiles, TreeEntry]:
        with _as_os_errors(path):
            place = self._place(self._strip_protocol(path))
            entry = self._entry(place)
        if entry is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return self._files(place.checkpoint), entry

    def _ls_checkpoint(self, path: str, place: Place) -> list[dict[str, Any]]:
        if (entry := self._entry(place)) is not None:
            return [_info(path, place, entry)]
        inside = self._files(place.checkpoint).folders.inside(place.inner)
        return [_info(f"{path}/{name}", place, entry) for name, entry in sorted(inside.items())]

    def _ls_refs(self, path: str) -> list[dict[str, Any]]:
        """The next components of the names of refs below ``path``."""
        prefix = path.strip("/")
        skip = len(prefix) + 1 if prefix else 0
        names = {name[skip:].partition("/")[0] for name in self._now().refs_below(prefix)}
        return [_folder_info(f"{path}/{name}" if path else name) for name in sorted(names)]

    def _find(
        self, path: str, place: Place, maxdepth: int | None, withdirs: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        files = self._files(place.checkpoint)
        if place.inner not in files.folders:
            if (entry := files.tree.find(place.inner)) is not None:
                yield path, _info(path, place, entry)
            return
        if withdirs:
            yield path, _info(path, place, None)
        for below, entry in files.folders.walk(place.inner, maxdepth):
            if withdirs or entry is not None:
                name = f"{path}/{below[len(place.inner) :].lstrip('/')}"
                yield name, _info(name, place, entry)


def _folder_info(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _info(name: str, place: Place, entry: TreeEntry | None) -> dict[str, Any]:
    if entry is None:
        return {**_folder_info(name), "checkpoint": str(place.checkpoint)}
    return {
        "name": name,
        "size": entry.size_bytes,
        "type": "file",
        "blob": str(entry.blob),
        "executable": entry.executable,
        "checkpoint": str(place.checkpoint),
    }


@contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """What is not there is a FileNotFoundError for whoever uses a file system."""
    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, str(error), path) from error


@contextmanager
def _landing(target: Any) -> Iterator[Any]:
    """Where to write a file: into an open one, or beside a path, to be renamed at the end."""
    if isfilelike(target):
        yield target
        return
    path = os.fspath(target)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{path}.{os.urandom(4).hex()}.part"
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)

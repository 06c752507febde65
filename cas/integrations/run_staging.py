"""Files of checkpoints that this process is writing and has not stored yet.

They are in memory or, if they are large, in files without a name: whatever becomes of the process, nothing
of an unfinished checkpoint is left anywhere, least of all in the store.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from cas.format import Buffer, Digest
from cas.repository import ReadAt

__all__ = ["Sink", "StagedFile", "Staging", "Upload"]

_IN_MEMORY_BYTES = 1 << 20


class Sink(io.RawIOBase):
    """A file that is being written; whoever made it gets it, whole, when it is closed."""

    def __init__(self, finish: Callable[[IO[bytes], int], None]) -> None:
        super().__init__()
        # Closed by whom it is handed to.
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, prefix="cas-")  # noqa: SIM115
        self._finish = finish

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Buffer) -> int:  # type: ignore[override]  # any buffer
        """Add to the end."""
        return self._file.write(memoryview(data).cast("B"))

    def tell(self) -> int:
        """How much was written."""
        return self._file.tell()

    def close(self) -> None:
        """Hand it over, the first time."""
        if not self.closed:
            super().close()
            self._finish(self._file, self._file.tell())


class StagedFile:
    """A file that was written; a `cas.repository.Source`."""

    executable = False
    known_blob: Digest | None = None

    def __init__(self, path: str, file: IO[bytes], size_bytes: int) -> None:
        self.path, self.size_bytes = path, size_bytes
        self._file, self._reading = file, threading.Lock()

    @contextmanager
    def open(self) -> Iterator[ReadAt]:
        """Read it from anywhere."""
        yield self._read_at

    def settle(self, blob: Digest) -> None:
        """Nobody else can change it."""

    def read(self) -> bytes:
        """All of it."""
        return self._read_at(0, self.size_bytes)

    def close(self) -> None:
        """Give its memory or disk back."""
        self._file.close()

    def _read_at(self, offset: int, size_bytes: int) -> bytes:
        with self._reading:
            self._file.seek(offset)
            return self._file.read(size_bytes)


@dataclass(slots=True)
class Upload:
    """What this process has written below one checkpoint directory.

    Attributes:
        checkpoint: the directory's path.
        begun: whether it was made by creating the directory, as an upload begins; otherwise a single file is changed.
        files, directories: by path in it.
    """

    checkpoint: str
    begun: bool
    files: dict[str, StagedFile] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def empty_directories(self) -> tuple[str, ...]:
        """The directories with nothing in them."""
        filled = (*self.files, *self.directories)
        return tuple(
            sorted(path for path in self.directories if not any(other.startswith(f"{path}/") for other in filled))
        )

    def close(self) -> None:
        """Forget the files."""
        for file in self.files.values():
            file.close()


class Staging:
    """The uploads of this process, by checkpoint directory. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def begin(self, checkpoint: str, inner: str) -> None:
        """A directory is made: ``inner`` in a checkpoint directory, or by an empty one that itself."""
        with self._lock:
            upload = self._uploads.setdefault(checkpoint, Upload(checkpoint, True))
            if inner:
                upload.directories.add(inner)

    def add(self, checkpoint: str, inner: str, file: IO[bytes], size_bytes: int) -> bool:
        """A file was written. False if no upload has begun that it could be part of."""
        with self._lock:
            begun = checkpoint in self._uploads
            upload = self._uploads.setdefault(checkpoint, Upload(checkpoint, False))
            if (before := upload.files.get(inner)) is not None:
                before.close()
            upload.files[inner] = StagedFile(inner, file, size_bytes)
            return begun

    def find(self, checkpoint: str) -> Upload | None:
        """The upload below a directory, if there is one."""
        with self._lock:
            return self._uploads.get(checkpoint)

    def take(self, checkpoint: str | None = None) -> list[Upload]:
        """End the upload below a directory, or all."""
        with self._lock:
            names = list(self._uploads) if checkpoint is None else [checkpoint]
            return [upload for name in names if (upload := self._uploads.pop(name, None)) is not None]

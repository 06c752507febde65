"""Objects in this process's memory: for tests and for checkpoints that need not outlive it.

``memory://name`` names the same objects wherever in the process it is opened,
until the process ends. Without a name the objects are private, and gone with
the last storage that holds them.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from cas import clock
from cas.errors import ConflictError, NotFoundError
from cas.format import Buffer
from cas.storage.base import ObjectInfo
from cas.storage.keys import check_key, check_prefix, check_range, check_within, join
from cas.storage.upload import BufferedUpload, Upload

__all__ = ["MemoryStorage"]

_SCHEME = "memory://"


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Objects:
    """Content and time of writing by key."""

    by_key: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_alive: WeakValueDictionary[str, _Objects] = WeakValueDictionary()
_named: dict[str, _Objects] = {}
_registry_lock = threading.Lock()


class MemoryStorage:
    """A dict that keeps the promises of a store.

    Args:
        name: what ``memory://name`` calls it; None for a private one, whose URL any other open in this
            process still reaches while it lives.
    """

    exclusive_create = True

    def __init__(self, name: str | None = None) -> None:
        self._name = secrets.token_hex(16) if name is None else name
        with _registry_lock:
            self._objects = _alive.setdefault(self._name, _Objects())
            if name is not None:
                _named.setdefault(name, self._objects)

    @property
    def url(self) -> str:
        """``memory://`` and the name."""
        return _SCHEME + self._name

    @property
    def local_path(self) -> None:
        """None: there is no folder."""
        return None

    def read(self, key: str) -> bytes:
        """See `Storage.read`."""
        return self._get(key)

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        """See `Storage.read_range`."""
        check_range(offset, size_bytes)
        data = self._get(key)
        check_within(offset, size_bytes, len(data), f"{self.url}/{key}")
        return data[offset : offset + size_bytes]

    def read_tail(self, key: str, size_bytes: int) -> tuple[bytes, int]:
        """See `Storage.read_tail`."""
        check_range(0, size_bytes)
        data = self._get(key)
        return data[max(len(data) - size_bytes, 0) :], len(data)

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.create`."""
        check_key(key)
        content = join(data)
        with self._objects.lock:
            if key in self._objects.by_key:
                raise ConflictError(f"{self.url}/{key} exists already")
            self._objects.by_key[key] = content, clock.now_us()

    def upload(self, near: str) -> Upload:
        """See `Storage.upload`."""
        return BufferedUpload(self)

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.replace`."""
        check_key(key)
        content = join(data)
        with self._objects.lock:
            self._objects.by_key[key] = content, clock.now_us()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`: what there was at the call."""
        check_prefix(prefix)
        with self._objects.lock:
            found = [
                ObjectInfo(key, len(content), modified_us)
                for key, (content, modified_us) in self._objects.by_key.items()
                if key.startswith(prefix)
            ]
        return iter(sorted(found, key=lambda info: info.key))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        check_key(key)
        with self._objects.lock:
            self._objects.by_key.pop(key, None)

    def sweep(self, before_us: int) -> int:
        """See `Storage.sweep`: a write here is never half done."""
        return 0

    def now_us(self) -> int:
        """See `Storage.now_us`."""
        return clock.now_us()

    def close(self) -> None:
        """See `Storage.close`: the objects stay for the next open."""

    def _get(self, key: str) -> bytes:
        check_key(key)
        with self._objects.lock:
            found = self._objects.by_key.get(key)
        if found is None:
            raise NotFoundError(f"there is no {self.url}/{key}")
        return found[0]

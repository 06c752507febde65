"""Reading many objects of which some may be damaged: those that are whole, and a list of the others.

The index is made of what is whole. One damaged object must not keep a machine from
knowing all the others; `cas fsck` tells what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from cas.errors import CorruptError, FormatError, NotFoundError
from cas.repository.ahead import ahead
from cas.storage.base import Storage

__all__ = ["LeftOut", "WholeObjects"]

K = TypeVar("K")
T = TypeVar("T")

_FAR_READERS = 16  # objects are small: a request for one is all waiting


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An object that could not be read: its key, and what is wrong with it."""

    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


class WholeObjects:
    """Reads objects of one store.

    Attributes:
        left_out: what was damaged, in the order in which it was come across.
    """

    def __init__(self, storage: Storage) -> None:
        # A disk here answers sooner than another thread does.
        self._threads = 0 if storage.local_path is not None else _FAR_READERS
        self.left_out: list[LeftOut] = []

    def read(
        self, read: Callable[[K], T], wanted: Iterable[K], key_of: Callable[[K], str], *, all_there: bool = False
    ) -> Iterator[T]:
        """``read`` of everything wanted that is whole, in order.

        Args:
            read: reads one object, in any thread; what it raises about an object's bytes leaves it out.
            wanted: what ``read`` is told.
            key_of: the object's key.
            all_there: whether one that does not exist counts as damage; else it is passed over.

        Raises:
            StorageError: the storage failed; nothing is known of the object.
        """

        def attempt(one: K) -> tuple[K, T | Exception]:
            try:
                return one, read(one)
            except (NotFoundError, CorruptError, FormatError) as error:
                return one, error

        for one, found in ahead(self._threads, attempt, wanted):
            if not isinstance(found, Exception):
                yield found
            elif all_there or not isinstance(found, NotFoundError):
                self.left_out.append(LeftOut(key_of(one), str(found)))

"""Trees: what a checkpoint is, and the hash it has.

A tree is a checkpoint's files, sorted by path: (path, size, executable, blob
digest), and its empty directories. No times, owners or hosts. The checkpoint
hash is BLAKE3 of the tree's canonical bytes under `TREE_CONTEXT`; chunking,
codecs, packs and stores never enter it. Specified in docs/format.md section 4,
pinned by tests/vectors/tree.json.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

from cas.errors import FormatError, NotFoundError
from cas.format import canonical
from cas.format.digest import EMPTY, TREE_CONTEXT, Digest
from cas.format.envelope import MAGIC_BYTES, check_fields, check_magic
from cas.format.paths import check_path

__all__ = ["MAX_FILE_BYTES", "Tree", "TreeEntry"]

_MAGIC = b"CASTREE\x01"
MAX_FILE_BYTES = 1 << 62
_path = attrgetter("path")


@dataclass(frozen=True, slots=True, order=True)
class TreeEntry:
    """One file of a checkpoint: its path, size in bytes, executable bit and content."""

    path: str
    size_bytes: int
    executable: bool
    blob: Digest

    def __post_init__(self) -> None:
        check_path(self.path)
        if not 0 <= self.size_bytes <= MAX_FILE_BYTES:
            raise FormatError(f"{self.path}: a file cannot have {self.size_bytes} bytes")
        if (self.size_bytes == 0) != (self.blob == EMPTY):
            raise FormatError(f"{self.path}: its size and its blob disagree about being empty")


@dataclass(frozen=True, slots=True)
class Tree:
    """The files and the empty directories of one checkpoint, each sorted by path.

    Use `Tree.of` to build one from entries in any order.
    """

    files: tuple[TreeEntry, ...]
    empty_directories: tuple[str, ...] = ()
    hash: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        paths = [entry.path for entry in self.files]
        for directory in self.empty_directories:
            check_path(directory)
        if paths != sorted(set(paths)) or list(self.empty_directories) != sorted(set(self.empty_directories)):
            raise FormatError("a tree's paths must be sorted and distinct")
        # Under an order in which "/" is least, what lies in a directory follows it without a gap.
        leaves = sorted(path.replace("/", "\0") for path in (*paths, *self.empty_directories))
        for leaf, following in pairwise(leaves):
            if following == leaf or following.startswith(leaf + "\0"):
                clash = leaf.replace("\0", "/")
                raise FormatError(f"{clash!r} is both a leaf and something else, or a directory with something in it")
        object.__setattr__(self, "hash", Digest.of(self.encode(), context=TREE_CONTEXT))

    @classmethod
    def of(cls, files: Iterable[TreeEntry], empty_directories: Iterable[str] = ()) -> Tree:
        """A tree of ``files`` in any order."""
        return cls(tuple(sorted(files, key=_path)), tuple(sorted(empty_directories)))

    @property
    def size_bytes(self) -> int:
        """The sum of all files' sizes: what a plain copy would take."""
        return sum(entry.size_bytes for entry in self.files)

    def find(self, path: str) -> TreeEntry | None:
        """The file at ``path``, or None."""
        at = bisect_left(self.files, path, key=_path)
        return self.files[at] if at < len(self.files) and self.files[at].path == path else None

    def entry(self, path: str) -> TreeEntry:
        """The file at ``path``.

        Raises:
            NotFoundError: there is no such file; the message lists some that there are.
        """
        found = self.find(path)
        if found is None:
            known = ", ".join(entry.path for entry in self.files[:5]) or "nothing"
            raise NotFoundError(f"no file {path!r} in checkpoint {self.hash}; it has {known}")
        return found

    def encode(self) -> bytes:
        """The canonical bytes, whose hash is the checkpoint hash."""
        rows = [[e.path, e.size_bytes, e.executable, e.blob.raw] for e in self.files]
        return _MAGIC + canonical.encode({"directories": list(self.empty_directories), "files": rows})

    @classmethod
    def decode(cls, data: bytes, where: str = "tree") -> Tree:
        """Read canonical bytes.

        Raises:
            FormatError: not canonical, an unsafe path, or sizes and digests out of form.
        """
        check_magic(data, _MAGIC, where)
        body = canonical.decode(memoryview(data)[MAGIC_BYTES:], where)
        fields = check_fields(body, {"directories": list, "files": list}, where)
        if not all(isinstance(path, str) for path in fields["directories"]):
            raise FormatError(f"{where}: a directory's name is not text")
        return cls(
            tuple(_entry(row, where) for row in fields["files"]),
            tuple(fields["directories"]),
        )


def _entry(row: object, where: str) -> TreeEntry:
    if isinstance(row, list) and [type(item) for item in row] == [str, int, bool, bytes]:
        return TreeEntry(row[0], row[1], row[2], Digest(row[3]))
    raise FormatError(f"{where}: a file needs path, size, executable and blob, not {row!r:.80}")

"""The working directory: a directory's files as a tree, and a tree's files as a directory.

`directory_sources` is the way in, `restore` the way out. docs/design/006-worktree.md says
what is kept, what is refused, and why.
"""

from cas.worktree.restore import hash_sources, iter_source, restore, write_sources
from cas.worktree.scan import Scan, ScannedFile, scan
from cas.worktree.source import FileSource, directory_sources
from cas.worktree.stat_cache import StatCache
from cas.worktree.writing import RestoreResult

__all__ = [
    "FileSource",
    "RestoreResult",
    "Scan",
    "ScannedFile",
    "StatCache",
    "directory_sources",
    "hash_sources",
    "iter_source",
    "restore",
    "scan",
    "write_sources",
]

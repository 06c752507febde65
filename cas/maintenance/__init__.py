"""Looking after a store: fsck (gc, repack and repair come later)."""

from cas.maintenance.fsck import FsckReport, Problem, fsck

__all__ = ["FsckReport", "Problem", "fsck"]

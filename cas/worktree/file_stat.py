"""What a file looks like without reading it, and when that look can be trusted.

A file system stamps every change with its own clock, which ticks. A change within
the tick of an earlier one may leave size and times as they were, so equal looks
prove equal content only if the first was taken at least a tick after the last
change. git calls the other kind racily clean.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

__all__ = ["FileStat"]

_WORD = (1 << 64) - 1
_SECOND_NS = 1_000_000_000
# Two ticks of the slowest kernel clock (100 Hz); multigrain time stamps are finer.
_TICK_NS = 20_000_000
# What a file system that keeps whole seconds may round away: ext3 and HFS+ one second, FAT two.
_COARSE_TICK_NS = 2 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class FileStat:
    """One look at a regular file.

    Attributes:
        size_bytes: its size.
        mtime_ns, ctime_ns: when its content and its inode changed last, by its file system's clock.
        inode, device: which file it is; the lower 64 bits.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """The look that ``os.stat`` took."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & _WORD, found.st_dev & _WORD)

    def is_proof(self, looked_ns: int) -> bool:
        """Whether any change made after this look must show in the next one.

        Args:
            looked_ns: nanoseconds since the epoch, by this machine's clock, read before the look was taken.
        """
        in_whole_seconds = self.mtime_ns % _SECOND_NS == self.ctime_ns % _SECOND_NS == 0
        tick_ns = _COARSE_TICK_NS if in_whole_seconds else _TICK_NS
        return max(self.mtime_ns, self.ctime_ns) + tick_ns < looked_ns

"""The machine's wall clock, in whole microseconds since 1970-01-01 UTC.

Used for what people read (a commit's time). What gc decides by is the store's
own clock (`cas.storage.Storage.now_us`), because machines disagree.
"""

from __future__ import annotations

import time

__all__ = ["now_us"]


def now_us() -> int:
    """Microseconds since the epoch, by this machine's clock."""
    return time.time_ns() // 1000

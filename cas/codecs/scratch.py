"""Room that a thread uses again for every chunk it encodes.

Large blocks come from the system page by page, each a fault, and go back to it when
freed: filling new memory took more than half of the time of encoding a chunk of
4 MiB. What is written here is overwritten by the thread's next chunk, so no view of
it leaves `encode`. A thread keeps at most twice ``MAX_CHUNK_BYTES``.
"""

from __future__ import annotations

import threading

__all__ = ["DECODED", "PLANES"]


class _Scratch(threading.local):
    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, size_bytes: int) -> memoryview:
        """This thread's room, with whatever was left in it."""
        if len(self._buffer) < size_bytes:
            self._buffer = bytearray(size_bytes)
        return memoryview(self._buffer)[:size_bytes]


PLANES = _Scratch()
DECODED = _Scratch()

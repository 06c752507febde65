"""Content-defined chunking: cuts that depend on the bytes near them, so that an insertion moves few.

FastCDC with normalized chunking and a skipped minimum; the scan itself is
`cas.kernels.gear_boundary`. The cuts of a stream do not depend on how it is fed.
Pinned by tests/vectors/cuts.json; the sizes are part of the chunker's id.

Source: Xia et al., "FastCDC", USENIX ATC 2016.
"""

from __future__ import annotations

from cas.errors import FormatError
from cas.format import Buffer
from cas.kernels import gear_boundary

__all__ = ["MAX_BYTES", "MIN_BYTES", "NORMAL_BYTES", "FastCDC"]

MIN_BYTES = 256 << 10
NORMAL_BYTES = 512 << 10
MAX_BYTES = 4 << 20

_HASH_BITS = 64
_NORMALIZATION_BITS = 2


class FastCDC:
    """Cuts a stream into chunks of ``min_bytes`` to ``max_bytes``; only the last may be shorter.

    Args:
        min_bytes: no cut before this many bytes, so content up to this size stays whole.
        normal_bytes: a power of two; chunks are a little longer than this on average.
        max_bytes: a cut here, whatever the content.

    Raises:
        FormatError: the sizes are not in that order, or ``normal_bytes`` is no power of two from 8 to 2**62.
    """

    def __init__(
        self, min_bytes: int = MIN_BYTES, normal_bytes: int = NORMAL_BYTES, max_bytes: int = MAX_BYTES
    ) -> None:
        bits = normal_bytes.bit_length() - 1
        if normal_bytes.bit_count() != 1 or not _NORMALIZATION_BITS < bits <= _HASH_BITS - _NORMALIZATION_BITS:
            raise FormatError(f"FastCDC needs a normal size that is a power of two from 8, not {normal_bytes}")
        if not 0 < min_bytes <= normal_bytes <= max_bytes:
            raise FormatError(f"FastCDC needs min <= normal <= max, not {min_bytes}, {normal_bytes}, {max_bytes}")
        self._sizes = (min_bytes, normal_bytes, max_bytes)
        # Fewer cuts than average before the normal size and more after it, so that sizes bunch around it.
        self._masks = (_top_bits(bits + _NORMALIZATION_BITS), _top_bits(bits - _NORMALIZATION_BITS))
        self._pending = bytearray()

    def feed(self, data: Buffer) -> list[bytes]:
        """Take the next bytes of the stream; every chunk that is now complete, in order."""
        self._pending += data
        # A cut is final only once the whole of the longest chunk has been seen.
        return self._cut(len(self._pending) - self._sizes[2])

    def finish(self) -> list[bytes]:
        """The rest of the stream's chunks. The next `feed` begins another stream."""
        return self._cut(len(self._pending) - 1)

    def _cut(self, last_start: int) -> list[bytes]:
        """The chunks that start at or before ``last_start``, taken from what is pending."""
        chunks: list[bytes] = []
        start = 0
        with memoryview(self._pending) as pending:
            while start <= last_start:
                size = gear_boundary(pending[start:], *self._sizes, *self._masks)
                chunks.append(bytes(pending[start : start + size]))
                start += size
        del self._pending[:start]
        return chunks


def _top_bits(count: int) -> int:
    # The hash shifts upwards, so its top bits have seen the most bytes.
    return ((1 << count) - 1) << (_HASH_BITS - count)

"""Which encoding suits a chunk: the candidates are tried on a sample of it.

The sample is a few windows spread over the chunk, so that a chunk of many kinds of
bytes is not judged by its first. Trying costs a few percent of encoding. A chunk
whose item size is known is tried as planes of that size; one of unknown content as
planes of four, eight and two, roughly first. Whatever is chosen here, `encode`
still stores raw what turns out not to pay.
"""

from __future__ import annotations

from cas import kernels
from cas.codecs import zstd
from cas.codecs.planes import ITEMSIZES, Plan, plane_pays
from cas.codecs.zstd import Search
from cas.format import Buffer

__all__ = ["choose", "pays"]

_WINDOWS = 8
_WINDOW_BYTES = 8 << 10
_LEAST_WINDOW_BYTES = 1 << 10  # below, a frame's own header and code table would decide
_SAMPLED_PART = 32  # at most one byte of so many is sampled, once windows are above their least
_GUESSES = (4, 8, 2)  # item sizes to try on unknown content, the commonest first
_REPEATS_SAVE = 50  # to look for repeats halves the speed, so it must save one byte of so many
_FRAME_SEARCHES = (Search.ANY, Search.HARDLY)  # the better one first, for where a sample shows no difference


def pays(encoded_bytes: int, raw_bytes: int) -> bool:
    """Whether an encoding saves at least 1/64, and a byte.

    A raw chunk is served from what was read, without decoding or copying; a saving
    below 1.6% does not buy that back.
    """
    return encoded_bytes <= raw_bytes - max(1, raw_bytes // 64)


def choose(raw: memoryview, itemsize: int) -> Plan | Search | None:
    """What to try on the whole chunk: planes, one zstd frame, or nothing, since nothing would pay.

    Args:
        raw: the chunk, 8 bytes or more.
        itemsize: bytes per item if that is known and is 2, 4 or 8; any other value means unknown.
    """
    sample = _sample(raw)
    frame_bytes, search = min(((_size(sample, search), search) for search in _FRAME_SEARCHES), key=lambda t: t[0])
    if itemsize not in ITEMSIZES:
        rough_bytes = {guess: _rough_bytes(sample, guess) for guess in _GUESSES}
        itemsize = min(_GUESSES, key=lambda guess: rough_bytes[guess])
        if frame_bytes < rough_bytes[itemsize]:
            return search if pays(frame_bytes, len(sample)) else None
    plan_bytes, plan = min((_try_planes(sample, itemsize, last) for last in (False, True)), key=lambda t: t[0])
    if not pays(min(plan_bytes, frame_bytes), len(sample)):
        return None
    return plan if plan_bytes <= frame_bytes else search


def _sample(raw: memoryview) -> bytes:
    """Whole 8-byte items from windows spread evenly over the chunk; all of a small chunk."""
    window_bytes = min(_WINDOW_BYTES, max(_LEAST_WINDOW_BYTES, len(raw) // (_WINDOWS * _SAMPLED_PART))) & ~7
    if len(raw) <= _WINDOWS * window_bytes:
        return bytes(raw[: len(raw) & ~7])
    last = len(raw) - window_bytes
    starts = (last * window // (_WINDOWS - 1) & ~7 for window in range(_WINDOWS))
    return b"".join(raw[start : start + window_bytes] for start in starts)


def _size(data: Buffer, search: Search) -> int:
    return len(zstd.compress(data, search))


def _rough_bytes(sample: bytes, itemsize: int) -> int:
    return sum(min(len(plane), _size(plane, Search.HARDLY)) for plane in kernels.shuffle(sample, itemsize))


def _try_planes(sample: bytes, itemsize: int, sign_last: bool) -> tuple[int, Plan]:
    """What the planes come to together, and how to make them so."""
    total_bytes, searches = 0, list[Search | None]()
    for plane in kernels.shuffle(sample, itemsize, sign_last):
        quick_bytes = _size(plane, Search.HARDLY)
        if not plane_pays(quick_bytes, len(plane)):
            searches.append(None)
            total_bytes += len(plane)
            continue
        long_bytes = _size(plane, Search.LONG)
        worth_it = long_bytes + len(plane) // _REPEATS_SAVE < quick_bytes
        searches.append(Search.LONG if worth_it else Search.HARDLY)
        total_bytes += long_bytes if worth_it else quick_bytes
    return total_bytes, Plan(itemsize, sign_last, tuple(searches))

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
from cas.codecs.planes import ITEMSIZES, Plan
from cas.codecs.zstd import Search

__all__ = ["choose", "pays"]

_WINDOWS = 8
_WINDOW_BYTES = 8 << 10
_LEAST_WINDOW_BYTES = 1 << 10  # below, a frame's own header and code table would decide
_SAMPLED_PART = 32  # at most one byte of so many is sampled, once windows are above their least
_GUESSES = (4, 8, 2)  # item sizes to try on unknown content, the commonest first
_THOROUGH_SAVES = 50  # a search for repeats halves the speed, so it must save one byte of so many


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
    # Repeats may lie further apart than a sample shows, so that here they get the benefit of the doubt.
    frame_bytes, search = _try(sample, Search.ANY, must_save=0)
    if itemsize not in ITEMSIZES:
        rough_bytes = {guess: _rough_bytes(sample, guess) for guess in _GUESSES}
        itemsize = min(_GUESSES, key=lambda guess: rough_bytes[guess])
        if frame_bytes < rough_bytes[itemsize]:
            return search if pays(frame_bytes, len(sample)) else None
    plan_bytes, plan = min(
        (_try_planes(sample, itemsize, sign_last) for sign_last in (False, True)), key=lambda tried: tried[0]
    )
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


def _try(data: bytes, thorough: Search, must_save: int) -> tuple[int, Search]:
    """The size of a frame, and the search to make it with: the thorough one if that saves ``must_save`` bytes."""
    quick_bytes, thorough_bytes = (len(zstd.compress(data, search)) for search in (Search.HARDLY, thorough))
    if thorough_bytes + must_save <= quick_bytes:
        return thorough_bytes, thorough
    return quick_bytes, Search.HARDLY


def _rough_bytes(sample: bytes, itemsize: int) -> int:
    planes = kernels.shuffle(sample, itemsize)
    return sum(min(len(plane), len(zstd.compress(plane, Search.HARDLY))) for plane in planes)


def _try_planes(sample: bytes, itemsize: int, sign_last: bool) -> tuple[int, Plan]:
    """What the planes come to together, and how to make them so."""
    planes = kernels.shuffle(sample, itemsize, sign_last)
    tried = [_try(plane, Search.LONG, must_save=len(plane) // _THOROUGH_SAVES) for plane in planes]
    total_bytes = sum(min(len(plane), size) for plane, (size, _) in zip(planes, tried, strict=True))
    return total_bytes, Plan(itemsize, sign_last, tuple(search for _, search in tried))

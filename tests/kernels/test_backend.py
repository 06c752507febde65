"""Which kernels run, and that the C ones stand on their own feet."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cas.kernels import GEAR_TABLE, shuffle, unshuffle

HIDDEN = "import sys; sys.modules['cas.kernels._native'] = None; "
TELL = "import cas.kernels; print(cas.kernels.backend(), b''.join(cas.kernels.shuffle(b'abcd', 2)))"


def run(code, **environment):
    """What a fresh Python prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_c_kernels_run_where_they_were_built(native):
    """Unless nothing else is asked for."""
    assert run(TELL, CAS_KERNELS="") == f"{native.backend()} b'acbd'"


def test_numpy_runs_where_it_is_asked_for_or_nothing_was_built():
    """With the same results."""
    assert run(TELL, CAS_KERNELS="numpy") == "NumPy b'acbd'"
    assert run(HIDDEN + TELL, CAS_KERNELS="") == "NumPy b'acbd'"


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("shuffle", (b"abc", 2, False, bytearray(3))),
        ("shuffle", (b"abc", 3, False, bytearray(3))),
        ("shuffle", (b"abc", 0, False, bytearray(3))),
        ("shuffle", (b"abcd", 2, False, bytearray(3))),
        ("unshuffle", ((), False, bytearray(3))),
        ("unshuffle", ((b"ab", b"c"), False, bytearray(4))),
        ("unshuffle", ((b"ab", b"cd"), False, bytearray(5))),
        ("unshuffle", ((b"a",) * 9, False, bytearray(9))),
        ("difference", (b"abcd", b"ab", 2)),
        ("undo_difference", (b"abc", b"abc", 2)),
        ("undo_difference", (b"", b"", -8)),
        ("gear_boundary", (b"abc", b"short table", 1, 2, 3, 0, 0)),
        ("gear_boundary", (b"abc", GEAR_TABLE, 0, 2, 3, 0, 0)),
        ("gear_boundary", (b"abc", GEAR_TABLE, 3, 2, 1, 0, 0)),
    ],
)
def test_c_never_trusts_its_caller(native, kernel, arguments):
    """Arguments that could lead outside a buffer are refused in C too."""
    with pytest.raises(ValueError, match=r"items|planes|needs"):
        getattr(native, kernel)(*arguments)


@pytest.mark.parametrize("planes", [[b"ab", b"cd"], (b"ab", "cd"), (None, b"ab")])
def test_c_refuses_what_is_not_a_buffer(native, planes):
    """And gives back those buffers that it already held."""
    with pytest.raises(TypeError):
        native.unshuffle(planes, False, bytearray(4))


def test_kernels_run_in_many_threads_at_once():
    """They keep nothing between calls."""
    inputs = [random.Random(seed).randbytes(80_000) for seed in range(16)]

    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(lambda data: unshuffle(shuffle(data, 8, True), True), inputs))

    assert outputs == inputs

"""The C kernels: where a compiler exists they must have been built, so that no law passes by default."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def native():
    """The module that was built of native.c."""
    try:
        from cas.kernels import _native
    except ImportError as error:
        if any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang")):
            pytest.fail(f"a C compiler is here, but native.c was not built ({error}): run `pip install -e .`")
        pytest.skip("no C compiler here, so there is no C kernel to compare")
    return _native

"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import cas


def test_exported_names_are_pinned():
    """Adding a name is a decision, removing one a breaking change."""
    assert sorted(cas.__all__) == [
        "CasError", "Checkpoint", "ConflictError", "CorruptError", "FormatError", "NotFoundError", "PutResult",
        "RefusedError", "StorageError", "Store", "__version__", "open",
    ]  # fmt: skip
    assert all(getattr(cas, name) is not None for name in cas.__all__)


def test_import_is_light():
    """``import cas`` and its errors pull in no database, no cloud and no framework."""
    code = (
        "import sys, cas; cas.errors; "
        "heavy = {'sqlalchemy', 'alembic', 'fsspec', 'numpy', 'torch', 'ray', 'rich', 'click'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_exit_codes_are_one_for_each_class():
    """The README lists them; scripts depend on them."""
    codes = {
        getattr(cas, name): getattr(cas, name).exit_code
        for name in cas.__all__ if name.endswith("Error")
    }  # fmt: skip
    assert {kind.__name__: code for kind, code in codes.items()} == {
        "CasError": 1, "NotFoundError": 3, "FormatError": 4, "CorruptError": 5, "ConflictError": 6,
        "RefusedError": 7, "StorageError": 8,
    }  # fmt: skip

"""Which names cannot be in a working directory, and which cannot be side by side."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import RefusedError
from cas.worktree.names import check_not_reserved, fold, iter_collisions


@pytest.mark.parametrize(
    "path", [".cas", ".cas/format.json", "a/.cas/x", ".CAS/x", "a/.Cas", ".cas-restore-0123456789abcdef/0"]
)
def test_names_that_cas_needs_are_refused(path: str) -> None:
    """A checkpoint can neither plant a store nor look like a restore in progress."""
    with pytest.raises(RefusedError, match="belong"):
        check_not_reserved(path)


@pytest.mark.parametrize("path", ["cas", "a.cas", ".cash/x", ".cas.txt", "x.cas-restore-1"])
def test_names_that_only_look_similar_are_not_refused(path: str) -> None:
    """What is reserved is as little as can be."""
    assert check_not_reserved(path) is None


@given(name=st.text(st.characters(exclude_characters="/"), min_size=1))
def test_case_and_composition_do_not_survive_folding(name: str) -> None:
    """However a file system writes a name back, it folds alike; folding twice changes nothing."""
    folded = fold(name)
    assert fold(folded) == folded
    assert {fold(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")} == {folded}
    assert not name.isascii() or fold(name.upper()) == folded


@pytest.mark.parametrize(
    ("paths", "pairs"),
    [
        (["README", "readme"], [("README", "readme")]),
        (["A/x", "a/y"], [("A", "a")]),
        (["A/x", "a/x"], [("A", "a")]),
        (["d/é", "d/e\u0301"], [("d/é", "d/e\u0301")]),
        (["straße", "STRASSE"], [("straße", "STRASSE")]),
        (["a/x", "b/X", "ab", "a/b/X"], []),
        (["x", "X", "x/y"], [("x", "X")]),
    ],
)
def test_names_that_fold_alike_in_one_directory_collide(paths: list[str], pairs: list[tuple[str, str]]) -> None:
    """Directories collide as files do; what lies in different directories never does."""
    assert list(iter_collisions(paths)) == pairs


@given(paths=st.lists(st.text("aAbB/", min_size=1).filter(lambda path: "//" not in path), max_size=8))
def test_without_collisions_folding_keeps_paths_apart(paths: list[str]) -> None:
    """If no pair is named, then no two paths are one on a file system that ignores case."""
    distinct = {path.strip("/") for path in paths} - {""}
    if not list(iter_collisions(sorted(distinct))):
        assert len({"/".join(fold(name) for name in path.split("/")) for path in distinct}) == len(distinct)

"""REV: every way to name a checkpoint, and clear errors for those that are none."""

from __future__ import annotations

import pytest

from cas.errors import FormatError, NotFoundError
from cas.repository import BytesSource
from cas.repository.keys import object_key


def put(repository, text, **kind):
    return repository.put([BytesSource("a", text.encode())], **kind)


def test_every_way_to_name_a_checkpoint(repository):
    """Hash, commit, prefixes of both, ref, and ~n from each that has a history."""
    first, second, third = (put(repository, text, ref="runs/a") for text in "123")
    names = {
        str(third.checkpoint): third, str(third.commit.id): third, "runs/a": third, "runs/a~0": third,
        str(third.checkpoint)[:8]: third, str(third.commit.id)[:12]: third,
        "runs/a~1": second, "runs/a~": second, "runs/a~2": first, "runs/a~1~1": first, f"{third.commit.id}~2": first,
    }  # fmt: skip
    for rev, result in names.items():
        assert repository.resolve(rev).checkpoint == result.checkpoint, rev
    assert repository.resolve("runs/a~1").commit == second.commit


def test_an_unknown_name_says_so(repository):
    """Names, whole hashes and prefixes that are not there."""
    put(repository, "1", ref="main")
    for rev in ("nope", "0" * 64, "00000000", "main~1"):
        with pytest.raises(NotFoundError):
            repository.resolve(rev)


@pytest.mark.parametrize("rev", ["", "~1", "abc", "a~x", "two words"])
def test_what_is_no_rev_says_why(repository, rev):
    """Too short, empty, or with a character that no name has."""
    with pytest.raises(FormatError):
        repository.resolve(rev)


def test_a_bare_checkpoint_has_no_parents(repository):
    """Two commits may have one checkpoint, so ``~1`` of it would be a guess."""
    result = put(repository, "1", ref="main")
    with pytest.raises(FormatError, match="name a commit"):
        repository.resolve(f"{result.checkpoint}~1")


def test_an_ambiguous_prefix_lists_what_it_could_be(repository):
    """Two hashes with eight digits in common are made up here: nobody finds them by chance."""
    result = put(repository, "1")
    prefix = str(result.checkpoint)[:8]
    twin = type(result.checkpoint).parse(prefix + "0" * 56)
    repository.storage.create(object_key("manifests", twin), [b"not read"])

    with pytest.raises(FormatError, match="2 hashes"):
        repository.resolve(prefix)
    assert repository.resolve(str(result.checkpoint)).checkpoint == result.checkpoint

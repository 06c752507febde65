"""Errors: they survive the trip to another process, and scripts can tell them apart."""

from __future__ import annotations

import copy
import pickle

import pytest

from cas import errors
from cas.errors import CasError, CorruptError, FormatError, NotFoundError, StorageError

ARGUMENTS: dict[str, tuple[object, ...]] = {
    "CorruptError": ("aa", "bb", "packs/aa/bb"),
    "StorageError": ("no space left on /store", True),
}


def classes(root: type[CasError] = CasError) -> list[type[CasError]]:
    """``root`` and its kinds; a module's private subclass of one of them counts as that."""
    children = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(kind for child in children for kind in classes(child))]


def make(kind: type[CasError]) -> CasError:
    return kind(*ARGUMENTS.get(kind.__name__, (f"what was wrong with {kind.__name__}",)))


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_pickling(kind: type[CasError], protocol: int) -> None:
    """A worker's error arrives with its class, text, arguments and attributes."""
    error = make(kind)
    arrived = pickle.loads(pickle.dumps(error, protocol))

    assert type(arrived) is kind
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))
    assert str(copy.copy(error)) == str(error)


def test_exit_codes_are_distinct() -> None:
    """A script knows from the exit code what to do next; 0 and click's own 2 are nobody's."""
    codes = [kind.exit_code for kind in classes()]

    assert len(set(codes)) == len(codes)
    assert not {0, 2} & set(codes)


def test_every_error_is_exported() -> None:
    """What may be raised may be caught by name."""
    assert set(errors.__all__) == {kind.__name__ for kind in classes()}


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_the_text_is_what_was_said(kind: type[CasError]) -> None:
    """No repr, no errno, no quotes around the message, whatever builtin the class is too."""
    error = make(kind)

    assert all(str(part) in str(error) for part in error.args if isinstance(part, str))
    assert not str(error).startswith(("'", '"', "["))
    assert "\n" not in str(error)


def test_errors_are_caught_as_builtins_too() -> None:
    """Code that knows nothing of cas handles them as what they are."""
    assert isinstance(NotFoundError("x"), KeyError)
    assert isinstance(FormatError("x"), ValueError)
    assert isinstance(StorageError("x"), OSError)
    assert (StorageError("x").transient, StorageError("x", True).transient) == (False, True)


def test_a_corrupt_error_carries_its_facts() -> None:
    """Repair needs to know which object, what was due and what was there, as text that pickles."""
    error = CorruptError(expected=b"due", actual=3, where="packs/aa")

    assert (error.expected, error.actual, error.where) == (str(b"due"), "3", "packs/aa")
    assert str(NotFoundError()) == "not found"

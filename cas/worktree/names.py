"""Names that a working directory cannot have, and names that cannot stand side by side.

``.cas`` is where a store lives, and a restore keeps its unfinished files under
``.cas-restore-…``. A checkpoint that had such names could plant a store, or
change one, in the directory it is pulled into; so they are neither stored nor
restored, in any case of letters, since some file systems ignore case.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from cas.errors import RefusedError
from cas.repository.locate import DIRECTORY_NAME

__all__ = ["STAGING_PREFIX", "check_not_reserved", "fold", "iter_collisions"]

STAGING_PREFIX = f"{DIRECTORY_NAME}-restore-"


def check_not_reserved(path: str) -> None:
    """Refuse a path that has a reserved component.

    Raises:
        RefusedError: it has; the message names it.
    """
    if DIRECTORY_NAME not in (folded := path.casefold()):
        return
    for component in folded.split("/"):
        if component == DIRECTORY_NAME:
            raise RefusedError(f"{path!r}: the name {DIRECTORY_NAME} belongs to stores; a checkpoint cannot have it")
        if component.startswith(STAGING_PREFIX):
            raise RefusedError(
                f"{path!r}: such names belong to restores in progress; "
                "finish the pull that was interrupted there, or remove it"
            )


def fold(name: str) -> str:
    """What stays of a name on a file system that ignores case and Unicode composition.

    Source: canonical caseless matching, The Unicode Standard, section 3.13 (D145).
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def iter_collisions(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of distinct paths, directories above ``paths`` included, that share a parent and fold alike.

    Yields:
        Each colliding path once, with the first that it collides with.
    """
    first_of: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    for path in paths:
        while path and path not in seen:
            seen.add(path)
            parent, _, name = path.rpartition("/")
            first = first_of.setdefault((parent, fold(name)), path)
            if first != path:
                yield first, path
            path = parent

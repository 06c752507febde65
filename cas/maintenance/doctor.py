"""doctor: can this machine, and the storage at a URL, do what cas needs of them?

Says which kernels are in use, opens the store, tries exclusive create by racing
for it, compares clocks and looks at the index. Writes a few small objects under
``probe-…/`` and removes them, and with them what dead writers left half-written
in a store.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from cas.clock import now_us
from cas.errors import CasError, NotFoundError, RefusedError
from cas.kernels import backend
from cas.repository import Repository
from cas.storage import Storage, open_storage, probe_exclusive_create, redact

__all__ = ["Check", "examine"]

_MAX_SKEW_S = 300
_LEFTOVER_S = 86_400  # no writer is at one file for so long


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, whether it is as it should be, and what was found."""

    name: str
    ok: bool
    detail: str


def examine(url: str) -> list[Check]:
    """Look at this installation and at the storage, and the store if there is one, at ``url``."""
    checks = [
        Check("cas", True, f"{version('cas')} on Python {platform.python_version()}, {sys.platform}"),
        Check("kernels", True, backend()),
    ]
    try:
        storage = open_storage(url)
    except CasError as error:
        return [*checks, Check("storage", False, str(error))]
    try:
        checks += [
            _check("exclusive create", lambda: _exclusive_create(storage)),
            _check("clock", lambda: _clock(storage)),
        ]
    finally:
        storage.close()
    return [*checks, *_store(url)]


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except CasError as error:
        return Check(name, False, str(error))


def _exclusive_create(storage: Storage) -> str:
    if not probe_exclusive_create(storage):
        raise RefusedError("several racing writers of one key won, so names could be lost: keep no store here")
    if not storage.exclusive_create:
        raise RefusedError("not promised by this kind of storage, whatever races show: cas makes no store here")
    return "one winner of every race"


def _clock(storage: Storage) -> str:
    skew_s = (storage.now_us() - now_us()) / 1e6
    if abs(skew_s) > _MAX_SKEW_S:
        raise RefusedError(f"this machine and the store differ by {skew_s:.0f} s; set the clock")
    return f"{skew_s:+.1f} s from this machine's"


def _store(url: str) -> list[Check]:
    try:
        repository = Repository.open(url)
    except NotFoundError:
        return [Check("store", True, f"none at {redact(url)} yet; `cas init` makes one")]
    except CasError as error:
        return [Check("store", False, str(error))]
    with repository:
        declared = repository.declared
        checks = [Check("store", True, f"{repository.url}, version {declared.version}, id {declared.store_id}")]
        checks.append(_check("index", lambda: _index(repository)))
        checks.append(_check("leftovers", lambda: _leftovers(repository.storage)))
    return checks


def _index(repository: Repository) -> str:
    behind = repository.catch_up()
    found = repository.index.stats()
    caught = f", caught up with {behind} refs" if behind else ""
    return f"{redact(repository.index_url)}: {found.commits} commits, {found.checkpoints} checkpoints{caught}"


def _leftovers(storage: Storage) -> str:
    swept = storage.sweep(storage.now_us() - _LEFTOVER_S * 1_000_000)
    return f"{swept} unfinished files of dead writers, a day old or more, removed" if swept else "none"

"""REV: how people name a checkpoint.

A REV is a checkpoint hash, a commit id, a unique prefix of either (8 digits or
more), a ref, or any of these that leads to a commit followed by ``~n``: its n-th
first parent. Answered by the object store alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cas.errors import FormatError, NotFoundError
from cas.format import Commit, Digest
from cas.repository.keys import COMMITS, MANIFESTS, digest_of
from cas.repository.reader import Reader
from cas.repository.refs import Refs
from cas.storage.base import Storage

__all__ = ["MIN_PREFIX_DIGITS", "Revision", "resolve"]

MIN_PREFIX_DIGITS = 8
_REV = re.compile(r"(?P<name>[^~]+)(?P<back>(~[0-9]*)*)")
_SHORT_HEX = re.compile(r"[0-9a-f]{1,7}")
_HEX = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Revision:
    """What a REV means.

    Attributes:
        checkpoint: the hash of the content.
        commit: the commit that was named, or None for a bare checkpoint hash.
        ref: the ref that was named, or None.
    """

    checkpoint: Digest
    commit: Commit | None = None
    ref: str | None = None


def resolve(rev: str, storage: Storage, reader: Reader, refs: Refs) -> Revision:
    """What ``rev`` means in this store.

    Raises:
        NotFoundError: it names nothing here.
        FormatError: it has no meaning, or more than one.
    """
    match = _REV.fullmatch(rev)
    if match is None:
        raise FormatError(
            f"{rev!r} is not a hash, a prefix of {MIN_PREFIX_DIGITS} digits or more, a ref, or one with ~n"
        )
    found = _resolve_name(match["name"], storage, reader, refs)
    for step in match["back"].split("~")[1:]:
        for _ in range(int(step or 1)):
            if found.commit is None:
                raise FormatError(
                    f"{rev!r}: {match['name']} is a checkpoint, which has no parents; name a commit or a ref"
                )
            if not found.commit.parents:
                raise NotFoundError(f"{rev!r} goes back further than the history, which begins at {found.commit.id}")
            parent = reader.commit(found.commit.parents[0])
            found = Revision(parent.checkpoint, parent)
    return found


def _resolve_name(name: str, storage: Storage, reader: Reader, refs: Refs) -> Revision:
    if _HEX.fullmatch(name):
        found = _exact(Digest.parse(name), reader) if len(name) == 64 else _prefix(name, storage, reader)
    else:
        record = refs.find(name)
        found = None
        if record is not None and record.commit is not None:
            commit = reader.commit(record.commit)
            found = Revision(commit.checkpoint, commit, name)
    if found is None and _SHORT_HEX.fullmatch(name):
        raise FormatError(f"{name!r} is no ref, and too short for a hash: give {MIN_PREFIX_DIGITS} digits or more")
    if found is None:
        raise NotFoundError(f"{name!r} names nothing in {storage.url}; see `cas refs` and `cas log`")
    return found


def _exact(digest: Digest, reader: Reader) -> Revision | None:
    try:
        return Revision(reader.manifest(digest).tree.hash)
    except NotFoundError:
        pass
    try:
        commit = reader.commit(digest)
    except NotFoundError:
        return None
    return Revision(commit.checkpoint, commit)


def _prefix(prefix: str, storage: Storage, reader: Reader) -> Revision | None:
    found = [
        digest_of(info.key)
        for kind in (MANIFESTS, COMMITS)
        for info in storage.list(f"{kind}/{prefix[:2]}/")
        if info.key.startswith(f"{kind}/{prefix[:2]}/{prefix}")
    ]
    if len(found) > 1:
        some = ", ".join(str(digest)[:16] for digest in found[:5])
        raise FormatError(f"{prefix!r} is the beginning of {len(found)} hashes: {some}; give more digits")
    return _exact(found[0], reader) if found else None

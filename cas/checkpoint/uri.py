"""URIs of checkpoints, of two kinds that are told apart by their beginning.

    cas+s3://bucket/store#<hash>    a checkpoint in a *store*: deduplicated, verified, for good
    s3://bucket/some/directory      a *plain directory* of files, as other tools write and read them

``cas+`` stands before the URL of any store, the fragment is a REV. Without ``cas+`` it
is a directory, also where a store happens to lie there. The URLs are those of
`cas.storage.open_storage` in the first case, of fsspec in the second: ``cas+memory://``
is cas's own memory, ``memory://`` fsspec's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cas.checkpoint.contents import STORE_PREFIX, Content, DirectoryContent, StoredContent
from cas.errors import FormatError, RefusedError
from cas.format import Digest
from cas.repository import Repository, locate_store
from cas.storage import open_storage, redact
from cas.transfer import ContentMover

if TYPE_CHECKING:
    from cas.checkpoint.remote_directory import RemoteDirectory
    from cas.checkpoint.store import Store

__all__ = ["content_at", "write_at"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_HASH = re.compile(r"[0-9a-f]{64}")


def content_at(uri: str, store: str | None) -> tuple[Content, str]:
    """The content that a URI names, and the store that it belongs in.

    Nothing is read, unless the URI names a checkpoint by something else than its whole hash: a name
    can move, so it is looked up now.

    Args:
        uri: either kind.
        store: where a plain directory's content is to be stored when its hash is asked for; else as everywhere.

    Raises:
        FormatError: it is no URI, or one of a store without a checkpoint.
        NotFoundError: the store has nothing of that name.
        RefusedError: it carries a user or password, which references would carry on.
    """
    if (url := _store_url(uri)) is not None:
        url, _, rev = url.partition("#")
        if not rev:
            raise FormatError(f"{redact(uri)} names a store and no checkpoint; end it with #<hash>, or #<ref>")
        if _HASH.fullmatch(rev):
            return StoredContent(Digest.parse(rev), url), url
        with Repository.open(url) as repository:
            return StoredContent(repository.resolve(rev).checkpoint, repository.url), repository.url
    return _plain_content(uri), locate_store(store)


def write_at(content: Content, uri: str, *, overwrite: bool) -> str:
    """Bring a content to a URI, of a store or of a plain directory.

    Returns:
        The URI that `content_at` takes for it: with the hash, for a store; as given, for a directory.
    """
    if (url := _store_url(uri)) is not None:
        if "#" in url:
            raise FormatError(f"{redact(uri)} has a #fragment; give the store alone, the result names the checkpoint")
        from cas.checkpoint.store import Store

        with Store.open(url) as store:
            return StoredContent(_keep(content, store), store.url).uri
    place = _plain_content(uri)
    if isinstance(place, DirectoryContent):
        content.write(place.path, overwrite=overwrite)
    else:
        place.replace(content, overwrite=overwrite)
    return uri


def _keep(content: Content, store: Store) -> Digest:
    from cas.checkpoint.checkpoint import Checkpoint

    if isinstance(content, StoredContent) and content.public_url != store.url:
        with Repository.open(content.url) as source:
            mover = ContentMover(source, store.repository)
            mover.bring(content.digest)
            mover.settle()
        content = StoredContent(content.digest, store.url)
    return store.keep(Checkpoint(content, store.url))


def _store_url(uri: str) -> str | None:
    """The store's URL, fragment and all, or None for the URI of a plain directory."""
    if not uri.startswith(STORE_PREFIX):
        return None
    url = uri.removeprefix(STORE_PREFIX)
    store, _, _ = url.partition("#")
    if not _SCHEME.match(store):
        raise FormatError(f"{redact(uri)} needs the form cas+URL#<hash>, such as cas+s3://bucket/store#<hash>")
    if redact(store) != store:
        raise RefusedError(
            f"{redact(uri)} was given with a user, password or query, which references would carry on;\n"
            "leave them out and use the environment or a profile"
        )
    return url


def _plain_content(uri: str) -> DirectoryContent | RemoteDirectory:
    match = _SCHEME.match(uri)
    if match is None:
        raise FormatError(f"{uri!r} is no URI, which begins as file:// or s3:// does; use from_directory, to_directory")
    if match[0].lower() in ("file", "local"):
        path = open_storage(f"file{uri.removeprefix(match[0])}").local_path
        assert path is not None  # file:// is of this machine, or refused
        return DirectoryContent(Path(path))
    from cas.checkpoint.remote_directory import RemoteDirectory  # fsspec takes a third of a second to import

    return RemoteDirectory(uri)

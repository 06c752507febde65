"""Which store is meant, and where its index lies.

The store: what the caller names, else ``CAS_STORE``, else the nearest ``.cas``
folder upwards, else the user's own. The index: ``CAS_INDEX``, else a SQLite file
inside a store that is a local folder, else one in the user's cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from cas.format.store_format import FORMAT_KEY

__all__ = ["DIRECTORY_NAME", "INDEX_NAME", "cache_dir", "index_is_named", "index_url", "locate_store", "user_store"]

DIRECTORY_NAME = ".cas"
INDEX_NAME = "index.sqlite"


def locate_store(store: str | os.PathLike[str] | None = None, start: Path | None = None) -> str:
    """The URL of the store that is meant.

    Args:
        store: what the caller named, if anything.
        start: where to begin looking upwards for ``.cas``; the current directory by default.
    """
    if store is not None:
        return os.fspath(store)
    if named := os.environ.get("CAS_STORE"):
        return named
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / DIRECTORY_NAME / FORMAT_KEY).is_file():
            return str(folder / DIRECTORY_NAME)
    return str(user_store())


def user_store() -> Path:
    """The user's own store, made on the first write."""
    from platformdirs import user_data_path

    return user_data_path("cas") / "store"


def cache_dir() -> Path:
    """Where what can be rebuilt is kept: ``CAS_CACHE_DIR``, else the platform's cache folder."""
    if named := os.environ.get("CAS_CACHE_DIR"):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("cas")


def index_is_named() -> bool:
    """Whether somebody chose where the index lies, by ``CAS_INDEX``."""
    return bool(os.environ.get("CAS_INDEX"))


def index_url(local_path: str | None, store_id: str) -> str:
    """The URL of a store's index; a plain path means SQLite."""
    if named := os.environ.get("CAS_INDEX"):
        return named
    if local_path is not None and os.access(local_path, os.W_OK):
        return os.path.join(local_path, INDEX_NAME)
    return str(cache_dir() / "index" / f"{store_id}.sqlite")

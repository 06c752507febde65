"""Remotes: short names for the URLs of other stores, kept with one store.

For a store in a local folder they lie in it, as ``remotes.json``; for any other in
the user's configuration, under the digest of the store's URL. The file is JSON,
names to URLs, sorted; it is replaced whole. It holds no secrets: URLs that carry any
are refused.
"""

from __future__ import annotations

import json
import os
import re
from functools import cached_property

from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError
from cas.format import Digest
from cas.storage import LocalStorage, open_storage, redact

__all__ = ["REMOTES_NAME", "Remotes"]

REMOTES_NAME = "remotes.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Remotes:
    """The remotes of one store."""

    def __init__(self, store_url: str) -> None:
        """Those of the store that ``store_url`` names, which need not exist and is not opened."""
        self._store_url = store_url

    def names(self) -> dict[str, str]:
        """The URL of each remote, in order of names.

        Raises:
            FormatError: the file was edited into something else.
        """
        folder, key = self._place
        try:
            found = json.loads(folder.read(key))
        except NotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
            raise FormatError(f"{folder.url}/{key} needs the form {{name: URL}}; mend or remove it")
        return dict(sorted(found.items()))

    def add(self, name: str, url: str) -> str:
        """Remember ``url`` as ``name``.

        Returns:
            What is remembered: of a path, the absolute one.

        Raises:
            ConflictError: the name stands for another URL.
            FormatError: the name could be taken for a path or a URL.
            RefusedError: the URL carries a user, a password or a query.
        """
        if not _NAME.fullmatch(name):
            raise FormatError(f"{name!r} cannot name a remote: use letters, digits and ._- only, a letter first")
        if redact(url) != url:
            raise RefusedError(
                f"{redact(url)} was given with a user, password or query, which a file must not keep;\n"
                "leave them out and use the environment or a profile"
            )
        url = url if "://" in url else os.path.abspath(os.path.expanduser(url))
        found = self.names()
        if found.get(name, url) != url:
            raise ConflictError(f"remote {name!r} is {found[name]}; see `cas remote remove {name}`")
        self._write(found | {name: url})
        return url

    def remove(self, name: str) -> None:
        """Forget a remote. NotFoundError if there is none of that name."""
        found = self.names()
        if name not in found:
            raise NotFoundError(f"no remote {name!r}; see `cas remote list`")
        del found[name]
        self._write(found)

    def locate(self, name_or_url: str) -> str:
        """The URL that a remote's name stands for, or what was given, where it is no remote's name.

        A folder with a remote's name is meant by ``./name``.
        """
        return self.names().get(name_or_url, name_or_url) if _NAME.fullmatch(name_or_url) else name_or_url

    def _write(self, remotes: dict[str, str]) -> None:
        text = json.dumps(remotes, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        folder, key = self._place
        folder.replace(key, [text.encode()])

    @cached_property
    def _place(self) -> tuple[LocalStorage, str]:
        storage = open_storage(self._store_url)
        local_path, url = storage.local_path, storage.url
        storage.close()
        if local_path is not None:
            return LocalStorage(local_path), REMOTES_NAME
        from platformdirs import user_config_path

        return LocalStorage(user_config_path("cas") / "remotes"), f"{Digest.of(url.rstrip('/').encode())}.json"

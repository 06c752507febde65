"""A tree's folders, which it names only by what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cas.format import Tree, TreeEntry

__all__ = ["Folders"]


class Folders:
    """What is in each folder of a tree. The root's path is empty."""

    def __init__(self, tree: Tree) -> None:
        self._folders: dict[str, dict[str, TreeEntry | None]] = {"": {}}
        for entry in tree.files:
            self._folder(entry.path.rpartition("/")[0])[entry.path.rpartition("/")[2]] = entry
        for path in tree.empty_directories:
            self._folder(path)

    def __contains__(self, path: str) -> bool:
        return path in self._folders

    def inside(self, path: str) -> Mapping[str, TreeEntry | None]:
        """By name what is directly in a folder that there is: files, and None for folders."""
        return self._folders[path]

    def walk(self, path: str, maxdepth: int | None = None) -> Iterator[tuple[str, TreeEntry | None]]:
        """Everything below a folder by its path in the tree, as `inside`, down to ``maxdepth`` levels."""
        for name, entry in sorted(self._folders[path].items()):
            below = f"{path}/{name}" if path else name
            yield below, entry
            if entry is None and (maxdepth is None or maxdepth > 1):
                yield from self.walk(below, None if maxdepth is None else maxdepth - 1)

    def _folder(self, path: str) -> dict[str, TreeEntry | None]:
        if path not in self._folders:
            self._folders[path] = {}
            parent, _, name = path.rpartition("/")
            self._folder(parent)[name] = None
        return self._folders[path]

"""JaxCheckpoint: a pytree of arrays, as a dict tree.

Arrays lie in a safetensors file, under the keys that lead to them. Reading needs no JAX: the arrays are NumPy's then.
"""

from __future__ import annotations

import os
from typing import Any, Self

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.dict_tree import SKELETON_PATH, encode_dict
from cas.checkpoint.dict_view import DIRECTORIES, EXECUTABLES, FILES
from cas.checkpoint.frameworks.pytree import fill_pytree, find_jax, plain_pytree, with_jax_arrays

__all__ = ["JaxCheckpoint"]

_KEY = "pytree"


class JaxCheckpoint(Checkpoint):
    """A pytree: parameters, or the whole state of a training loop."""

    @classmethod
    def from_pytree(
        cls,
        tree: Any,
        *,
        preprocessor: object | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_pickle: bool | None = None,
    ) -> Self:
        """A pytree, copied now.

        Args:
            tree: dicts, lists, tuples, named tuples and nodes registered with JAX, of arrays and plain values.
            preprocessor: what the model's input must go through first.
            store: where `hash` stores it.
            allow_pickle: whether leaves of other types may be pickled, and the preprocessor; else
                ``CAS_ALLOW_PICKLE``.

        Raises:
            RefusedError: only pickle can store a leaf, and nobody allowed that; the message names it.
            FormatError: an array cannot be read here: a typed random key, one traced, one on other hosts.
        """
        files = encode_dict({_KEY: plain_pytree(tree)}, allow_pickle=allow_pickle)
        joined = {path: b"".join(parts) for path, parts in files.items()}
        return cls._of_files(joined, preprocessor=preprocessor, store=store, allow_pickle=allow_pickle)

    def get_pytree(self, like: Any = None, *, allow_pickle: bool | None = None) -> Any:
        """The pytree, with JAX arrays if JAX is installed, else with NumPy's.

        An array that JAX would have to change (64 bits without ``jax_enable_x64``) stays NumPy's.

        Args:
            like: a pytree of the same build, whose arrays' values do not matter (``jax.eval_shape`` makes one that
                has none): named tuples and registered nodes come back as its classes, and arrays as NumPy's where
                its are. Without it they are dicts of their fields.
            allow_pickle: whether pickled leaves may be loaded, which runs code; else ``CAS_ALLOW_PICKLE``.

        Returns:
            What `from_pytree` was given. Of a plain dict's checkpoint the dict, of a directory's its arrays by name.

        Raises:
            FormatError: ``like`` is built otherwise, or an array has another shape; the message says where.
            RefusedError: it holds pickled leaves, and nobody allowed them.
        """
        tree, jax = self._plain(allow_pickle), find_jax()
        return with_jax_arrays(tree, jax) if like is None else fill_pytree(like, tree, jax)

    def _plain(self, allow_pickle: bool | None) -> Any:
        if self._find_file(SKELETON_PATH) is None:
            return {name: tensor.numpy() for name, tensor in self.tensors().items()}
        found = self.to_dict(allow_pickle=allow_pickle)
        for key in (FILES, EXECUTABLES, DIRECTORIES):
            found.pop(key, None)
        return found.get(_KEY, found)

"""The tensors of a content, of any kind and wherever it is, by name.

A dict's tensors file declares only item types that every reader of safetensors knows (docs/design/008-dict-trees.md):
complex numbers are pairs of floats there. What they were, its skeleton says.
"""

from __future__ import annotations

from collections.abc import Mapping

from cas.checkpoint.dict_tree import SKELETON_PATH, TENSORS_PATH, dict_tensors, is_dict_tree
from cas.views import LazyTensor, Ranges, read_ranges, tensors_by_name

__all__ = ["find_lazy_tensors"]

_BY_NAME = {
    "complex64": "C64",
    "complex128": "C128",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
_DECLARED_OTHERWISE = _BY_NAME | {f"ml_dtypes.{name}": dtype for name, dtype in _BY_NAME.items()} | {
    "<c8": "C64", "<c16": "C128",
}  # fmt: skip


def find_lazy_tensors(files: Mapping[str, Ranges], path: str | None) -> dict[str, LazyTensor]:
    """The tensors of one file, or of all; their headers are read now, and a dict's skeleton.

    Args:
        files: of the content.
        path: one of them, or None for all that may have tensors.
    """
    wanted = files.values() if path is None else [files[path]]
    found = tensors_by_name(wanted, named=path is not None)
    if not is_dict_tree(files) or not any(tensor.path == TENSORS_PATH for tensor in found.values()):
        return found
    skeleton = files[SKELETON_PATH]
    declared = dict_tensors(read_ranges(skeleton, 0, skeleton.size_bytes))
    for name, tensor in found.items():
        reference = declared.get(tensor.name) if tensor.path == TENSORS_PATH else None
        if reference is not None and (dtype := _DECLARED_OTHERWISE.get(reference.dtype)):
            found[name] = tensor.reinterpreted(dtype, reference.shape)
    return found

"""Where the tensors are inside a file: safetensors, torch's zip, npy, npz and GGUF.

One parser serves the chunker, which cuts at tensors, and readers of single tensors.
Files are read by structure only, whoever wrote them; docs/design/003-cutting.md.
"""

from cas.layouts.find import find_layout, find_tensors, locate_tensor
from cas.layouts.spans import DTYPE_BYTES, Layout, ReadAt, TensorSpan, TensorView, c_strides

__all__ = [
    "DTYPE_BYTES",
    "Layout",
    "ReadAt",
    "TensorSpan",
    "TensorView",
    "c_strides",
    "find_layout",
    "find_tensors",
    "locate_tensor",
]

"""Views of a stored checkpoint that fetch what is read and nothing else: files, tensors, ``cas://`` and a mount.

Nothing here is a second identity, and nothing is written. What was read was checked against its
chunk's digest. Why it is as it is: docs/design/009-views.md.
"""

from cas.views.file import LazyFile, open_file
from cas.views.ranges import Ranges, SourceRanges, read_ranges
from cas.views.stored import BlobRanges, StoredFiles, open_stored_files
from cas.views.tensors import LazyTensor, tensors_by_name

__all__ = [
    "BlobRanges",
    "LazyFile",
    "LazyTensor",
    "Ranges",
    "SourceRanges",
    "StoredFiles",
    "open_file",
    "open_stored_files",
    "read_ranges",
    "tensors_by_name",
]

"""How files are cut into chunks: at tensors where the layout is known, by content (FastCDC) elsewhere.

Cuts never change what anything is called: a blob's digest is of its bytes alone.
docs/design/003-cutting.md; pinned by tests/vectors/cuts.json.
"""

from cas.chunkers.chunks import CHUNKER_ID, ChunkerId, RawChunk, iter_chunks
from cas.chunkers.fastcdc import FastCDC

__all__ = ["CHUNKER_ID", "ChunkerId", "FastCDC", "RawChunk", "iter_chunks"]

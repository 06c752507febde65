"""The vectors of cas.format, one function a file; `tools/make_vectors.py` writes them."""

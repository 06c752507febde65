"""How a chunk's bytes are stored: raw, zstd, or byte planes, whichever a sample says pays.

`encode` never makes a chunk longer and hands out nothing that it has not decoded
and compared; `decode` never makes more than the bytes it was told to expect. Ids
and payloads are permanent: docs/design/002-codecs.md and docs/format.md specify
them, tests/vectors/codecs.json pins what each payload decodes to.
"""

from cas.codecs.codec import CodecId, Encoded, decode, encode

__all__ = ["CodecId", "Encoded", "decode", "encode"]

"""tests/vectors/codecs.json pins what stored payloads decode to, for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cas import errors
from cas.codecs import CodecId, decode

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codecs.json").read_text())


def by_name(vector):
    return vector["name"]


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=by_name)
def test_what_was_stored_is_read(vector):
    """Whatever later versions encode to."""
    decoded = decode(vector["codec"], bytes.fromhex(vector["payload"]), vector["raw_bytes"])

    assert decoded == bytes.fromhex(vector["raw"])


@pytest.mark.parametrize("vector", VECTORS["rejected"], ids=by_name)
def test_what_was_refused_stays_refused(vector):
    """So that two readers never disagree about a payload."""
    with pytest.raises(getattr(errors, vector["error"])):
        decode(vector["codec"], bytes.fromhex(vector["payload"]), vector["raw_bytes"])


def test_ids_are_never_renumbered():
    """They are written into every pack: append only."""
    assert {codec.name: codec.value for codec in CodecId} == {"RAW": 0, "ZSTD": 1, "PLANES": 2}


def test_every_codec_is_pinned():
    """A new codec comes with vectors."""
    assert {vector["codec"] for vector in VECTORS["accepted"]} == {codec.value for codec in CodecId}

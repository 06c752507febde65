"""Ranges of blobs: exactly the bytes that were asked for, from the chunks they lie in and no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.errors import CorruptError, FormatError
from cas.repository import BytesSource
from cas.views import SourceRanges, StoredFiles, read_ranges
from cas.views.recent import RecentChunks

SIZE = 5 << 20
NOISE = np.random.default_rng(0).bytes(SIZE)
RANGES = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), abs(pair[0] - pair[1])))


@pytest.fixture
def files(stored):
    """One blob of several chunks, one of a chunk that comes again and again, and an empty one."""
    return stored({"noise": NOISE, "zeros": bytes(SIZE), "empty": b""})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=RANGES)
def test_any_range_is_the_same_bytes_whoever_reads_it(files, at):
    """A stored file's and a loose one's."""
    offset, size = at
    expected = NOISE[offset : offset + size]
    assert read_ranges(files["noise"], offset, size) == expected
    assert read_ranges(files["zeros"], offset, size) == bytes(size)
    assert read_ranges(SourceRanges(BytesSource("noise", NOISE)), offset, size) == expected


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (SIZE, 1), (0, SIZE + 1), (1 << 62, 1 << 62)])
def test_what_is_not_inside_the_file_is_refused(files, offset, size):
    """Before anything is allocated."""
    for read in (
        lambda: read_ranges(files["noise"], offset, size),
        lambda: read_ranges(SourceRanges(BytesSource("noise", NOISE)), offset, size),
    ):
        with pytest.raises(FormatError, match="not inside"):
            read()


def test_an_empty_file_has_an_empty_range(files):
    """And no other."""
    assert read_ranges(files["empty"], 0, 0) == b""
    assert files["empty"].near(0) == 0
    with pytest.raises(FormatError):
        read_ranges(files["empty"], 0, 1)


def test_only_the_chunks_that_overlap_are_fetched(files, counting):
    """A byte costs its chunk; a range of several chunks that lie together is one request."""
    repository, storage = counting(files.reader._storage.url)
    lazy = StoredFiles(repository.reader, files.tree.hash)
    blob = lazy["noise"]
    stored_bytes = {d: at.entry.stored_bytes for d, at in lazy.manifest.locations.items()}
    chunks = lazy.manifest.recipe(blob.entry.blob).chunks
    assert len(chunks) > 4
    storage.calls.clear(), storage.bytes.clear()

    read_ranges(blob, 0, 1)
    assert storage.bytes == {"read_range": stored_bytes[chunks[0].digest]}
    assert storage.calls == {"read_range": 1}
    read_ranges(blob, 0, sum(chunk.size_bytes for chunk in chunks[:4]))
    assert storage.calls == {"read_range": 2}
    # Packs put a few bytes before a chunk, and reading on over them is cheaper than another request.
    assert storage.bytes["read_range"] <= sum(stored_bytes[chunk.digest] for chunk in chunks[:4]) + 4096


def test_a_chunk_that_comes_again_is_fetched_once(files, counting):
    """Five MiB of zeros are one small chunk, or a few."""
    repository, storage = counting(files.reader._storage.url)
    lazy = StoredFiles(repository.reader, files.tree.hash)
    distinct = {chunk.digest for chunk in lazy.manifest.recipe(lazy["zeros"].entry.blob).chunks}
    storage.calls.clear()
    assert read_ranges(lazy["zeros"], 0, SIZE) == bytes(SIZE)
    assert storage.calls["read_range"] <= len(distinct)


def test_damage_is_found_where_it_is_read_and_only_there(files, repository, tmp_path):
    """The chunk's digest guards each range."""
    chunks = files.manifest.recipe(files["noise"].entry.blob).chunks
    place = files.manifest.locations[chunks[-1].digest]
    (pack,) = (path for path in (tmp_path / "store" / "packs").rglob("*") if path.name == str(place.pack))
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[place.entry.offset + 100] ^= 1
    pack.write_bytes(data)

    assert read_ranges(files["noise"], 0, 1000) == NOISE[:1000]
    with pytest.raises(CorruptError):
        read_ranges(files["noise"], SIZE - 1000, 1000)


def test_recent_chunks_are_bounded_and_keep_what_was_used_last():
    """By bytes, not by number."""
    from cas.format import Digest

    recent = RecentChunks(100)
    chunks = {Digest.of(bytes([n])): bytes([n]) * 40 for n in range(3)}
    (first, second, third) = chunks
    recent.add(first, chunks[first])
    recent.add(second, memoryview(chunks[second]))
    assert recent.find(first) == chunks[first]
    recent.add(third, chunks[third])
    assert recent.find(second) is None
    assert recent.find(first) == chunks[first]
    recent.add(third, bytes(40))
    assert recent.find(third) == chunks[third]


def test_files_are_a_mapping_by_path(files):
    """With NotFoundError, which is a KeyError, for what is not there."""
    assert list(files) == ["empty", "noise", "zeros"]
    assert len(files) == 3
    assert "noise" in files
    assert "nothing" not in files
    assert 3 not in files
    assert files["zeros"].size_bytes == SIZE
    with pytest.raises(KeyError, match="nothing"):
        files["nothing"]

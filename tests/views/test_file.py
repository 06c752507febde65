"""The lazy file: Python's own files, but for where the bytes come from."""

from __future__ import annotations

import io
import os
import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cas.repository import BytesSource
from cas.views import SourceRanges, StoredFiles, open_file

SIZE = 3 << 20
NOISE = np.random.default_rng(1).bytes(SIZE)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, SIZE)),
        st.tuples(st.just("read"), st.integers(0, 300)),
        st.tuples(st.just("readinto"), st.integers(0, 5000)),
        st.tuples(st.just("readline"), st.integers(-1, 100)),
        st.tuples(st.just("peek"), st.just(1)),
        st.tuples(st.just("seek"), st.integers(0, SIZE + 100)),
        st.tuples(st.just("back"), st.integers(0, SIZE)),
    ),
    max_size=12,
)


@pytest.fixture
def files(stored):
    return stored({"noise": NOISE})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, loose=st.booleans())
def test_it_does_what_a_file_in_memory_does(files, steps, loose):
    """Whatever is read and sought, in whatever order."""
    ranges = SourceRanges(BytesSource("noise", NOISE)) if loose else files["noise"]
    with open_file(ranges) as lazy, io.BytesIO(NOISE) as expected:
        for what, number in steps:
            if what == "seek":
                assert lazy.seek(number) == expected.seek(number)
            elif what == "back":
                assert lazy.seek(-number, os.SEEK_END) == expected.seek(-number, os.SEEK_END)
            elif what == "readinto":
                one, other = bytearray(number), bytearray(number)
                assert lazy.readinto(one) == expected.readinto(other)
                assert one == other
            elif what == "peek":
                assert lazy.peek(1)[:1] == NOISE[lazy.tell() : lazy.tell() + 1]
            else:
                assert getattr(lazy, what)(number) == getattr(expected, what)(number)
            assert lazy.tell() == expected.tell()


def test_it_has_a_files_manners(files):
    """Name, size and mode; read-only; closed when it is closed; and it cannot be pickled, which it says."""
    with open_file(files["noise"]) as file:
        assert (file.name, file.mode, file.size) == ("noise", "rb", SIZE)
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        with pytest.raises(OSError, match="write"):
            file.write(b"x")
        with pytest.raises(ValueError, match="seek"):
            file.seek(-1)
        with pytest.raises(TypeError, match="noise"):
            pickle.dumps(file)
    for method in (file.read, file.tell, lambda: file.seek(0)):
        with pytest.raises(ValueError, match="closed"):
            method()


def test_text_can_be_read_through_it(stored):
    """As through any binary file."""
    files = stored({"notes.txt": "one\ntwo\nthré\n".encode()})
    with io.TextIOWrapper(open_file(files["notes.txt"]), "utf-8") as text:
        assert list(text) == ["one\n", "two\n", "thré\n"]


def test_small_reads_fetch_and_decode_each_chunk_once(files, counting):
    """Reading on in steps of a few bytes costs as many requests as there are chunks, and not a byte twice."""
    repository, storage = counting(files.reader._storage.url)
    lazy = StoredFiles(repository.reader, files.tree.hash)
    chunks = lazy.manifest.recipe(lazy["noise"].entry.blob).chunks
    storage.calls.clear(), storage.bytes.clear()
    with open_file(lazy["noise"]) as file:
        while file.read(7001):
            pass
    assert storage.calls == {"read_range": len(chunks)}
    assert storage.bytes["read_range"] == sum(lazy.manifest.locations[c.digest].entry.stored_bytes for c in chunks)


def test_a_small_read_at_the_end_of_a_chunk_does_not_fetch_the_next(files, counting):
    """What the buffer would like to have is not worth a request."""
    repository, storage = counting(files.reader._storage.url)
    lazy = StoredFiles(repository.reader, files.tree.hash)
    first = lazy["noise"].near(0)
    storage.calls.clear()
    with open_file(lazy["noise"]) as file:
        file.seek(first - 10)
        assert file.read(10) == NOISE[first - 10 : first]
        assert storage.calls == {"read_range": 1}


def test_parallel_readers_get_what_they_ask_for(files, counting):
    """Also when all want the same chunk at once, and then it is fetched once."""
    repository, storage = counting(files.reader._storage.url)
    lazy = StoredFiles(repository.reader, files.tree.hash)
    storage.calls.clear()
    wrong: list[int] = []
    barrier = threading.Barrier(8)

    def read(seed: int) -> None:
        barrier.wait()
        draw = np.random.default_rng(seed)
        with open_file(lazy["noise"]) as file:
            for offset in draw.integers(0, SIZE - 5000, 50):
                file.seek(offset)
                if file.read(5000) != NOISE[offset : offset + 5000]:
                    wrong.append(offset)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert storage.calls["read_range"] <= len(lazy.manifest.locations)

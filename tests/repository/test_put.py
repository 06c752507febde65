"""What goes in comes out, is stored once, and has a hash that depends on content alone."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import ConflictError
from cas.format import Commit, Digest, Tree, TreeEntry
from cas.repository import BytesSource, Repository

NAMES = st.text("abcé0-", min_size=1, max_size=6)
FILES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=4096), st.booleans()), min_size=1, max_size=5)


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def sources(files: dict[str, bytes]) -> list[BytesSource]:
    return [BytesSource(path, data) for path, data in sorted(files.items())]


def contents(repository: Repository, checkpoint: Digest) -> dict[str, bytes]:
    manifest = repository.reader.manifest(checkpoint)
    return {entry.path: repository.reader.read_blob(manifest, entry) for entry in manifest.tree.files}


@settings(max_examples=20, deadline=None)
@given(files=FILES)
def test_what_was_put_is_read_back(files, tmp_path_factory):
    """Any files come back byte for byte, under a hash that their tree alone decides."""
    with Repository.init(str(tmp_path_factory.mktemp("put") / "store")) as repository:
        result = repository.put([BytesSource(path, data, bit) for path, (data, bit) in sorted(files.items())])

        assert contents(repository, result.checkpoint) == {path: data for path, (data, _) in files.items()}
    tree = Tree.of(TreeEntry(path, len(data), bit, Digest.of(data)) for path, (data, bit) in files.items())
    assert result.checkpoint == tree.hash


def test_a_blob_is_named_as_b3sum_names_it(repository):
    """A file of many chunks has the plain BLAKE3 of its bytes."""
    data = noise(9 << 20)
    result = repository.put(sources({"model.bin": data}))

    entry = repository.reader.manifest(result.checkpoint).tree.entry("model.bin")
    assert str(entry.blob) == blake3(data).hexdigest()
    assert len(repository.reader.manifest(result.checkpoint).recipe(entry.blob).chunks) > 2


def test_the_same_content_is_stored_once(repository):
    """Putting it again, under other names too, writes no chunk; only commits are new."""
    data = noise(3 << 20)
    first = repository.put(sources({"a": data}))
    again = repository.put(sources({"a": data}))
    renamed = repository.put(sources({"b": data, "c": data}))

    assert (first.new_bytes, again.new_bytes, renamed.new_bytes) == (len(data), 0, 0)
    assert again.checkpoint == first.checkpoint != renamed.checkpoint
    assert again.stored_bytes == renamed.stored_bytes == 0


def test_equal_files_of_one_put_are_stored_once(repository):
    """Deduplication does not wait for the next put."""
    data = noise(1 << 20)
    result = repository.put(sources({"a": data, "b": data}))

    assert result.new_bytes == len(data)
    assert contents(repository, result.checkpoint) == {"a": data, "b": data}


def test_another_session_deduplicates_against_the_first(tmp_path):
    """The index outlives the process that filled it."""
    url, data = str(tmp_path / "store"), noise(1 << 20)
    with Repository.init(url) as repository:
        repository.put(sources({"a": data}))
    with Repository.open(url) as repository:
        assert repository.put(sources({"b": data})).new_bytes == 0


def test_a_lost_index_is_rebuilt_and_loses_nothing(tmp_path):
    """The database is a cache: without it the store reads, and deduplicates, as before."""
    url, data = tmp_path / "store", noise(1 << 20)
    with Repository.init(str(url)) as repository:
        first = repository.put(sources({"a": data}), ref="main")
    for path in url.glob("index.sqlite*"):
        path.unlink()

    with Repository.open(str(url)) as repository:
        assert contents(repository, first.checkpoint) == {"a": data}
        assert repository.put(sources({"b": data})).new_bytes == 0
        assert repository.index.find_commit(first.commit.id) == first.commit


def test_empty_directories_and_files_are_kept(repository):
    """A checkpoint is more than its bytes."""
    result = repository.put([BytesSource("empty", b""), BytesSource("run.sh", b"#!/bin/sh\n", True)], ["logs/raw"])

    tree = repository.reader.manifest(result.checkpoint).tree
    assert tree.empty_directories == ("logs/raw",)
    assert [(e.path, e.size_bytes, e.executable) for e in tree.files] == [("empty", 0, False), ("run.sh", 10, True)]


class Changing:
    """A file that is another one each time it is read, until it settles at reading ``calm``."""

    path, executable, known_blob, size_bytes = "moving", False, None, 1000

    def __init__(self, calm: int) -> None:
        self.calm, self.reads = calm, 0

    @contextmanager
    def open(self):
        self.reads += 1
        data = noise(self.size_bytes, seed=self.reads)
        yield lambda offset, size: data[offset : offset + size]

    def settle(self, blob):
        if self.reads < self.calm:
            raise ConflictError("moving changed while it was read")


def test_a_file_that_changes_while_it_is_put_is_read_once_more(repository):
    """A save that was still going on is over by the second try."""
    source = Changing(calm=2)
    result = repository.put([source])

    assert source.reads == 2
    assert contents(repository, result.checkpoint) == {"moving": noise(1000, seed=2)}


def test_a_file_that_keeps_changing_is_refused(repository):
    """Nothing is committed that never existed as a whole."""
    source = Changing(calm=99)
    with pytest.raises(ConflictError, match="moving"):
        repository.put([source], ref="main")

    assert source.reads == 2
    assert repository.refs.find("main") is None


def test_parents_follow_the_ref(repository):
    """Without a parent given, the ref's last commit is the parent."""
    first = repository.put(sources({"a": b"1"}), ref="main")
    second = repository.put(sources({"a": b"2"}), ref="main")
    given = repository.put(
        sources({"a": b"3"}), ref="main", about=Commit(second.checkpoint, parents=(first.commit.id,))
    )

    assert second.commit.parents == (first.commit.id,)
    assert given.commit.parents == (first.commit.id,)
    assert [c.id for c in repository.history(second.commit)] == [second.commit.id, first.commit.id]

"""The suite that every storage backend passes: one test for each promise of `cas.storage.Storage`.

    class TestMine(StorageConformance):
        @pytest.fixture
        def storage(self):
            storage = MyStorage()  # empty
            yield storage
            storage.close()

A backend whose `exclusive_create` is False is excused from the races of create,
and from nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pytest

from cas.errors import ConflictError, CorruptError, FormatError, NotFoundError
from cas.format import Buffer
from cas.storage import ObjectInfo, Storage, open_storage, probe_exclusive_create

__all__ = ["StorageConformance"]

_Result = TypeVar("_Result")

_BAD_KEYS = (
    *("", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../../b", "./a", "a/./b"),
    *(".a", "a/.b", ".new-0/a", "a\0b", "a\nb", "a\\b", "a?versionId=1", "a*", "a[b]", "s3://a", "a::b"),
    *("\ud800", "a" * 256, "a/" * 400 + "a"),
)
_BAD_PREFIXES = ("a", "/", "a//", "../", "./", ".a/", "a\0/")
_BIG_BYTES = 16 * 2**20 + 3


class StorageConformance:
    """Promises as test methods; subclasses give an empty ``storage``.

    Attributes:
        threads: how many writers race.
        rounds: how often.
        big_bytes: size of the largest object written.
    """

    threads = 8
    rounds = 20
    big_bytes = _BIG_BYTES

    def test_it_is_a_storage(self, storage: Storage) -> None:
        """The protocol's methods and properties are all there, and its URL opens the same storage."""
        storage.create("a/b", [b"x"])
        again = open_storage(storage.url)

        assert isinstance(storage, Storage)
        assert again.url == storage.url
        assert again.read("a/b") == b"x"
        again.close()

    def test_what_is_created_is_read_back(self, storage: Storage) -> None:
        """Whole, in part and from the end, the bytes are those that were written."""
        data = bytes(range(256)) * 5
        storage.create("packs/ab/one", [data])

        assert storage.read("packs/ab/one") == data
        assert storage.read_range("packs/ab/one", 0, 10) == data[:10]
        assert storage.read_range("packs/ab/one", 300, 700) == data[300:1000]
        assert storage.read_range("packs/ab/one", len(data) - 1, 1) == data[-1:]
        assert storage.read_range("packs/ab/one", len(data), 0) == b""
        assert storage.read_tail("packs/ab/one", 40) == (data[-40:], len(data))
        assert storage.read_tail("packs/ab/one", len(data) + 1) == (data, len(data))
        assert storage.read_tail("packs/ab/one", 0) == (b"", len(data))

    def test_results_are_bytes(self, storage: Storage) -> None:
        """Immutable bytes come back, never a buffer that somebody may still write to."""
        storage.create("k", [bytearray(b"abc")])

        assert type(storage.read("k")) is bytes
        assert type(storage.read_range("k", 0, 2)) is bytes
        assert type(storage.read_tail("k", 2)[0]) is bytes

    def test_buffers_are_laid_end_to_end(self, storage: Storage) -> None:
        """Any number of C-contiguous buffers of any item type, empty ones among them."""
        floats = np.arange(6, dtype=np.float32).reshape(2, 3)
        buffers: list[Buffer] = [b"head", bytearray(b"-"), memoryview(b"0123")[1:3], floats.data, b""]
        buffers += [np.empty((0, 4)).data, *([b"x"] * 3000), memoryview(b"tail")]
        storage.create("joined", buffers)
        storage.replace("joined too", buffers)

        expected = b"head-12" + floats.tobytes() + b"x" * 3000 + b"tail"
        assert storage.read("joined") == expected
        assert storage.read("joined too") == expected

    def test_buffers_are_the_callers_again(self, storage: Storage) -> None:
        """What the caller does to a buffer after the call does not reach the object."""
        buffer = bytearray(b"before")
        storage.create("k", [buffer])
        storage.replace("l", [memoryview(buffer)])
        buffer[:] = b"after!"

        assert storage.read("k") == b"before"
        assert storage.read("l") == b"before"

    def test_an_object_may_be_empty(self, storage: Storage) -> None:
        """No bytes are an object all the same: it is listed, read and in the way of another."""
        empties: list[list[Buffer]] = [[], [b""], [b"", bytearray()]]
        for number, empty in enumerate(empties):
            storage.create(f"empty/{number}", empty)

            assert storage.read(f"empty/{number}") == b""
            assert storage.read_range(f"empty/{number}", 0, 0) == b""
            assert storage.read_tail(f"empty/{number}", 10) == (b"", 0)
            with pytest.raises(ConflictError):
                storage.create(f"empty/{number}", [b"x"])
        assert [(info.key, info.size_bytes) for info in storage.list("")] == [(f"empty/{n}", 0) for n in range(3)]

    def test_an_object_may_be_big(self, storage: Storage) -> None:
        """A pack-sized object of many buffers comes back to the byte, whole and in part."""
        whole = np.random.default_rng(0).integers(0, 256, self.big_bytes, np.uint8).tobytes()
        view = memoryview(whole)
        storage.create("big", [view[at : at + 449_999] for at in range(0, len(whole), 449_999)])

        assert storage.read("big") == whole
        assert storage.read_range("big", 5_000_000, 3_000_000) == whole[5_000_000:8_000_000]
        assert storage.read_tail("big", 1000) == (whole[-1000:], len(whole))

    def test_there_is_no_object_until_it_is_created(self, storage: Storage) -> None:
        """Every way of reading says NotFoundError, naming the key; an empty listing is no error."""
        storage.create("there/is/one", [b"x"])

        for missing in ("nothing", "there", "there/is", "there/is/another", "there/is/one/more"):
            for read in (
                lambda key: storage.read(key),
                lambda key: storage.read_range(key, 0, 1),
                lambda key: storage.read_range(key, 0, 0),
                lambda key: storage.read_tail(key, 1),
            ):
                with pytest.raises(NotFoundError, match=missing):
                    read(missing)
        assert list(storage.list("nothing/")) == []

    def test_a_range_beyond_the_end_is_corrupt(self, storage: Storage) -> None:
        """A short answer is never given, and nothing is allocated for what is not there."""
        storage.create("ten", [b"0123456789"])

        for offset, size_bytes in ((0, 11), (10, 1), (11, 0), (500, 1), (0, 2**62), (2**62, 1)):
            with pytest.raises(CorruptError, match="ten"):
                storage.read_range("ten", offset, size_bytes)

    def test_a_range_is_not_negative(self, storage: Storage) -> None:
        """Offsets and sizes below zero mean nothing here."""
        storage.create("ten", [b"0123456789"])

        for offset, size_bytes in ((-1, 1), (0, -1)):
            with pytest.raises(FormatError):
                storage.read_range("ten", offset, size_bytes)
        with pytest.raises(FormatError):
            storage.read_tail("ten", -1)

    def test_an_upload_is_named_when_it_is_whole(self, storage: Storage) -> None:
        """Until then there is nothing to see; then it is all there, whatever pieces it came in."""
        pieces = [bytes([number]) * (3 << 20) for number in range(8)]
        upload = storage.upload("a/")
        for piece in pieces:
            upload.write([piece[:100], memoryview(piece)[100:]])
        assert list(storage.list("")) == []
        upload.create("a/bb/object")
        upload.abort()

        assert storage.read("a/bb/object") == b"".join(pieces)
        assert [info.key for info in storage.list("")] == ["a/bb/object"]

    def test_an_upload_does_not_overwrite(self, storage: Storage) -> None:
        """It conflicts as `create` does, and what is there stays."""
        storage.create("a/b", [b"first"])
        upload = storage.upload("a/")
        upload.write([b"second"])
        with pytest.raises(ConflictError):
            upload.create("a/b")
        upload.abort()

        assert storage.read("a/b") == b"first"

    def test_an_aborted_upload_leaves_nothing(self, storage: Storage) -> None:
        """No object, and nothing for a sweep to find."""
        upload = storage.upload("a/")
        upload.write([b"x" * 1000])
        upload.abort()

        assert list(storage.list("")) == []
        assert storage.sweep(1 << 62) == 0

    def test_create_does_not_overwrite(self, storage: Storage) -> None:
        """The second create of a key is a conflict, even of the same bytes, and the first object stays."""
        storage.create("k/l", [b"first"])

        for data in (b"second", b"first"):
            with pytest.raises(ConflictError, match="k/l"):
                storage.create("k/l", [data])
        assert storage.read("k/l") == b"first"

    def test_replace_overwrites(self, storage: Storage) -> None:
        """Whether or not there was an object, there is the new one afterwards."""
        storage.replace("k", [b"first, and longer"])
        storage.replace("k", [b"second"])

        assert storage.read("k") == b"second"
        assert [(info.key, info.size_bytes) for info in storage.list("")] == [("k", 6)]

    def test_delete_removes_and_may_be_repeated(self, storage: Storage) -> None:
        """Afterwards there is none, whether or not there was one; then the key is free again."""
        storage.create("a/b", [b"x"])
        storage.create("a/c", [b"y"])
        storage.delete("a/b")
        storage.delete("a/b")
        storage.delete("never/was")
        storage.delete("a")

        with pytest.raises(NotFoundError):
            storage.read("a/b")
        assert [info.key for info in storage.list("")] == ["a/c"]
        storage.create("a/b", [b"z"])
        assert storage.read("a/b") == b"z"

    def test_listing_is_in_order_of_keys(self, storage: Storage) -> None:
        """By code point over the whole key, where ``-`` and ``.`` come before ``/`` and ``0`` after it."""
        keys = ["a", "b-c", "b.c", "b/c", "b/d/e", "b0", "b/c0", "é/x", "z z", "Z", "b/ü", "b/\U0001f600", "b/\uffff"]
        for key in keys:
            storage.create(key, [key.encode()])

        listed = list(storage.list(""))
        assert [info.key for info in listed] == sorted(keys)
        assert [info.size_bytes for info in listed] == [len(key.encode()) for key in sorted(keys)]
        assert all(isinstance(info, ObjectInfo) for info in listed)
        assert [info.key for info in storage.list("b/")] == sorted(key for key in keys if key.startswith("b/"))
        assert [info.key for info in storage.list("b/d/")] == ["b/d/e"]
        assert list(storage.list("a/")) == []

    def test_listing_is_current(self, storage: Storage) -> None:
        """A listing shows what was created and not what was deleted before it, whoever did it."""
        other = open_storage(storage.url)
        for number in range(5):
            list(storage.list(""))
            other.create(f"d/{number}", [b"x"])
            assert [info.key for info in storage.list("d/")] == [f"d/{number}"]
            other.delete(f"d/{number}")
            assert list(storage.list("d/")) == []
        other.close()

    def test_deleting_while_listing(self, storage: Storage) -> None:
        """Each listed object may be deleted before the next is asked for."""
        for number in range(20):
            storage.create(f"d/{number % 3}/{number}", [b"x"])
        seen = []
        for info in storage.list("d/"):
            seen.append(info.key)
            storage.delete(info.key)

        assert len(seen) == 20
        assert list(storage.list("")) == []

    def test_keys_are_plain_relative_paths(self, storage: Storage) -> None:
        """Anything else is refused by every method before it is looked at."""
        for key in _BAD_KEYS:
            for act in (
                storage.read,
                storage.delete,
                lambda key: storage.read_range(key, 0, 1),
                lambda key: storage.read_tail(key, 1),
                lambda key: storage.create(key, [b"x"]),
                lambda key: storage.replace(key, [b"x"]),
            ):
                with pytest.raises(FormatError):
                    act(key)
        assert list(storage.list("")) == []

    def test_prefixes_are_whole_folders(self, storage: Storage) -> None:
        """A prefix is empty or ends in a slash, and is otherwise a key."""
        for prefix in _BAD_PREFIXES:
            with pytest.raises(FormatError):
                list(storage.list(prefix))

    def test_odd_but_plain_keys_work(self, storage: Storage) -> None:
        """Spaces, percent signs, plus, hash, tilde and other scripts mean nothing special."""
        keys = ["sp ace/é+plus", "pct%20/%2e%2e", "tilde~(1)", "issue#12/x", "a=b&c;d,e", "ключ/鍵", "a" * 255, "v1..2"]
        for key in keys:
            storage.create(key, [key.encode()])

        assert [info.key for info in storage.list("")] == sorted(keys)
        for key in keys:
            assert storage.read(key) == key.encode()
            assert storage.read_range(key, 1, 1) == key.encode()[1:2]
            storage.delete(key)
        assert list(storage.list("")) == []

    def test_the_clock_is_the_one_objects_are_stamped_by(self, storage: Storage) -> None:
        """An object's time lies between the clock before and after it was written, to within a second."""
        before_us = storage.now_us()
        storage.create("k", [b"x"])
        after_us = storage.now_us()
        (info,) = storage.list("")

        assert after_us >= before_us
        assert before_us - 1_000_000 <= info.modified_us <= after_us + 1_000_000
        assert before_us > 1_600_000_000_000_000  # microseconds, since 1970

    def test_sweeping_touches_no_object(self, storage: Storage) -> None:
        """Whatever the time given, objects stay."""
        storage.create("a/b", [b"x"])

        assert storage.sweep(storage.now_us() + 10**12) == 0
        assert storage.read("a/b") == b"x"

    def test_one_of_many_creators_wins(self, storage: Storage) -> None:
        """Of threads that create one key at the same moment exactly one succeeds, round after round."""
        if not storage.exclusive_create:
            pytest.skip("create is not exclusive here, and says so")

        assert probe_exclusive_create(storage, threads=self.threads, rounds=self.rounds)
        assert list(storage.list("")) == []

    def test_readers_see_the_old_or_the_new(self, storage: Storage) -> None:
        """While an object is replaced again and again, no reader meets a mixture, a part or nothing."""
        contents = [bytes([number]) * size for number, size in enumerate((200_000, 1_000, 100_000))]
        storage.replace("k", [contents[0]])
        done = threading.Event()

        def watch() -> set[bytes]:
            seen = set()
            while not done.is_set():
                seen.add(storage.read("k"))
            return seen

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(watch) for _ in range(3)]
            try:
                for number in range(self.rounds * 3):
                    content = memoryview(contents[number % 3])
                    storage.replace("k", [content[:500], content[500:]])
            finally:
                done.set()
            seen = set().union(*(reader.result() for reader in readers))

        assert seen <= set(contents)
        assert storage.read("k") == contents[(self.rounds * 3 - 1) % 3]

    def test_many_threads_use_one_storage(self, storage: Storage) -> None:
        """Writers, readers and listers of different keys do not disturb each other."""

        def work(number: int) -> bool:
            key, content = f"t/{number % 4}/{number}", bytes([number]) * 1000
            storage.create(key, [content])
            whole = storage.read(key) == content
            part = storage.read_range(key, 10, 20) == content[10:30]
            listed = key in {info.key for info in storage.list(f"t/{number % 4}/")}
            if number % 2:
                storage.delete(key)
            return whole and part and listed

        assert all(_in_threads(self.threads, work, 40))
        assert len(list(storage.list("t/"))) == 20


def _in_threads(threads: int, work: Callable[[int], _Result], calls: int) -> list[_Result]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(calls)))

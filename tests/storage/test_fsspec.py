"""Other file systems by way of fsspec: what varies between them and must not matter."""

from __future__ import annotations

import datetime
import ssl
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cas.errors import ConflictError, StorageError
from cas.storage.fsspec import FsspecStorage

MOMENT_US = 1_790_000_000_123_456
MOMENT = datetime.datetime.fromtimestamp(MOMENT_US / 1e6, datetime.UTC)


class StampedFileSystem(MemoryFileSystem):
    """Lists its files with whatever details a test wants, and fails when a test wants."""

    protocol = "stamped"
    details: dict[str, Any] = {}  # noqa: RUF012
    failure: Exception | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("stamped://"))

    def find(self, path: str, **options: Any) -> dict[str, dict[str, Any]]:
        if self.failure:
            raise self.failure
        return {name: {"name": name, "type": "file", **self.details} for name in super().find(path)}

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        if self.failure:
            raise self.failure
        return super().info(path, **options)


@pytest.fixture
def stamped(monkeypatch) -> FsspecStorage:
    fsspec.register_implementation("stamped", StampedFileSystem, clobber=True)
    monkeypatch.setattr(StampedFileSystem, "store", {})
    storage = FsspecStorage("stamped://a")
    storage.create("k", [b"x"])
    return storage


@pytest.mark.parametrize(
    "details",
    [
        {"LastModified": MOMENT, "created": 1.0},
        {"last_modified": MOMENT.replace(tzinfo=None)},
        {"updated": MOMENT.isoformat().replace("+00:00", "Z")},
        {"mtime": MOMENT_US / 1e6},
        {"mtime": MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=5)))},
    ],
)
def test_times_are_understood_however_they_are_told(stamped, monkeypatch, details):
    """As a moment with or without a zone, a text or a number, under the names that backends use."""
    monkeypatch.setattr(StampedFileSystem, "details", {"size": 1, **details})

    (info,) = stamped.list("")
    assert abs(info.modified_us - MOMENT_US) <= 1


@pytest.mark.parametrize("details", [{"size": 1}, {"size": None, "mtime": 1.0}, {"mtime": 1.0}])
def test_a_backend_that_tells_too_little_is_refused(stamped, monkeypatch, details):
    """A made-up time or size could have gc delete what it must not."""
    monkeypatch.setattr(StampedFileSystem, "details", details)

    with pytest.raises(StorageError, match="does not tell"):
        list(stamped.list(""))


@pytest.mark.parametrize(
    ("failure", "transient"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (PermissionError("no"), False),
        (RuntimeError("?"), False),
        (ssl.SSLCertVerificationError("self-signed"), False),
    ],
)
def test_doubt_is_never_taken_for_absence(stamped, monkeypatch, failure, transient):
    """A create that cannot find out whether the key is free fails, and overwrites nothing."""
    monkeypatch.setattr(StampedFileSystem, "failure", failure)
    with pytest.raises(StorageError, match=r"stamped://a/k") as caught:
        stamped.create("k", [b"y"])
    assert caught.value.transient is transient

    monkeypatch.undo()


def test_a_listing_of_nothing_is_empty(stamped, monkeypatch):
    """Also over a backend that calls a missing folder an error."""
    monkeypatch.setattr(StampedFileSystem, "failure", FileNotFoundError("a"))

    assert list(stamped.list("")) == []


def test_missing_folders_are_made_where_there_are_folders(tmp_path):
    """Over a file system that has real ones, such as SFTP or, here, fsspec's own local one."""
    storage = FsspecStorage(f"local://{tmp_path}/not/yet")
    assert list(storage.list("")) == []
    storage.create("a/b/c", [b"x"])
    storage.replace("a/d", [b"y"])

    assert [info.key for info in storage.list("")] == ["a/b/c", "a/d"]
    assert [info.key for info in storage.list("a/b/")] == ["a/b/c"]
    assert abs(storage.now_us() - next(storage.list("a/")).modified_us) < 60_000_000
    assert (tmp_path / "not/yet/a/b/c").read_bytes() == b"x"
    with pytest.raises(ConflictError):
        storage.create("a/b/c", [b"z"])
    storage.close()


def test_the_clock_leaves_nothing_behind(tmp_path):
    """The object that it is read from is gone afterwards, and the store may be empty or not there at all."""
    storage = FsspecStorage(f"local://{tmp_path}/new")

    assert storage.now_us() > 1_600_000_000_000_000
    assert [path.name for path in tmp_path.rglob("*")] == ["new"]


def test_exclusive_create_is_not_claimed():
    """So that refs are refused where two writers could both win."""
    assert FsspecStorage("memory://x").exclusive_create is False

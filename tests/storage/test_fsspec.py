"""Other file systems by way of fsspec: what varies between them and must not matter."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import traceback
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cas.errors import ConflictError, FormatError, RefusedError, StorageError
from cas.format import StoreFormat
from cas.format.store_format import FORMAT_KEY
from cas.repository import BytesSource, Repository
from cas.storage import open_storage
from cas.storage.fsspec import FsspecStorage

MOMENT_US = 1_790_000_000_123_456
MOMENT = datetime.datetime.fromtimestamp(MOMENT_US / 1e6, datetime.UTC)


class StampedFileSystem(MemoryFileSystem):
    """Lists its files with whatever details a test wants, and fails when a test wants."""

    protocol = "stamped"
    refusal: Exception | None = None
    details: dict[str, Any] = {}  # noqa: RUF012
    failure: Exception | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if self.refusal:
            raise self.refusal
        super().__init__(*arguments, **options)

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


@pytest.mark.parametrize(
    ("refusal", "raised", "transient"),
    [
        (ConnectionRefusedError(111, "refused hidden"), StorageError, True),
        (ssl.SSLCertVerificationError("self-signed, hidden"), StorageError, False),
        (EOFError("hidden"), StorageError, False),
        (ValueError("no such thing: hidden"), FormatError, None),
    ],
)
def test_a_client_that_connects_at_once_fails_as_any_other(stamped, monkeypatch, refusal, raised, transient):
    """One of cas's errors, which names the store and no secret, however the constructor puts it."""
    monkeypatch.setattr(StampedFileSystem, "refusal", refusal)
    url = "stamped://user:hidden@a"
    with pytest.raises(raised, match=r"stamped://a") as caught:
        open_storage(url)
    assert getattr(caught.value, "transient", None) is transient
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_a_login_that_is_refused_is_said():
    """Over FTP, whose client logs in when it is made: what the server says, less what it repeats."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw", newline="\r\n") as lines:
                lines.write("220 ready\n")
                for answer in ("331 password?", "530 Login of ada with hidden is incorrect"):
                    lines.flush()
                    lines.readline()
                    lines.write(f"{answer}\n")

        server = threading.Thread(target=refuse)
        server.start()
        with pytest.raises(StorageError, match=r"ftp://127\.0\.0\.1:[0-9]+.*530 Login of \*\*\* with \*\*\*"):
            open_storage(f"ftp://ada:hidden@127.0.0.1:{listener.getsockname()[1]}/store")
        server.join()


def test_no_store_is_made_or_written_where_create_is_not_exclusive(stamped, monkeypatch):
    """Refused before anything is uploaded, and not at the ref; reading a store that was copied there works."""
    monkeypatch.setattr(StampedFileSystem, "details", {"size": 1, "mtime": 1.0})
    with pytest.raises(RefusedError, match="cannot create exclusively"):
        Repository.init("stamped://a")
    assert [info.key for info in stamped.list("")] == ["k"]

    stamped.create(FORMAT_KEY, [StoreFormat("0" * 32, 1).encode()])
    with Repository.open("stamped://a") as repository:
        with pytest.raises(RefusedError, match="cannot create exclusively"):
            repository.put([BytesSource("weights", b"x" * 1000)], ref="main")
        assert list(repository.live_refs()) == []
    assert [info.key for info in stamped.list("")] == [FORMAT_KEY, "k"]

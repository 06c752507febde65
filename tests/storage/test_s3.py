"""What S3 servers and networks do to a writer, and what is left of it for the caller."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from cas.errors import ConflictError, FormatError, NotFoundError, RefusedError, StorageError
from cas.repository import Repository
from cas.storage import LocalStorage, RetryingStorage, RetryPolicy, open_storage, probe_exclusive_create
from cas.storage.s3 import S3Storage

pytestmark = pytest.mark.server

PRECONDITION_FAILED = (412, "<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
CONFLICT = (409, "<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>")
SLOW_DOWN = (503, "<Error><Code>SlowDown</Code><Message>please</Message></Error>")
DENIED = (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


@pytest.fixture(scope="module", autouse=True)
def through_the_proxy(running_proxy) -> Iterator[None]:
    """Every client of this module speaks to the proxy."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", running_proxy.endpoint)
        yield


@pytest.fixture(scope="module")
def opened(through_the_proxy) -> Iterator[S3Storage]:
    storage = S3Storage("s3://cas-test/p")
    yield storage
    storage.close()


@pytest.fixture
def weather(opened, proxy) -> S3Storage:
    """A storage whose requests pass the proxy, with no retries of any kind."""
    return opened


def patient(storage: S3Storage) -> RetryingStorage:
    return RetryingStorage(storage, RetryPolicy(attempts=4), sleep=lambda delay_s: None)


def every_kind_of_request(storage: S3Storage) -> list[Callable[[], object]]:
    return [
        lambda: storage.create("new", [b"x"]),
        lambda: storage.replace("k", [b"x"]),
        lambda: storage.read("k"),
        lambda: storage.read_range("k", 0, 1),
        lambda: storage.read_tail("k", 1),
        lambda: storage.delete("other"),
        lambda: list(storage.list("")),
        lambda: storage.now_us(),
    ]


def test_a_refused_condition_is_a_conflict_however_it_is_told(weather, proxy):
    """Some servers answer 412 without naming the condition; s3fs then raises a bare OSError."""
    proxy.faults.append(PRECONDITION_FAILED)

    with pytest.raises(ConflictError, match=r"s3://cas-test/p/k exists"):
        weather.create("k", [b"x"])


def test_giving_way_to_another_writer_is_a_conflict_once_the_object_is_there(weather, proxy):
    """409 says that another request was in flight: it made the object, or this one may try again."""
    proxy.faults.append(CONFLICT)
    with pytest.raises(StorageError) as caught:
        weather.create("k", [b"x"])
    assert caught.value.transient

    weather.create("k", [b"theirs"])
    proxy.faults.append(CONFLICT)
    with pytest.raises(ConflictError):
        weather.create("k", [b"x"])


@pytest.mark.parametrize("fault", [SLOW_DOWN, (500, ""), (429, ""), (503, "<html>not S3</html>")])
def test_trouble_in_the_server_is_transient_and_nothing_below_retries(weather, proxy, fault):
    """One failure is one request: only `RetryingStorage` repeats, because only it can tell what a conflict means."""
    weather.replace("k", [b"x"])
    for act in every_kind_of_request(weather):
        proxy.requests.clear()
        proxy.faults.append(fault)
        with pytest.raises(StorageError) as caught:
            act()
        assert caught.value.transient, caught.value
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("fault", ["drop", "lose"])
def test_a_broken_connection_is_transient(weather, proxy, fault):
    """Twice, because aiohttp repeats a request by itself when a connection that it had kept open breaks."""
    weather.replace("k", [b"x"])
    for act in every_kind_of_request(weather):
        proxy.faults.extend([fault, fault])
        with pytest.raises(StorageError) as caught:
            act()
        assert caught.value.transient, caught.value
        proxy.faults.clear()


def test_a_create_that_the_client_repeats_in_secret_succeeds_once(weather, proxy):
    """The first put took effect, its answer was lost, the second was refused: the object says whose it is."""
    weather.replace("opens the connection", [b""])
    proxy.requests.clear()
    proxy.faults.append("lose")
    weather.create("k", [b"mine"])

    assert [method for method, _ in proxy.requests] == ["PUT", "PUT", "HEAD"]
    assert weather.read("k") == b"mine"
    with pytest.raises(ConflictError):  # equal bytes are not enough: this is another write
        weather.create("k", [b"mine"])


def test_a_create_whose_answer_is_lost_succeeds_once(weather, proxy):
    """The repeated put conflicts with itself; reading back tells that the object is ours."""
    proxy.faults.extend(["lose", "drop", "drop"])
    patient(weather).create("refs/main/1", [b"write id 1, ", b"commit 2"])

    assert weather.read("refs/main/1") == b"write id 1, commit 2"
    assert {method for method, _ in proxy.requests} == {"PUT", "HEAD", "GET"}


def test_a_create_that_lost_both_answer_and_race_is_a_conflict(weather, proxy):
    """The object that is there is another's, so doubt about one's own does not matter."""
    weather.create("k", [b"theirs"])
    proxy.faults.append("lose")

    with pytest.raises(ConflictError):
        patient(weather).create("k", [b"ours"])
    assert weather.read("k") == b"theirs"


def test_permission_denied_is_final_and_says_so(weather, proxy):
    """No retry can help; the message names the object."""
    proxy.faults.append(DENIED)

    with pytest.raises(StorageError, match=r"write s3://cas-test/p/k: permission denied") as caught:
        weather.create("k", [b"x"])
    assert not caught.value.transient


def test_a_missing_bucket_is_not_a_missing_object(s3_server):
    """Nothing makes buckets: whoever mistyped one wants to know."""
    storage = open_storage("s3://no-such-bucket/p")
    for act in (
        lambda: storage.read("k"),
        lambda: storage.create("k", [b"x"]),
        lambda: list(storage.list("")),
    ):
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/p.*the bucket does not exist") as caught:
            act()
        assert not caught.value.transient
    with pytest.raises(StorageError, match="no-such-bucket"):
        storage.now_us()
    storage.close()


@pytest.mark.slow
def test_a_whole_pack_is_one_conditional_put(weather, proxy):
    """64 MiB and more go up in one piece, since not every server honours the condition of a multipart upload."""
    pack = [os.urandom(1 << 20)] * 101  # from 100 MiB on, s3fs by itself would cut it
    weather.create("packs/one", pack)
    assert [method for method, _ in proxy.requests] == ["PUT"]
    assert weather.read_tail("packs/one", 10) == (pack[0][-10:], 101 << 20)

    with pytest.raises(ConflictError):
        weather.create("packs/one", [*pack, b"x"])


def test_a_server_that_tells_no_time_is_refused(weather, proxy):
    """The machine's own clock is not put in its place: gc decides by the store's."""
    proxy.faults.append((200, ""))

    with pytest.raises(StorageError, match="does not tell the time"):
        weather.now_us()


def test_closing_twice_is_harmless(s3_server):
    """As happens when both a caller and what it called clean up."""
    storage = open_storage("s3://cas-test/p")
    storage.create("k", [b"x"])
    storage.close()
    storage.close()

    again = open_storage("s3://cas-test/p")
    assert again.read("k") == b"x"
    again.close()


def test_reading_costs_one_request(weather, proxy):
    """A range is one GET, and so is a whole object, whatever its size."""
    weather.create("k", [b"x" * 100])
    proxy.requests.clear()
    weather.read("k")
    weather.read_range("k", 5, 10)

    assert [method for method, _ in proxy.requests] == ["GET", "GET"]


def test_a_long_listing_comes_in_pages(weather, proxy):
    """More objects than fit into one answer are all listed, in order; what is no object of a store is not."""
    (backend,) = get_backend("s3")[DEFAULT_ACCOUNT_ID].values()  # a thousand requests would take too long
    names = [f"{number:04d}" for number in range(1100)]
    for key in (*(f"p/d/{name}" for name in names), "p/d/.hidden", "p/d/folder/", "pq", "p/d"):
        backend.put_object("cas-test", key, b"")
    proxy.requests.clear()

    assert [info.key for info in weather.list("")] == ["d", *(f"d/{name}" for name in names)]
    assert len(proxy.requests) == 2


def test_a_store_may_be_a_whole_bucket(s3_server):
    """A URL without a prefix works as well, with or without a slash at its end."""
    storage, again = open_storage("s3://cas-test"), open_storage("s3://cas-test/")
    storage.create("a/b", [b"x"])

    assert [info.key for info in storage.list("a/")] == ["a/b"]
    assert again.read("a/b") == b"x"
    assert storage.read_range("a/b", 0, 1) == b"x"
    storage.close()
    again.close()


def test_no_credentials_are_told_from_no_permission(s3_server, monkeypatch):
    """The message says where they are looked for."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    storage = open_storage("s3://cas-test/p")

    with pytest.raises(StorageError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        storage.read("k")
    storage.close()


@pytest.mark.parametrize(
    "url", ["s3://key:hidden@bucket/p", "s3://key:hid/den@bucket/p", "s3://bucket/p?key=hidden", "s3://", "s3:///p"]
)
def test_credentials_in_an_s3_url_are_refused(url):
    """s3fs would take them for a part of the bucket's name, and send and print them."""
    with pytest.raises(FormatError, match="AWS_ACCESS_KEY_ID") as caught:
        open_storage(url)
    assert "hid" not in str(caught.value)


def test_the_probe_finds_a_server_that_ignores_the_condition(s3_server):
    """What `cas doctor` asks: the same storage without its condition loses races, and is found out."""

    class Careless(S3Storage):
        def create(self, key, data):
            self.replace(key, data)

    careless = Careless("s3://cas-test/p")
    assert not probe_exclusive_create(careless, threads=4, rounds=3)
    assert list(careless.list("")) == []
    careless.close()


def test_no_store_is_made_on_a_server_that_ignores_the_condition(proxy):
    """Not even one object stays behind; where it is honoured, the proof costs two puts, and nothing stays either."""
    proxy.ignore_conditions = True
    with pytest.raises(RefusedError, match="If-None-Match"):
        Repository.init("s3://cas-test/p")
    storage = open_storage("s3://cas-test/p")
    assert list(storage.list("")) == []

    proxy.ignore_conditions = False
    proxy.requests.clear()
    Repository.init("s3://cas-test/p").close()
    assert [method for method, _ in proxy.requests] == ["PUT", "PUT", "HEAD", "DELETE", "PUT"]
    assert [info.key for info in storage.list("")] == ["format.json"]
    storage.close()


def test_the_probe_says_yes_to_a_folder(tmp_path):
    """And cleans up behind itself, folders too."""
    storage = LocalStorage(tmp_path)

    assert probe_exclusive_create(storage, rounds=5)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_bucket_is_no_object(weather):
    """A prefix under which there are objects is not itself one."""
    weather.create("a/b", [b"x"])

    with pytest.raises(NotFoundError):
        weather.read_tail("a", 1)

"""A store served over plain HTTP: reading by hash, and nothing else."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from cas.errors import CorruptError, NotFoundError, RefusedError, StorageError
from cas.storage import Storage, open_storage

pytestmark = pytest.mark.server


@pytest.fixture
def public(s3, s3_server) -> Storage:
    """A bucket that anybody may read."""
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::cas-test/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]}).encode()
    request = urllib.request.Request(f"{s3_server.endpoint}/cas-test?policy", policy, method="PUT")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        assert answer.status in (200, 204)
    return s3


@pytest.fixture
def served(public, proxy) -> Iterator[Storage]:
    """What the S3 server gives to anybody who asks it by plain HTTP."""
    public.create("packs/aa/ten", [b"0123456789"])
    public.create("odd/sp ace#1%20+é", [b"odd"])
    public.create("empty", [])
    storage = open_storage(f"{proxy.endpoint}/cas-test/some/prefix/", retries=False)
    yield storage
    storage.close()


def test_objects_are_read_whole_and_in_part(served):
    """As from any storage."""
    assert served.read("packs/aa/ten") == b"0123456789"
    assert served.read_range("packs/aa/ten", 3, 4) == b"3456"
    assert served.read_tail("packs/aa/ten", 4) == (b"6789", 10)
    assert served.read("odd/sp ace#1%20+é") == b"odd"
    assert served.read("empty") == b""
    assert served.read_tail("empty", 4) == (b"", 0)
    for read in (lambda: served.read("none"), lambda: served.read_tail("none", 1)):
        with pytest.raises(NotFoundError, match="prefix/none"):
            read()
    for offset, size_bytes in ((8, 3), (10, 1), (99, 1)):
        with pytest.raises(CorruptError):
            served.read_range("packs/aa/ten", offset, size_bytes)


def test_nothing_is_written_or_listed(served):
    """The message says what to do instead."""
    for act in (
        lambda: served.create("k", [b"x"]),
        lambda: served.replace("k", [b"x"]),
        lambda: served.delete("packs/aa/ten"),
        lambda: served.now_us(),
    ):
        with pytest.raises(RefusedError, match="read-only"):
            act()
    with pytest.raises(RefusedError, match="full hash"):
        served.list("")
    assert served.exclusive_create is False
    assert served.local_path is None


def test_credentials_go_to_the_server(public, proxy):
    """A user and password as basic authentication, a query with every request."""
    public.create("k", [b"x"])
    host = proxy.endpoint.removeprefix("http://")
    storage = open_storage(f"http://user:password@{host}/cas-test/some/prefix?X-Token=abc")
    assert storage.read("k") == b"x"
    storage.close()

    assert proxy.headers["Authorization"] == "Basic " + base64.b64encode(b"user:password").decode()
    assert proxy.requests == [("GET", "/cas-test/some/prefix/k?X-Token=abc")]


@pytest.mark.parametrize(("status", "transient"), [(403, False), (404, None), (429, True), (502, True), (410, False)])
def test_statuses_are_told_apart(served, proxy, status, transient):
    """What may pass is transient, a refusal is not, and absence is absence."""
    proxy.faults.append((status, ""))
    with pytest.raises((StorageError, NotFoundError)) as caught:
        served.read("k")

    assert getattr(caught.value, "transient", None) is transient


def test_a_server_without_ranges_is_found_out(tmp_path):
    """It would send a whole pack for each chunk, so it is refused rather than put up with."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            return

    (tmp_path / "k").write_bytes(b"0123456789")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    storage = open_storage(f"http://127.0.0.1:{server.server_port}")
    try:
        assert storage.read("k") == b"0123456789"
        with pytest.raises(StorageError, match="ignores ranges"):
            storage.read_range("k", 2, 3)
    finally:
        storage.close()
        server.shutdown()
        thread.join()
        server.server_close()

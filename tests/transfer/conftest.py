"""Two stores, a real S3 with a counter before it, and a server of plain files that honours ranges."""

from __future__ import annotations

import functools
import http.server
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from cas.repository import Repository
from cas.testing.requests import CountingProxy

BUCKET = "cas-transfer"


@pytest.fixture
def two(tmp_path) -> Iterator[tuple[Repository, Repository]]:
    """Two empty stores in local folders."""
    with Repository.init(str(tmp_path / "here")) as here, Repository.init(str(tmp_path / "there")) as there:
        yield here, there


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An S3 server with an empty bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto, tmp_path, monkeypatch) -> Iterator[CountingProxy]:
    """The only way that clients find to the server, with an empty bucket: it counts."""
    for method, path in (("POST", "moto-api/reset"), ("PUT", BUCKET)):
        with urllib.request.urlopen(urllib.request.Request(f"{moto}/{path}", method=method)) as answer:
            assert answer.status == 200
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with CountingProxy(moto) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def s3_url(s3) -> str:
    """Where in the bucket a store may be made."""
    return f"s3://{BUCKET}/models/store"


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Python's own file server, and ranges."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        if found is None:
            super().do_GET()
            return
        first, last = int(found[1]), int(found[2])
        try:
            with open(self.translate_path(self.path), "rb") as file:
                file.seek(first)
                data = file.read(last - first + 1)
                size_bytes = file.seek(0, 2)
        except OSError:
            self.send_error(404)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{size_bytes}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def serve() -> Iterator[Callable[[str], CountingProxy]]:
    """Serve a folder's files over plain HTTP: ``serve(path)`` gives the counter before the server."""
    stop: list[Callable[[], None]] = []

    def start(path: str) -> CountingProxy:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(RangeHandler, directory=path))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        proxy = CountingProxy(f"http://127.0.0.1:{server.server_port}")
        proxy.__enter__()
        stop.extend([server.server_close, thread.join, server.shutdown, lambda: proxy.__exit__(None, None, None)])
        return proxy

    yield start
    while stop:
        stop.pop()()

"""Real servers for the storage tests: an S3 (moto), and a proxy before it that loses and changes answers."""

from __future__ import annotations

import http.server
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from cas.storage import Storage, open_storage


@dataclass(frozen=True)
class Server:
    """Where the server answers, and a bucket that exists there."""

    endpoint: str
    bucket: str = "cas-test"


@pytest.fixture(scope="session")
def _moto() -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    threaded = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    yield Server(f"http://{host}:{port}")
    threaded.stop()


@pytest.fixture(scope="module")
def s3_environment(_moto: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, and an environment in which clients find it and nothing else."""
    nowhere = str(tmp_path_factory.mktemp("aws") / "nothing")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", _moto.endpoint)
        environment.setenv("AWS_ACCESS_KEY_ID", "nobody")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
        environment.setenv("AWS_CONFIG_FILE", nowhere)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
            environment.delenv(name, raising=False)
        yield _moto


@pytest.fixture(scope="module")
def opened_s3(s3_environment: Server) -> Iterator[Storage]:
    """One storage for all tests of a module, because a client takes half a second to make."""
    storage = open_storage(f"s3://{s3_environment.bucket}/some/prefix")
    yield storage
    storage.close()


@pytest.fixture
def s3_server(s3_environment: Server) -> Server:
    """The server with one bucket, which is empty."""
    _send("POST", f"{s3_environment.endpoint}/moto-api/reset")
    _send("PUT", f"{s3_environment.endpoint}/{s3_environment.bucket}")
    return s3_environment


@pytest.fixture
def s3(opened_s3: Storage, s3_server: Server) -> Storage:
    """An empty storage in the server's bucket."""
    return opened_s3


@dataclass
class Proxy:
    """Passes requests on to the server, but for those that a fault waits for.

    Attributes:
        endpoint: where it answers.
        faults: for the next requests in turn: None passes it on, ``"drop"`` hangs up instead,
            ``"lose"`` passes it on and hangs up instead of answering, a status and body are the
            answer, without a date.
        ignore_conditions: whether to leave out If-None-Match, as some servers do.
        requests: method and path of what came in.
        headers: of the last request.
    """

    endpoint: str = ""
    faults: deque[str | tuple[int, str] | None] = field(default_factory=deque)
    ignore_conditions: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def running_proxy(s3_environment: Server) -> Iterator[Proxy]:
    """A proxy before the S3 server, with whatever the last test left in it."""
    state = Proxy()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            state.requests.append((self.command, self.path))
            state.headers = dict(self.headers)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = state.faults.popleft() if state.faults else None
            if fault == "drop":
                self.close_connection = True
            elif isinstance(fault, tuple):
                self.answer(fault[0], {}, fault[1].encode())
            else:
                answer = self.forward(body)
                if fault == "lose":
                    self.close_connection = True
                else:
                    self.answer(*answer)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on

        def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            request = urllib.request.Request(s3_environment.endpoint + self.path, body or None, method=self.command)
            for name, value in self.headers.items():
                left_out = name.lower() == "if-none-match" and state.ignore_conditions
                if name.lower() not in ("host", "connection", "content-length") and not left_out:
                    request.add_header(name, value)
            request.add_header("Content-Type", "application/octet-stream")  # or urllib calls it a form
            try:
                with urllib.request.urlopen(request) as got:
                    return got.status, dict(got.headers), got.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, dict(error.headers), error.read()

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            if not any(name.lower() == "content-length" for name in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(running_proxy: Proxy, s3_server: Server) -> Proxy:
    """A proxy before the S3 server, which is empty but for a bucket."""
    running_proxy.faults.clear()
    running_proxy.ignore_conditions = False
    running_proxy.requests.clear()
    return running_proxy


def _send(method: str, url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
        assert answer.status == 200

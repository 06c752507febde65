"""Counting what really goes over the wire: a proxy that stands before any HTTP server.

Every request that a client sends is seen, its own retries included, whatever the
library. Bodies are passed on in pieces as they come. A test of a budget reads:

    with CountingProxy("http://127.0.0.1:5000") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        operation()
        assert proxy.count("PUT") <= 20
        assert proxy.received_bytes < 1.1 * wanted_bytes
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

__all__ = ["CountingProxy", "Request"]

_PIECE_BYTES = 1 << 20
# What concerns one connection only (RFC 9110, section 7.6.1), and so is not passed on.
_HOP_HEADERS = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request and how it was answered.

    Attributes:
        method: ``"GET"`` …
        target: path and query, as they were sent.
        range: the Range header, or empty.
        status: of the answer.
        sent_bytes: the request's body.
        received_bytes: the answer's body; all of it, though the client may have hung up.
    """

    method: str
    target: str
    range: str
    status: int
    sent_bytes: int
    received_bytes: int

    @property
    def is_list(self) -> bool:
        """Whether it asks an S3 server for a listing."""
        return self.method == "GET" and "list-type" in parse_qs(urlsplit(self.target).query)


class CountingProxy:
    """Passes requests on to one server and remembers them. Use it as a context manager.

    Attributes:
        endpoint: the URL where it answers.
        requests: what has been answered, oldest first.
    """

    def __init__(self, server: str) -> None:
        """Stand before ``server``, an ``http://host:port``."""
        self.requests: list[Request] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(urlsplit(server).netloc, self.requests.append))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, name="cas-counting-proxy")
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self.requests))

    def count(self, *methods: str) -> int:
        """How many requests there were; only those of certain methods, where any is given."""
        return sum(not methods or request.method in methods for request in self)

    @property
    def lists(self) -> int:
        """How many listings were asked for."""
        return sum(request.is_list for request in self)

    @property
    def sent_bytes(self) -> int:
        """Bytes of all requests' bodies."""
        return sum(request.sent_bytes for request in self)

    @property
    def received_bytes(self) -> int:
        """Bytes of all answers' bodies."""
        return sum(request.received_bytes for request in self)

    def clear(self) -> None:
        """Forget what was counted."""
        self.requests.clear()


def _handler(server: str, note: Callable[[Request], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.upstream = http.client.HTTPConnection(server)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def pass_on(self) -> None:
            size_bytes = int(self.headers.get("Content-Length", 0))
            # As it came, Host included: an S3 signature covers it.
            self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_HEADERS and name.lower() != "expect":
                    self.upstream.putheader(name, value)
            self.upstream.endheaders()
            left = size_bytes
            while left:
                piece = self.rfile.read(min(_PIECE_BYTES, left))
                if not piece:
                    self.close_connection = True
                    self.upstream.close()
                    return
                self.upstream.send(piece)
                left -= len(piece)
            self.answer(size_bytes)

        def answer(self, sent_bytes: int) -> None:
            answer = self.upstream.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            whole = None
            if answer.length is None and self.command != "HEAD":  # in chunks, whose end only their reader knows
                whole = answer.read()
                self.send_header("Content-Length", str(len(whole)))
            received_bytes = 0 if self.command == "HEAD" else (answer.length or 0) if whole is None else len(whole)
            target, range_ = self.path, self.headers.get("Range", "")
            # Before the headers leave, which are all of a PUT's answer: who has it may look at the count.
            note(Request(self.command, target, range_, answer.status, sent_bytes, received_bytes))
            self.end_headers()
            for piece in iter(lambda: answer.read(_PIECE_BYTES), b"") if whole is None else [whole]:
                self.wfile.write(piece)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on

        def log_message(self, format: str, *arguments: object) -> None:
            return

    return Handler

"""A server between chipcyte and S3 that forwards every request, or fails as it is told."""

import http.client
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["500", "503", "hang", "drop", "done but 500", "done but dropped", "half an answer"]
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
MIXED: tuple[Fault, ...] = ("500", "503", "drop", "done but 500", "done but dropped")
HANG_S = 3.0  # longer than the patience of the tests


@dataclass
class FaultyServer:
    """What the server does to the next requests of one method, and what it has seen."""

    behind: str
    address: str = ""
    faults: deque[Fault] = field(default_factory=deque)
    method: str = ""
    always: Fault | None = None
    every: int = 0
    failed: int = 0
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    stopping: Any = field(default_factory=threading.Event)

    def fail(self, method: str, *faults: Fault) -> None:
        """Let the next requests of a method fail, each in its way."""
        self.method, self.faults = method, deque(faults)

    def note(self, method: str, path: str, signature: str) -> Fault | None:
        """Remember a request and return what is to happen to it."""
        with self.lock:
            self.seen.append((method, path, signature))
            if self.always is not None:
                return self.always
            if self.every and len(self.seen) % self.every == 0:
                self.failed += 1
                return MIXED[self.failed % len(MIXED)]
            return self.faults.popleft() if self.faults and method == self.method else None

    def count(self, method: str) -> int:
        """Return how many requests of a method came."""
        return sum(one[0] == method for one in self.seen)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: FaultyServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.plan.note(self.command, self.path, self.headers.get("Authorization", ""))
        if fault == "hang":
            self.plan.stopping.wait(HANG_S)
        if fault in ("hang", "drop"):
            self.close_connection = True
            return
        if fault in ("500", "503"):
            self.answer(int(fault), {}, BUSY)
            return
        status, headers, content = self.forward(body)
        if fault == "done but dropped":
            self.close_connection = True
        elif fault == "done but 500":
            self.answer(500, {}, BUSY)
        elif fault == "half an answer":
            self.answer(status, headers, content, sent=content[: len(content) // 2])
        else:
            self.answer(status, headers, content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection(urlsplit(self.plan.behind).netloc, timeout=30)
        link.request(self.command, self.path, body, dict(self.headers.items()))
        answer = link.getresponse()
        content = answer.read()
        headers = {
            k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")
        }
        link.close()
        return answer.status, headers, content

    def answer(self, status: int, headers: dict[str, str], content: bytes, sent: bytes | None = None) -> None:
        headers = {
            k: v for k, v in headers.items() if k.lower() != "content-length" or self.command == "HEAD"
        }
        if self.command != "HEAD":
            headers["Content-Length"] = str(len(content))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if sent is None else sent)
        if sent is not None:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def faulty_server(behind: str) -> Iterator[FaultyServer]:
    """Run the server until the block ends."""
    plan = FaultyServer(behind)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"plan": plan}))
    server.daemon_threads = True
    plan.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield plan
    finally:
        plan.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""An S3 server that writes down who put what: `python -m tests.hosts.s3 ADDRESS PORT BUCKET LOG`.

A line of the log is a JSON list: time in s, client's address, object's name, SHA-256 of its bytes. Only puts
that succeeded are in it.
"""

import hashlib
import io
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from typing import IO, Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Quiet(MotoRequestHandler):
    """Says nothing of requests that were answered, and lets clients keep their connections."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: Any) -> None:
        """Say nothing."""


def noting(application: Application, log: IO[str]) -> Application:
    """Write a line for each put that succeeds."""
    lock = threading.Lock()

    def noted(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] != "PUT":
            return application(environment, start)
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        environment["wsgi.input"] = io.BytesIO(body)
        name = environment["PATH_INFO"].lstrip("/").partition("/")[2]
        line = [time.time(), environment["REMOTE_ADDR"], name, hashlib.sha256(body).hexdigest()]

        def started(status: str, *rest: Any) -> Any:
            if status.startswith("200"):
                with lock:
                    print(json.dumps(line), file=log, flush=True)
            return start(status, *rest)

        return application(environment, started)

    return noted


def main(address: str, port: str, bucket: str, path: str) -> None:
    """Serve until killed."""
    with open(path, "a", encoding="utf-8") as log:  # noqa: PTH123
        application = noting(DomainDispatcherApplication(create_backend_app), log)
        server = make_server(address, int(port), application, threaded=True, request_handler=Quiet)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        request = urllib.request.Request(f"http://{address}:{port}/{bucket}", method="PUT", data=b"")
        urllib.request.urlopen(request, timeout=60).close()
        serving.join()


if __name__ == "__main__":
    main(*sys.argv[1:])

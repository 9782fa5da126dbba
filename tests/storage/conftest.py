"""The stores that the suite runs on: a folder, and an S3 bucket behind a real HTTP server on loopback."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer

from storage import backends
from storage.backends import Patience
from storage.objects import Objects, open_store

settings.register_profile("busy machine", deadline=None)  # time is measured elsewhere
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Give the address of an S3 server that lives as long as the tests."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Set the AWS_* variables to the local server; short pauses, but time for a busy machine to answer."""
    given = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_REGION": "eu-central-1",
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        backends,
        "PATIENCE",
        Patience(retries=3, first_pause_s=0.02, request_s=30, connect_s=30, longest_s=120),
    )
    backends.backend.cache_clear()
    yield monkeypatch
    backends.backend.cache_clear()


@pytest.fixture
def bucket(s3_server: str, s3_environment: pytest.MonkeyPatch) -> str:
    """Give the name of a fresh bucket."""
    name = f"lab-{uuid4().hex[:12]}"
    make = urllib.request.Request(
        f"{s3_server}/{name}",
        method="PUT",
        data=b"<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>"
        b"</CreateBucketConfiguration>",
    )
    with urllib.request.urlopen(make, timeout=10):
        return name


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Give an empty store: every test that takes it runs on a folder and on S3."""
    if request.param == "folder":
        return open_store(str(tmp_path / "the store"), create=True)
    return open_store(f"s3://{request.getfixturevalue('bucket')}/chips/store", create=True)


@pytest.fixture
def local(tmp_path: Path) -> Objects:
    """Give an empty store in a folder."""
    return open_store(str(tmp_path / "store"), create=True)

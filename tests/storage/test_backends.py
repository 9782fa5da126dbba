"""S3 out of order: what is repeated, how often, and what is said in the end."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from storage import arrays, backends
from storage.arrays import ArraySpec, Digests
from storage.errors import StoreError
from storage.objects import Objects, open_store
from storage.regions import Region
from tests.storage.faulty import Fault, FaultyServer, faulty_server

REQUEST_S = 1.0  # less than a server hangs


@pytest.fixture
def faulty(bucket: str, s3_server: str, s3_environment: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Give a server that can be told to fail, in front of an S3 server that works."""
    with faulty_server(s3_server) as server:
        s3_environment.setenv("AWS_ENDPOINT_URL", server.address)
        s3_environment.setattr(backends, "PATIENCE", replace(backends.PATIENCE, request_s=REQUEST_S))
        backends.backend.cache_clear()
        yield server


@pytest.fixture
def remote(bucket: str, faulty: FaultyServer) -> Objects:
    """Give a store behind the faulty server, which works so far."""
    objects = open_store(f"s3://{bucket}/store", create=True)
    objects.put("known", b"x" * 1000)
    faulty.seen.clear()
    return objects


ALL: tuple[Fault, ...] = ("500", "503", "hang", "drop", "done but 500", "done but dropped", "half an answer")


@pytest.mark.parametrize("fault", ALL)
def test_a_read_is_repeated(remote: Objects, faulty: FaultyServer, fault: Fault) -> None:
    faulty.fail("GET", fault, "503")
    assert remote.get("known") == b"x" * 1000


@pytest.mark.parametrize("fault", [fault for fault in ALL if fault != "half an answer"])
def test_a_write_is_repeated(remote: Objects, faulty: FaultyServer, fault: Fault) -> None:
    faulty.fail("PUT", fault, "500")
    remote.put("new", b"1")
    assert remote.get("new") == b"1"
    assert faulty.count("PUT") == 3


@pytest.mark.parametrize("fault", ["500", "503", "hang", "drop"])
def test_a_create_that_did_not_come_through_is_repeated(
    remote: Objects, faulty: FaultyServer, fault: Fault
) -> None:
    faulty.fail("PUT", fault)
    assert remote.create("new", b"1")
    assert remote.get("new") == b"1"
    assert not remote.create("new", b"2")


@pytest.mark.parametrize("fault", ["done but 500", "done but dropped"])
def test_a_create_whose_answer_was_lost_never_replaces(
    remote: Objects, faulty: FaultyServer, fault: Fault
) -> None:
    faulty.fail("PUT", fault)
    assert not remote.create("new", b"1")
    assert remote.get("new") == b"1"


@pytest.mark.parametrize("fault", ["500", "hang", "drop"])
def test_listing_and_looking_up_are_repeated(remote: Objects, faulty: FaultyServer, fault: Fault) -> None:
    faulty.fail("GET", fault)
    assert remote.sizes("known") == []
    assert ("known", 1000) in remote.sizes("")
    faulty.fail("HEAD", fault)
    assert remote.exists("known")
    faulty.fail("POST", fault)  # S3's request for deleting many
    remote.delete(["known"])
    assert not remote.exists("known")


@pytest.mark.parametrize("fault", ["500", "503", "hang", "drop"])
def test_patience_ends_with_one_clear_line(remote: Objects, faulty: FaultyServer, fault: Fault) -> None:
    faulty.always = fault
    operations = {
        "read 'known'": lambda: remote.get("known"),
        "write 'new'": lambda: remote.put("new", b"1"),
        "look up 'known'": lambda: remote.exists("known"),
        "list the store": lambda: remote.sizes(""),
    }
    if fault == "hang":  # each try takes its whole time
        operations = dict(list(operations.items())[:2])
    for said, operation in operations.items():
        started, faulty.seen = time.monotonic(), []
        with pytest.raises(StoreError) as caught:
            operation()
        text = str(caught.value)
        assert said in text
        assert remote.url in text
        assert "\n" not in text
        assert "secret" not in text
        assert len(faulty.seen) == 1 + backends.PATIENCE.retries
        assert time.monotonic() - started < 10


def test_a_create_gives_up_too(remote: Objects, faulty: FaultyServer) -> None:
    faulty.always = "drop"
    with pytest.raises(StoreError, match="could not write 'new' in the store s3"):
        remote.create("new", b"1")
    faulty.always = None
    assert remote.create("new", b"1")


def test_nobody_listening_is_a_clear_error(bucket: str, s3_environment: pytest.MonkeyPatch) -> None:
    s3_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    backends.backend.cache_clear()
    with pytest.raises(StoreError, match="could not look up") as caught:
        open_store(f"s3://{bucket}/store", create=True)
    assert "\n" not in str(caught.value)


def test_pauses_between_tries_grow(remote: Objects, faulty: FaultyServer) -> None:
    """Backoff: four tries with pauses of about 20, 40 and 80 ms (each is drawn at random below its bound)."""
    faulty.always = "503"
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"SlowDown"):
        remote.get("known")
    assert 0.02 < time.monotonic() - started < 2


def test_requests_are_signed_for_the_region_of_the_environment(
    remote: Objects, faulty: FaultyServer, s3_environment: pytest.MonkeyPatch
) -> None:
    remote.get("known")
    assert "/eu-central-1/s3/aws4_request" in faulty.seen[-1][2]
    s3_environment.setenv("AWS_REGION", "ap-south-1")
    backends.backend.cache_clear()
    open_store(remote.url).get("known")
    assert "/ap-south-1/s3/aws4_request" in faulty.seen[-1][2]


@pytest.mark.parametrize("fault", ["500", "hang", "drop"])
def test_arrays_survive_a_server_out_of_order(remote: Objects, faulty: FaultyServer, fault: Fault) -> None:
    written: Digests = {}
    spec = ArraySpec((64, 64), "uint16", (32, 32), (64, 64), ("y", "x"))
    array = arrays.create_array(remote, "a", spec, written)
    yx = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    faulty.fail("PUT", fault)
    array.write(Region((0, 0), (64, 64)), yx)
    faulty.fail("GET", fault)
    assert np.array_equal(arrays.open_array(remote, "a").read(Region((0, 0), (64, 64))), yx)
    faulty.always = "503"
    with pytest.raises(StoreError, match=r"could not read a: .*SlowDown"):
        array.read(Region((0, 0), (64, 64)))
    with pytest.raises(StoreError, match=r"could not write 'a/c/0/0' in .*SlowDown"):
        array.write(Region((0, 0), (64, 64)), yx)

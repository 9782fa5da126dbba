"""Two that want the same artifact: one does it, the other hears of it or waits its turn."""

import subprocess
import sys
import threading
import time

import pytest

from storage import leases
from storage.errors import BusyError
from storage.objects import open_store

HOLD = """
import sys, time
from storage import leases
from storage.objects import open_store
with leases.held(open_store(sys.argv[1]), "clean", "k"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def objects(tmp_path):
    return open_store(str(tmp_path / "store"), create=True)


@pytest.fixture
def other_process(objects):
    """A process of its own that holds the lease of clean k."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, objects.url], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lease_leaves_nothing_behind(objects):
    with leases.held(objects, "clean", "k"):
        assert list(objects.names("progress"))
    assert not list(objects.names("progress"))


def test_a_lease_is_let_go_after_an_error(objects):
    with pytest.raises(KeyError), leases.held(objects, "clean", "k"):
        raise KeyError
    with leases.held(objects, "clean", "k"):
        pass


def test_another_process_that_works_is_named(objects, other_process):
    # Its first renewal comes after five seconds: it must be watched for longer than that.
    busy = pytest.raises(BusyError, match=f"already being done by process {other_process.pid}")
    with busy, leases.held(objects, "clean", "k", dead_after_s=8):
        pytest.fail("two hold one lease")


def test_other_artifacts_are_free(objects, other_process):
    with leases.held(objects, "clean", "other"), leases.held(objects, "labels", "k"):
        pass


def test_a_killed_process_of_this_host_is_replaced_at_once(objects, other_process):
    other_process.kill()
    other_process.wait()
    began = time.monotonic()
    with leases.held(objects, "clean", "k"):
        assert time.monotonic() - began < 2


def test_a_silent_process_of_another_host_is_replaced_after_patience(objects):
    elsewhere = leases.Holder("token", "another-host", 1, 0.0)
    objects.put("progress/clean/k/lease.json", leases._text(elsewhere))
    began = time.monotonic()
    with leases.held(objects, "clean", "k", dead_after_s=1):
        assert time.monotonic() - began >= 1


def test_of_many_heirs_one_holds_at_a_time(objects):
    dead = leases.Holder("token", "another-host", 1, 0.0)
    objects.put("progress/clean/k/lease.json", leases._text(dead))
    inside, most = [], []

    def heir():
        with leases.held(objects, "clean", "k", dead_after_s=0.5):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=heir) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8

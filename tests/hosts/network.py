"""Three machines in the kernel: network namespaces whose only way to each other is a bridge."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SITE = "10.77.0.1"
HOSTS = {"one": "10.77.0.11", "two": "10.77.0.12"}


def missing() -> str:
    """Return why there can be no namespaces here; "" if there can."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    probe = f"cc{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    if made.returncode:
        return f"this system lets nobody make a network namespace: {made.stderr.decode().strip()}"
    _ip("netns", "delete", probe)
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Network:
    """The site (databases, S3, scheduler, the run) and the hosts of the workers."""

    tag: str

    def name(self, place: str) -> str:
        return f"{self.tag}-{place}"

    def within(self, place: str) -> list[str]:
        """Return the words that run a command on a machine."""
        return ["ip", "netns", "exec", self.name(place)]

    def cut(self, host: str) -> None:
        """Pull a host's cable."""
        _ip("-n", self.name("site"), "link", "set", f"to-{host}", "down")

    def mend(self, host: str) -> None:
        """Put it in again."""
        _ip("-n", self.name("site"), "link", "set", f"to-{host}", "up")

    def _make(self) -> None:
        for place in ("site", *HOSTS):
            _ip("netns", "add", self.name(place))
            _ip("-n", self.name(place), "link", "set", "lo", "up")
        site = ("-n", self.name("site"), "link")
        _ip(*site, "add", "hub", "type", "bridge")
        _ip("-n", self.name("site"), "address", "add", f"{SITE}/24", "dev", "hub")
        _ip(*site, "set", "hub", "up")
        for host, address in HOSTS.items():
            _ip(*site, "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", self.name(host))
            _ip(*site, "set", f"to-{host}", "master", "hub", "up")
            _ip("-n", self.name(host), "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", self.name(host), "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for place in ("site", *HOSTS):
            subprocess.run(["ip", "netns", "delete", self.name(place)], capture_output=True, check=False)


@contextmanager
def network() -> Iterator[Network]:
    """Make the machines; they are gone afterwards, and with them their cables."""
    made = Network(f"cc{os.getpid()}")
    try:
        made._make()
        yield made
    finally:
        made._remove()

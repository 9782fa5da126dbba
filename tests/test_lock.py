"""The lock file covers what pyproject.toml asks for, and nothing in it has a known weakness."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.test_rooms import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
ASKED = [
    asked
    for asked in map(Requirement, [*PROJECT["dependencies"], *(one for extra in EXTRAS for one in extra)])
    if asked.name != PROJECT["name"]
]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = re.split(r"\n(?=[a-zA-Z0-9])", LOCK.strip())
PINNED = {canonicalize_name(re.split(r"[\[=]", one)[0]): one for one in ENTRIES}


@pytest.mark.parametrize("asked", ASKED, ids=lambda one: one.name)
def test_what_is_asked_for_is_locked_at_a_version_that_fits(asked: Requirement) -> None:
    entry = PINNED[canonicalize_name(asked.name)]
    version = re.match(r"\S+==([^\s;\\]+)", entry)
    assert version, entry.splitlines()[0]
    assert asked.specifier.contains(Version(version[1]), prereleases=True)


def test_every_line_is_one_version_with_digests() -> None:
    assert len(ENTRIES) > 200
    for entry in ENTRIES:
        assert re.match(r"[A-Za-z0-9._-]+(\[\S+\])?==\S+ ", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.slow
def test_nothing_locked_has_a_known_weakness() -> None:
    """Asks pypi.org; a mirror may have the packages without what is known of them."""
    quiet = ("--format", "json", "--progress-spinner", "off")
    lock = ("--disable-pip", "--require-hashes", "--requirement", "requirements.lock")
    found = subprocess.run(
        [sys.executable, "-m", "pip_audit", *quiet, *lock], cwd=ROOT, capture_output=True, text=True
    )
    if not found.stdout and re.search("ConnectionError|Could not connect|Max retries exceeded", found.stderr):
        pytest.skip(f"nobody answers: {found.stderr.strip()[-200:]}")
    assert found.stdout, found.stderr
    every = json.loads(found.stdout)["dependencies"]
    assert {one["name"]: one["vulns"] for one in every if one.get("vulns")} == {}
    if all("skip_reason" in one for one in every):
        pytest.skip(f"no facts about any of {len(every)} packages: {every[0]['skip_reason']}")

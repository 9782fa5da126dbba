"""A lab's cluster for real: PostgreSQL, S3, a Dask scheduler, two workers on two hosts; `pytest -m services`.

The hosts are network namespaces. The whole pipeline there ends with the laptop's bytes, though a worker is
killed, a host is cut off, or PostgreSQL is restarted on the way.
"""

import hashlib
import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.objects import open_store
from tasks.settings import load_settings
from tasks.simulate import simulate_experiment
from tasks.train import Tracking
from tests.flows.test_kills import no_run
from tests.hosts import site as sites
from tests.hosts.network import HOSTS
from tests.hosts.site import BUCKET, SCHEDULER, Put, Site, marks
from tests.support import TINY, contents, up_to_clusters

pytestmark = [pytest.mark.long, pytest.mark.services, pytest.mark.timeout(1800)]
SETTINGS = """
[segment.method]
kind = "threshold"
[extract.crop]
kind = "pad"
size_px = 32
[train]
epochs = 2
latent = 4
batch_size = 16
[train.body]
kind = "conv"
widths = [8, 16]
"""
# A laptop without servers makes no report, and records of what MLflow keeps name the run there. What they
# stand for, networks, latents and clusters, is compared like all the rest.
BY_NATURE = ("records/model/", "records/clusters/", "records/report/", "artifacts/report/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := sites.missing():
        pytest.skip(reason)
    with sites.running(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def configured(site: Site) -> Path:
    path = site.folder / "cluster.toml"
    path.write_text(f'{SETTINGS}[resources]\ncompute = "{SCHEDULER}"\nworkers = 2\n')
    return path


def on_a_laptop(recordings: Path, folder: Path) -> dict[str, str]:
    """Digests of the store that one process makes from the same stages, without servers."""
    (folder / "laptop.toml").write_text(SETTINGS)
    settings = load_settings(folder / "laptop.toml", {"resources.compute": "serial", "resources.workers": 1})
    store = open_store(str(folder / "store"), create=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracking, "run", no_run)
        up_to_clusters(recordings, store, settings)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents(store).items()}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recordings") / "tiny"
    simulate_experiment(out, replace(TINY, time_points=6))
    return out


@pytest.fixture(scope="module")
def laptop(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return on_a_laptop(recordings, tmp_path_factory.mktemp("laptop"))


def check_equal(found: dict[str, str], laptop: dict[str, str]) -> None:
    """The same objects with the same bytes, but for what differs by nature."""
    differing = {name for name in found.keys() | laptop.keys() if found.get(name) != laptop.get(name)}
    assert [name for name in sorted(differing) if not name.startswith(BY_NATURE)] == []
    assert len(found) > 100


def ended_well(
    site: Site, run: "subprocess.Popen[str]", store: str, laptop: dict[str, str], *, late_units: bool = False
) -> list[Put]:
    """The bytes are the laptop's, no unit is lost, and whatever was written twice was the same."""
    found = site.finished(run)
    if late_units:
        tidy(site, store)
    puts = site.puts(store)
    print(json.dumps(shares(puts)))
    check_equal(site.digests(store), laptop)
    assert len({one.name for one in marks(puts)}) == found["counts"]["units_done"]
    written = defaultdict(set)
    for one in puts:
        if one.name.startswith(("acquisitions/", "artifacts/")):
            written[one.name].add(one.digest)
    assert [name for name, digests in written.items() if len(digests) > 1] == []
    return puts


def tidy(site: Site, store: str) -> None:
    """Do as maintenance does: a host that is back marks its unit, whose artifact may be finished by then."""
    words = ("check", "--store", store, "--repair", "--older-than", "0", "--json")
    for problem in site.finished(site.chipcyte(*words))["problems"]:
        print(problem["text"])
        assert problem["what"] == "orphan"
        assert problem["path"].startswith("progress/")


def start(site: Site, configured: Path, recordings: Path, store: str) -> "subprocess.Popen[str]":
    site.await_answers()
    words = ("run", recordings, "--store", store, "--config", configured, "--name", "tiny", "--json")
    return site.chipcyte(*words)


def shares(puts: list[Put]) -> dict[str, int]:
    """How many units each host has done, and how many were done by both."""
    by = {host: {one.name for one in marks(puts, address)} for host, address in HOSTS.items()}
    return {host: len(units) for host, units in by.items()} | {"both": len(by["one"] & by["two"])}


def test_the_pipeline_on_two_hosts_is_the_laptops_though_a_worker_is_killed(
    site: Site, configured: Path, recordings: Path, laptop: dict[str, str]
) -> None:
    store = f"s3://{BUCKET}/killed"
    run = start(site, configured, recordings, store)
    site.await_units(store, "one", 2)
    site.worker_process("one").kill()
    ended_well(site, run, store, laptop)


def test_a_host_that_is_cut_off_costs_its_units_and_does_no_harm_when_it_is_back(
    site: Site, configured: Path, recordings: Path, laptop: dict[str, str]
) -> None:
    """Its units go to the other; Dask ends a worker that has lost its scheduler, so it is started again."""
    store = f"s3://{BUCKET}/cut"
    run = start(site, configured, recordings, store)
    site.await_units(store, "one", 10)
    site.network.cut("one")
    cut_s = time.time()
    site.await_line("scheduler", "Remove worker")
    site.network.mend("one")
    mended_s = time.time()
    site.workers["one"].wait(sites.PATIENCE_S)
    site.start_worker("one")
    print(f"cut off for {mended_s - cut_s:.1f} s")
    puts = ended_well(site, run, store, laptop, late_units=True)
    assert not [one for one in puts if one.client == HOSTS["one"] and cut_s + 1 < one.time_s < mended_s]


def test_postgres_restarted_in_the_middle_stops_no_run(
    site: Site, configured: Path, recordings: Path, laptop: dict[str, str]
) -> None:
    store = f"s3://{BUCKET}/restarted"
    run = start(site, configured, recordings, store)
    site.await_units(store, "two", 10)
    site.database.stop()
    time.sleep(5)
    site.database.start()
    ended_well(site, run, store, laptop)

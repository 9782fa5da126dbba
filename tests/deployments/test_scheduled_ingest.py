"""The ingest deployment as a lab runs it: a Prefect server, a worker, a schedule, an inbox."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from flows.watching import INGESTED
from storage import records
from storage.objects import open_store
from tests.deployments.lab import CONTENT, Lab
from tests.support import write_tiff

INTERVAL_S = 15


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    lab = Lab(tmp_path, monkeypatch)
    chosen = {one["name"]: deepcopy(one) for one in CONTENT["deployments"]}
    chosen = {name: chosen[name] for name in ("ingest", "process")}
    chosen["ingest"]["schedules"] = [{"interval": INTERVAL_S, "slug": "often"}]
    chosen["process"]["parameters"]["until"] = "preprocess"
    for one in chosen.values():
        one["parameters"]["settings"] = {"watch": {"quiet_period_s": 1}, "resources": {"compute": "serial"}}
    try:
        made = lab.deploy({**CONTENT, "deployments": list(chosen.values())})
        assert made == ["watch/ingest", "process/process"]
        yield lab
    finally:
        lab.close()


@pytest.mark.long
@pytest.mark.services
@pytest.mark.timeout(600)
def test_what_arrives_is_ingested_once_by_the_schedule_and_processed_when_its_event_comes(lab):
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 64, 64)).astype(np.uint16)
    write_tiff(lab.inbox / "a.tif", pixels, photometric="minisblack")
    lab.wait_for(lambda: bool(lab.raws()))
    (raw,) = lab.raws()
    before = lab.states("ingest").count("COMPLETED")
    # the one that took it, and two more
    lab.wait_for(lambda: lab.states("ingest").count("COMPLETED") >= before + 3)
    assert set(lab.states("ingest")) <= {"COMPLETED", "CANCELLED"}  # a look too many is dropped
    assert lab.raws() == [raw]
    told = lab.ask("/events/filter", filter={"event": {"name": [INGESTED]}})["events"]
    assert [event["payload"]["key"] for event in told] == [raw.key]
    lab.wait_for(lambda: bool(lab.runs("process")))
    (run,) = lab.runs("process")
    assert (run["name"], run["state_type"]) == ("a.tif", "COMPLETED")
    assert run["parameters"]["acquisitions"] == [raw.key]
    assert len(records.listing(open_store(str(lab.store)), "clean")) == 1

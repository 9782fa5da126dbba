import json

import pytest

from flows.summary import Result, stage_json
from tasks.stage import Handle


def handle(kind, name, *, reused=False, **facts):
    return Handle(kind, f"key-{name}", name, f"uri-{name}", reused=reused, **facts)


RAWS = [handle("raw", name, counts={"frames": 2, "bytes": 10, "channels": 1}) for name in "ab"]
CLEANS = [
    handle("clean", name, reused=True, units_reused=2, metrics={"angle_deg": angle, "confidence": 0.5})
    for name, angle in (("a", 1.5), ("b", -3.0))
]
LABELS = [
    handle("labels", name, counts={"cells": cells, "frames": 2, "units": 9}, units_done=9)
    for name, cells in (("a", 5), ("b", 7))
]


@pytest.fixture
def result():
    return Result({"ingest": RAWS, "preprocess": CLEANS, "segment": LABELS})


def test_the_whole_is_the_last_stage_with_all_others_below(result):
    found = result.as_json()
    assert found["key"] == ["key-a", "key-b"]
    assert found["uri"] == ["uri-a", "uri-b"]
    assert list(found["stages"]) == ["ingest", "preprocess", "segment"]
    assert found["counts"] == {
        "acquisitions": 2,
        "cells": 12,
        "frames": 4,
        "units_done": 18,
        "units_reused": 4,
    }
    assert found["metrics"]["angles_deg"] == {"a": 1.5, "b": -3.0}
    assert found["metrics"]["cells_by_file"] == {"a": 5, "b": 7}
    assert found["reused"] is False
    json.dumps(found, allow_nan=False)


def test_each_stage_says_the_same_of_itself(result):
    stages = result.as_json()["stages"]
    assert [stage["reused"] for stage in stages.values()] == [False, True, False]
    assert stages["preprocess"]["counts"] == {"units_done": 0, "units_reused": 4}
    assert stages["segment"]["counts"]["cells"] == 12
    for stage in stages.values():
        assert stage.keys() == {"key", "uri", "counts", "metrics", "reused"}


def test_a_single_artifact_is_no_list():
    model = handle("model", "m", counts={"cells": 3, "train_cells": 2}, metrics={"train_total": 0.5})
    found = stage_json("train", [model])
    assert (found["key"], found["uri"]) == ("key-m", "uri-m")
    assert found["counts"]["train_cells"] == 2
    assert found["metrics"] == {"train_total": 0.5}


def test_all_reused_is_reused():
    reused = [handle("raw", "a", reused=True, units_reused=2)]
    assert Result({"ingest": reused}).as_json()["reused"] is True
    assert Result(
        {"ingest": reused, "preprocess": [handle("clean", "a", metrics=CLEANS[0].metrics)]}
    ).reused is (False)


def test_the_last_stage_is_the_farthest_not_the_latest_noted():
    assert Result({"train": [RAWS[0]], "ingest": RAWS}).last == "train"

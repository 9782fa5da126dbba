"""What is said of a segmentation: numbers of each frame, and which frames are odd among the others."""

import io

import matplotlib.image
import numpy as np
import pytest

from storage import records
from tasks import announce
from tasks.label_quality import odd_frames, plane_numbers
from tasks.segment import segment
from tasks.settings import SegmentSettings
from tests.support import SERIAL
from tests.tasks.test_segment_network import cleaned


def columns(counts, depths=1, areas=(40, 50, 60)):
    """Columns of cells: `counts` of each frame in every depth, areas in turn, every fourth at the edge."""
    places = [(t, z, k) for t, count in enumerate(counts) for z in range(depths) for k in range(count)]
    t, z, number = np.array(places, int).reshape(-1, 3).T
    return {
        "t": t,
        "z": z,
        "area_px": np.asarray(areas)[number % len(areas)],
        "touches_edge": number % 4 == 0,
        "flow_error": 0.1 * (1 + number % 2),
    }


def quality(cells, shape_tz):
    """Numbers of each plane, in the order in which they are recorded."""
    return [plane_numbers(cells, t, z) for t in range(shape_tz[0]) for z in range(shape_tz[1])]


def flagged(counts, depths=1):
    rows = quality(columns(counts, depths), (len(counts), depths))
    return [(one["t"], one["z"]) for one in odd_frames(rows)]


def test_numbers_of_a_frame():
    first, second = quality(columns([12, 0]), (2, 1))
    assert first == {
        "t": 0, "z": 0, "cells": 12, "area_p5_px": 40.0, "area_p50_px": 50.0, "area_p95_px": 60.0,
        "edge_share": 0.25, "mean_flow_error": 0.15,
    }  # fmt: skip
    assert second["cells"] == 0
    assert {name: value for name, value in second.items() if name not in ("t", "z", "cells")} == {
        "area_p5_px": None, "area_p50_px": None, "area_p95_px": None, "edge_share": None,
        "mean_flow_error": None,
    }  # fmt: skip


def test_flow_errors_that_are_not_known_do_not_count():
    some = columns([4])
    some["flow_error"] = np.array([np.nan, 0.2, np.nan, 0.4])
    assert quality(some, (1, 1))[0]["mean_flow_error"] == 0.3
    some["flow_error"] = np.full(4, np.nan)
    assert quality(some, (1, 1))[0]["mean_flow_error"] is None


@pytest.mark.parametrize(
    ("counts", "odd"),
    [
        ([100, 103, 98, 101, 20, 99], [4]),
        ([100, 103, 98, 0, 101, 300], [3, 5]),
        ([100, 110, 120, 130, 140, 150], []),  # they grow
        ([50, 100, 60, 90, 70, 80], []),  # they vary
        ([100, 100, 100, 129, 100], []),  # less than nuclei that divide
        ([100, 100, 100, 131, 100], [3]),
        ([0, 0, 0, 1, 0], []),
        ([0, 0, 0, 2, 0], [3]),
        ([100, 1], []),  # which of two is odd?
        ([7], []),
        ([], []),
    ],
)
def test_frames_with_odd_counts_are_flagged(counts, odd):
    assert flagged(counts) == [(t, 0) for t in odd]


def test_a_depth_is_judged_by_its_own_frames():
    """Fewer nuclei lie at the rim of a stack, in every frame."""
    every = columns([30, 30, 30, 30], depths=2)
    kept = (every["z"] == 0) | (np.arange(len(every["z"])) % 10 == 0)
    kept |= (every["t"] == 2) & (every["z"] == 1)
    found = odd_frames(quality({name: values[kept] for name, values in every.items()}, (4, 2)))
    assert [(one["t"], one["z"]) for one in found] == [(2, 1)]
    assert found[0]["why"] == "30 cells, usual are 3"


def discs(counts, shape=(120, 150)):
    """Frames with so many discs, the first of a frame cut by its border."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    places = [(row, column) for row in (0, 40, 80) for column in (20, 60, 100, 140)]
    frames = np.full((len(counts), 1, *shape), 0.1, np.float32)
    for t, count in enumerate(counts):
        for row, column in places[:count]:
            frames[t, 0][(y - row) ** 2 + (x - column) ** 2 < 9**2] = 0.9
    return frames


def test_the_stage_keeps_and_shows_them(store, monkeypatch):
    sent = {}
    monkeypatch.setattr(announce, "table", lambda key, rows, _: sent.update({key.split("-")[0]: rows}))
    monkeypatch.setattr(announce, "image", lambda key, png, _: sent.update({key.split("-")[0]: png()}))
    clean = cleaned(store, discs([8, 8, 2, 8, 7]))
    settings = SegmentSettings(method={"kind": "threshold", "diameter_um": 9})
    made = segment.fn(clean, store.url, settings, SERIAL)
    details = records.read(store, "labels", made.key).details
    assert [row["cells"] for row in details["quality"]] == [8, 8, 2, 8, 7] == made.metrics["cells_by_frame"]
    assert [row["edge_share"] for row in details["quality"]][:3] == [0.5, 0.5, 1.0]
    assert [row["mean_flow_error"] for row in details["quality"]] == [None] * 5
    assert [(one["t"], one["reason"]) for one in details["flagged"]] == [(2, "count")]
    assert (sent["cells"], sent["odd"]) == (details["quality"], details["flagged"])
    height, width = matplotlib.image.imread(io.BytesIO(sent["labels"]), format="png").shape[:2]
    assert height / width == 120 / 150

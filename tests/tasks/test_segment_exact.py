"""The stage with the network that is shipped: its labels do not depend on tiles, order or workers."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from storage.objects import open_store
from tasks import chunked
from tasks.kernels.matching import match_counts
from tasks.models.network import NetworkSegmenter
from tasks.models.networks import load_network
from tasks.segment import segment
from tasks.settings import SegmentSettings
from tests.support import SERIAL, cells_of, labels_of
from tests.tasks.models.flow_networks import nuclei
from tests.tasks.test_segment_network import cleaned

BORDERS_PX = 128
NETWORK = {"kind": "network", "model": "nuclei-small", "diameter_px": 17.0}


@dataclass(frozen=True)
class Field:
    """Nuclei, some of them across borders of tiles; a clean image of them; their labels without tiles."""

    known: np.ndarray
    across: np.ndarray
    objects: Any
    clean: Any
    untiled: np.ndarray


@pytest.fixture(
    scope="module",
    params=[((330, 400), 230, 60), pytest.param(((1000, 1100), 2000, 500), marks=pytest.mark.slow)],
    ids=["230", "2000"],
)
def field(request, tmp_path_factory):
    shape, count, borders = request.param
    known = nuclei(shape, count, seed=2, on_borders_of=BORDERS_PX, borders=borders, axes_px=(4, 8))
    lines = np.zeros(shape, bool)
    lines[BORDERS_PX::BORDERS_PX] = lines[:, BORDERS_PX::BORDERS_PX] = True
    across = np.setdiff1d(known[lines], [0])
    assert across.size >= borders
    picture = photographed(known)
    objects = open_store(str(tmp_path_factory.mktemp("exact") / "store"), create=True)
    clean = cleaned(objects, picture[None, None])
    untiled = NetworkSegmenter(load_network("nuclei-small"), diameter_px=17.0).segment(picture)
    return Field(known, across, objects, clean, untiled)


def photographed(known):
    """Return nuclei as a microscope shows them: blurred, not equally bright, with noise."""
    rng = np.random.default_rng(0)
    bright = rng.uniform(0.3, 1.0, int(known.max()) + 1).astype(np.float32)
    bright[0] = 0.05
    noise = rng.normal(0, 0.02, known.shape).astype(np.float32)
    return (gaussian_filter(bright[known], 1) + noise).clip(0.001, 1)


def in_any_order(monkeypatch):
    serially, rng = chunked._serially, random.Random(1)
    shuffled = lambda units: rng.sample(list(units), len(units))  # noqa: E731
    monkeypatch.setattr(chunked, "_serially", lambda function, units: serially(function, shuffled(units)))


@pytest.mark.parametrize(
    ("tile_px", "workers", "order"), [(128, 1, "any"), (512, 1, "given"), (64, 2, "given")]
)
def test_the_labels_are_those_of_the_untiled_plane(tile_px, workers, order, field, request):
    if order == "any":
        in_any_order(request.getfixturevalue("monkeypatch"))
    resources = SERIAL if workers == 1 else request.getfixturevalue("two_workers")
    settings = SegmentSettings(tile_px=tile_px, method=NETWORK)
    made = segment.fn(field.clean, field.objects.url, settings, resources)
    labels = labels_of(field.objects, field.clean, made)[0, 0]
    np.testing.assert_array_equal(labels, field.untiled)
    right, missed, too_many = match_counts(field.untiled, labels, (0.9,))[0]
    assert 2 * right / (2 * right + missed + too_many) >= 0.99
    assert cells_of(field.objects, made)["label"].tolist() == list(range(1, int(labels.max()) + 1))


def test_no_nucleus_is_cut_on_a_border(field):
    """Of each nucleus that is found, one object holds nearly all that is found of it."""
    (a, b), both = np.unique(
        np.stack([field.untiled.ravel(), field.known.ravel()]), axis=1, return_counts=True
    )
    most, every = np.zeros((2, int(field.known.max()) + 1))
    np.maximum.at(most, b, np.where(a > 0, both, 0))
    np.add.at(every, b, np.where(a > 0, both, 0))
    found = field.across[every[field.across] > 0]
    assert found.size > 0.95 * field.across.size
    assert (most[found] > 0.85 * every[found]).all()

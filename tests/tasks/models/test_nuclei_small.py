"""The network that is shipped, as a fresh machine uses it."""

from functools import cache

import cv2
import numpy as np
import pytest

from tasks.kernels.matching import match_counts, precision_of
from tasks.kernels.simulation.scene import simulate_field
from tasks.models.networks import WEIGHTS
from tasks.models.segmenter import load_segmenter


@cache
def field():
    found = simulate_field(
        seed=77, proportions=(0.4, 0.4, 0.1, 0.1), nuclei_per_mm2=900, height_px=300, width_px=260
    )
    return found.tyx[0], found.labels_tyx[0]


def precision(known_yx, found_yx):
    return float(precision_of(match_counts(known_yx, found_yx, (0.5,)))[0])


def test_the_weights_are_small():
    assert (WEIGHTS / "nuclei-small.pt").stat().st_size < 4_000_000


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_nuclei_of_any_size_are_found_without_being_told_which(factor):
    yx, labels_yx = field()
    size = (round(260 * factor), round(300 * factor))
    image = cv2.resize(yx, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    known = cv2.resize(labels_yx.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    found = load_segmenter().segment(image)
    assert found.dtype == np.uint32
    assert precision(known.astype(np.uint32), found) > 0.8


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_the_dtype_hardly_matters(dtype):
    yx, labels_yx = field()
    scaled = (yx.astype(np.float64) - yx.min()) / (float(yx.max()) - yx.min()) * 255
    found = load_segmenter("nuclei-small", diameter_px=24.0).segment(scaled.astype(dtype))
    assert precision(labels_yx, found) > 0.8


@pytest.mark.parametrize(
    "picture", [np.zeros((40, 30)), np.full((1, 1), 7, np.uint8), np.ones((3, 200), bool)]
)
def test_pictures_without_nuclei_give_none(picture):
    assert not load_segmenter("nuclei-small").segment(picture).any()

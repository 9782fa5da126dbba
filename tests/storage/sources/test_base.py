import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from storage.sources.base import Acquisition, display_window, file_states
from storage.sources.planes import planes_acquisition

TEN_THOUSAND = [Path(f"/data/chip 3/position1/img_t{t:05}.tif") for t in range(10_000)]


@pytest.mark.parametrize(
    "acquisition",
    [
        Acquisition("a.nd2#1", Path("a.nd2"), (Path("a.nd2"),), "nd2", scene=1),
        Acquisition("é\udcff", Path("/d/é\udcff"), (Path("/d/é\udcff"),), "tiff", "z"),
        Acquisition(
            "p#B02",
            Path("p"),
            (Path("p/1"), Path("p/2")),
            "planes",
            "t",
            "B02",
            ((0, 0, 0), (1, 0, 0)),
            ("H2B",),
        ),
    ],
)
def test_an_acquisition_travels_unchanged(acquisition):
    assert pickle.loads(pickle.dumps(acquisition)) == acquisition


def test_ten_thousand_planes_travel_small_and_are_unpacked_once():
    acquisition = planes_acquisition(Path("/data/chip 3/position1"), TEN_THOUSAND, "t")
    first = pickle.dumps(acquisition)
    assert len(first) < 60_000
    arrived = pickle.loads(first)
    assert arrived == acquisition
    began = time.perf_counter()
    for _ in range(100):
        assert pickle.loads(pickle.dumps(acquisition)) is arrived
    assert time.perf_counter() - began < 1


def test_the_states_of_files_change_with_them_and_are_zeros_without_them(tmp_path):
    path = tmp_path / "a.tif"
    acquisition = Acquisition("a.tif", path, (path,), "tiff")
    assert file_states(acquisition) == ((0, 0),)
    path.write_bytes(b"12")
    before = file_states(acquisition)
    path.write_bytes(b"123")
    assert [size for size, _ in before + file_states(acquisition)] == [2, 3]


def test_a_display_range_of_a_large_plane_is_that_of_a_part_of_its_pixels():
    yx = np.random.default_rng(0).normal(1000, 50, (2100, 1100)).astype(np.float32)
    low, high = np.percentile(yx, (0.1, 99.9))
    yx[:, 7] = np.nan
    np.testing.assert_allclose(display_window(yx), (low, high), atol=10)


@pytest.mark.parametrize(
    ("yx", "window"),
    [([[3, 3]], (3, 3 + 1e-6)), ([[np.nan]], (0, 1)), ([[np.inf], [2], [4]], (2.002, 3.998))],
)
def test_a_display_range_is_of_finite_pixels_and_never_empty(yx, window):
    assert display_window(np.array(yx, np.float32)) == pytest.approx(window, abs=1e-5)

import pickle
import time
from pathlib import Path

import pytest

from storage.sources.base import Acquisition, file_states
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

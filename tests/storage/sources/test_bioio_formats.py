import sys
from datetime import datetime, timedelta
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from storage.errors import FormatError
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.support import metadata, only, pixels, read_all

SCENES = pixels((2, 3, 2, 4, 5, 7))


class Lazy:
    def __init__(self, values) -> None:
        self.values = values

    def compute(self, scheduler):
        assert scheduler == "synchronous"
        return self.values


class StandIn:
    """What BioImage offers; the plugins are an extra that tests do not need."""

    def __init__(self, path, reader) -> None:
        if path.read_bytes() != b"good":
            raise ValueError("no such format")
        assert reader == f"the reader of {path.suffix}"
        self.scenes, self.scene = ("first", "second"), 0
        self.dims, self.shape, self.dtype = SimpleNamespace(order="TCZYX"), SCENES.shape[1:], SCENES.dtype
        self.physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.5, X=0.25)
        self.channel_names, self.time_interval = ["a", "b"], timedelta(seconds=90)
        moment, objective = datetime(2024, 5, 6, 7, 8, 9), "20x/0.8"
        self.standard_metadata = SimpleNamespace(imaging_datetime=moment, objective=objective)

    def set_scene(self, scene) -> None:
        self.scene = scene

    def get_image_dask_data(self, order, T, C, Z):
        assert order == "YX"
        return Lazy(SCENES[self.scene, T, C, Z])


@pytest.fixture
def installed(monkeypatch):
    for name, content in {
        "bioio": {"BioImage": StandIn},
        "bioio_czi": {"Reader": "the reader of .czi"},
        "bioio_lif": {"Reader": "the reader of .lif"},
        "aicspylibczi": {"CziFile": lambda _: SimpleNamespace(get_dims_shape=lambda: [{"S": (0, 2)}])},
    }.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("suffix", [".czi", ".lif"])
def test_each_scene_is_an_acquisition(tmp_path, installed, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"good")
    found = find_acquisitions([path])
    assert [one.name for one in found] == [f"a{suffix}#0", f"a{suffix}#1"]
    for number, one in enumerate(found):
        np.testing.assert_array_equal(read_all(one), SCENES[number])
    said = metadata(found[0])
    assert (said.pixel_size_um, said.time_interval_s) == ((None, 0.5, 0.25), 90.0)
    assert said.channel_names == ("a", "b")
    assert (said.acquired, said.extra) == ("2024-05-06T07:08:09", {"objective": {"name": "20x/0.8"}})


def test_a_file_the_plugin_cannot_open(tmp_path, installed):
    path = tmp_path / "a.czi"
    path.write_bytes(b"bad")
    with pytest.raises(FormatError, match=r"a\.czi: it cannot be opened \(no such format\); copy"):
        open_acquisition(only(path))


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    path = tmp_path / "a.lif"
    path.write_bytes(b"good")
    with pytest.raises(FormatError, match=r"install the extra: pip install \"chipcyte\[formats\]\""):
        open_acquisition(only(path))

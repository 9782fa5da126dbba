import shutil
from types import SimpleNamespace

import nd2
import numpy as np
import pytest

from storage.errors import FormatError, MissingInputError
from storage.sources import nd2 as reader
from storage.sources.base import content_digest
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.support import INSTRUMENTS, metadata, needs_data, only, pixels, read_all

CLUSTER = INSTRUMENTS / "nikon_nd2" / "cluster.nd2"


@needs_data
def test_the_real_file_is_what_the_nd2_package_reads():
    found = read_all(only(CLUSTER))
    np.testing.assert_array_equal(found, nd2.imread(CLUSTER).transpose(0, 2, 1, 3, 4))


@needs_data
def test_metadata_of_the_real_file():
    found = metadata(only(CLUSTER))
    assert found.pixel_size_um == pytest.approx((0.5, 0.1678, 0.1678), abs=1e-4)
    assert found.channel_names == ("5-FAM/pH 9.0", "FM 4-64/2% CHAPS")
    assert found.acquired.startswith("2014-06-18T13:55:23")
    assert found.extra["objective"]["magnification"] == 60
    assert found.extra["channels"][1] == {"excitation_nm": 561.0, "emission_nm": 700.0}
    assert found.extra["stage_position_um"]["x"] == pytest.approx(-26056.95, abs=0.01)
    assert found.time_interval_s is None
    assert found.unknown == ["time_interval_s"]


@needs_data
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_a_format_error(tmp_path, kept):
    path = tmp_path / "a.nd2"
    path.write_bytes(CLUSTER.read_bytes()[: int(kept * CLUSTER.stat().st_size)])
    with pytest.raises(FormatError, match=r"a\.nd2.*copy"):
        read_all(only(path))


@needs_data
def test_a_file_that_shrinks_while_it_is_read_is_a_format_error_not_a_killed_process(tmp_path):
    path = tmp_path / "a.nd2"
    shutil.copyfile(CLUSTER, path)
    source = open_acquisition(only(path))
    source.read_plane(0, 0, 0)
    with path.open("r+b") as stream:
        stream.truncate(20_000)
    with pytest.raises(FormatError, match="shorter"):
        source.read_plane(2, 1, 9)
    source.close()


def test_what_is_no_nd2(tmp_path):
    path = tmp_path / "a.nd2"
    path.write_bytes(b"anything else" * 100)
    acquisition = only(path)
    with pytest.raises(FormatError, match="expected an ND2 file"):
        open_acquisition(acquisition)
    path.unlink()
    with pytest.raises(MissingInputError):
        open_acquisition(acquisition)


class StandIn:
    """An ND2 file of 2 time points, 3 positions, 2 z planes, 2 channels; no such file is at hand."""

    tpzcyx = pixels((2, 3, 2, 2, 5, 7))
    missing = frozenset[int]()

    def __init__(self, stream) -> None:
        self.stream = stream
        self.sizes = dict(zip("TPZCYX", self.tpzcyx.shape, strict=True))
        self.dtype = self.tpzcyx.dtype
        self.loop_indices = tuple({"T": t, "P": p, "Z": z} for t, p, z in np.ndindex(2, 3, 2))
        self._rdr = SimpleNamespace(_frame_offsets={n: n for n in range(12) if n not in self.missing})
        period = SimpleNamespace(periodMs=500.0, periodDiff=SimpleNamespace(avg=None))
        self.experiment = [SimpleNamespace(type="TimeLoop", parameters=period)]
        self.metadata = SimpleNamespace(channels=None)
        self.text_info = {"date": "yesterday"}

    def read_frame(self, index):
        place = self.loop_indices[index]
        return self.tpzcyx[place["T"], place["P"], place["Z"]]

    def frame_metadata(self, _):
        return {}

    def close(self) -> None:
        self.stream.close()


@pytest.fixture
def positions(tmp_path, monkeypatch):
    monkeypatch.setattr(reader.nd2, "ND2File", StandIn)
    path = tmp_path / "a.nd2"
    path.write_bytes(b"x")
    return path


def test_each_position_is_an_acquisition(positions):
    found = find_acquisitions([positions])
    assert [(one.name, one.scene) for one in found] == [("a.nd2#0", 0), ("a.nd2#1", 1), ("a.nd2#2", 2)]
    assert len({content_digest(one) for one in found}) == 3
    for position, one in enumerate(found):
        np.testing.assert_array_equal(read_all(one), StandIn.tpzcyx[:, position].transpose(0, 2, 1, 3, 4))


def test_facts_without_numbers_are_the_files_own_words_or_unknown(positions):
    found = metadata(find_acquisitions([positions])[0])
    assert (found.acquired, found.time_interval_s) == ("yesterday", 0.5)
    assert (found.pixel_size_um, found.channel_names, found.extra) == ((None, None, None), (), {})


def test_frames_that_were_never_written_are_not_read_as_zeros(positions, monkeypatch):
    monkeypatch.setattr(StandIn, "missing", frozenset({11}))
    *whole, broken = find_acquisitions([positions])
    for one in whole:
        read_all(one)
    with pytest.raises(FormatError, match=r"expected 4 frames .* found 3"):
        open_acquisition(broken)

import shutil

import nd2
import numpy as np
import pytest

from storage.errors import FormatError, MissingInputError
from storage.sources.base import content_digest
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.nd2_files import Facts, write_nd2
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


TPZCYX = pixels((2, 3, 2, 3, 5, 7))
SAID = Facts(
    pixel_um=0.5,
    channel_names=("DAPI", "GFP", "RFP"),
    objective=("Plan Apo 20x", 20.0, 0.75),
    julian_day=2456827.0,
)


def test_each_position_is_an_acquisition(tmp_path):
    path = write_nd2(tmp_path / "a.nd2", TPZCYX, SAID)
    found = find_acquisitions([path])
    assert [(one.name, one.scene) for one in found] == [("a.nd2#0", 0), ("a.nd2#1", 1), ("a.nd2#2", 2)]
    assert len({content_digest(one) for one in found}) == 3
    theirs = nd2.imread(path)
    np.testing.assert_array_equal(theirs, TPZCYX)
    for position, one in enumerate(found):
        np.testing.assert_array_equal(read_all(one), theirs[:, position].transpose(0, 2, 1, 3, 4))


def test_each_position_says_what_the_file_says_of_it(tmp_path):
    found = [metadata(one) for one in find_acquisitions([write_nd2(tmp_path / "a.nd2", TPZCYX, SAID)])]
    for position, one in enumerate(found):
        assert one.pixel_size_um == (2.0, 0.5, 0.5)
        assert (one.channel_names, one.time_interval_s, one.unknown) == (SAID.channel_names, 0.5, [])
        assert one.extra["objective"]["magnification"] == 20
        assert one.extra["stage_position_um"] == {"x": 100.0 * position, "y": -10.0 * position, "z": 0.0}
        assert one.acquired.startswith("2014-06-18T12:00:00")


def test_facts_without_numbers_are_the_files_own_words_or_unknown(tmp_path):
    path = write_nd2(tmp_path / "a.nd2", TPZCYX, Facts(date="yesterday"))
    found = metadata(find_acquisitions([path])[0])
    assert (found.acquired, found.time_interval_s) == ("yesterday", 0.5)
    assert (found.pixel_size_um, found.channel_names) == ((2.0, None, None), ())
    assert found.extra == {"stage_position_um": {"x": 0.0, "y": 0.0, "z": 0.0}}


def test_frames_that_were_never_written_are_not_read_as_zeros(tmp_path):
    *whole, broken = find_acquisitions([write_nd2(tmp_path / "a.nd2", TPZCYX, missing=[11])])
    for one in whole:
        read_all(one)
    with pytest.raises(FormatError, match=r"expected 4 frames .* found 3"):
        open_acquisition(broken)

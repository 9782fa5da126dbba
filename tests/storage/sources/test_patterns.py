import imagecodecs
import numpy as np
import pytest

from storage.errors import FormatError, InputError, MissingInputError
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.support import metadata, pixels, read_all, write_planes

PATTERN = "{position}_{t}_{c}_{z}.tif"


def test_each_position_is_an_acquisition(tmp_path):
    places = [(p, t, c, z) for p in ("A_1", "B_2") for t in (0, 1) for c in (3, 5) for z in (1, 2, 10)]
    planes = pixels((len(places), 20, 33))
    folder = write_planes(tmp_path / "chip", [f"{p}_{t:03}_{c}_{z}.tif" for p, t, c, z in places], planes)
    (folder / "overview.tif").write_bytes(b"left aside")
    found = find_acquisitions([folder], pattern=PATTERN)
    assert [(one.name, one.scene) for one in found] == [("chip#A_1", "A_1"), ("chip#B_2", "B_2")]
    whole = np.concatenate([read_all(one) for one in found])
    np.testing.assert_array_equal(whole.reshape(planes.shape), planes)


def test_channels_may_be_spelled(tmp_path):
    planes = pixels((4, 20, 33))
    names = [f"img_{c}_t{t}.tif" for t in (0, 1) for c in ("GFP", "DAPI")]
    folder = write_planes(tmp_path / "chip", names, planes)
    (found,) = find_acquisitions([folder], pattern="img_{c}_t{t}.tif")
    assert found.name == "chip"
    assert metadata(found).channel_names == ("DAPI", "GFP")
    np.testing.assert_array_equal(read_all(found)[:, ::-1, 0].reshape(planes.shape), planes)


def test_folders_may_be_part_of_the_pattern(tmp_path):
    planes = pixels((4, 20, 33))
    folder = write_planes(tmp_path / "chip", [f"pos{p}/t_{t}.tif" for p in (1, 2) for t in (8, 9)], planes)
    found = find_acquisitions([folder], pattern="pos{position}/t_{t}.tif")
    np.testing.assert_array_equal(np.concatenate([read_all(one) for one in found])[:, 0, 0], planes)


def test_pngs_with_brackets_in_their_names(tmp_path):
    zyx = pixels((3, 20, 33))
    for z, yx in enumerate(zyx):
        (tmp_path / f"run[1]*_{z}.png").write_bytes(imagecodecs.png_encode(yx))
    (found,) = find_acquisitions([tmp_path], pattern="run[1]*_{z}.png")
    np.testing.assert_array_equal(read_all(found)[0, 0], zyx)


@pytest.mark.parametrize("pattern", ["plain.tif", "{t}_{t}.tif", "{time}.tif", "{}.tif", "{t}.npz", "{t}"])
def test_a_pattern_that_makes_no_sense_is_an_input_error(tmp_path, pattern):
    with pytest.raises(InputError, match=r"ingest\.pattern"):
        find_acquisitions([tmp_path], pattern=pattern)


def test_a_pattern_that_no_file_follows(tmp_path):
    write_planes(tmp_path, ["a_1.tif"], pixels((1, 20, 33)))
    with pytest.raises(MissingInputError, match="expected files named like b_"):
        find_acquisitions([tmp_path], pattern="b_{t}.tif")


def test_a_hole_in_one_position_does_not_harm_the_others(tmp_path):
    names = ["a_0_0.tif", "a_0_1.tif", "a_1_0.tif", "b_0_0.tif"]
    folder = write_planes(tmp_path / "chip", names, pixels((4, 20, 33)))
    first, second = find_acquisitions([folder], pattern="{position}_{t}_{z}.tif")
    with pytest.raises(FormatError, match="add the missing"):
        open_acquisition(first)
    assert read_all(second).shape == (1, 1, 1, 20, 33)

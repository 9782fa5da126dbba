import imagecodecs
import numpy as np
import pytest
import tifffile

from storage.errors import FormatError
from storage.sources.base import content_digest
from storage.sources.discovery import open_acquisition
from storage.sources.planes import plane_places, read_plane_file, running_numbers
from tests.storage.sources.support import metadata, only, pixels, read_all, write_planes

PLANES = pixels((12, 20, 33))


@pytest.mark.parametrize(
    "template",
    [
        "img_t{t:03}_z{z}_c{c}.tif",
        "a T{t} C{c} Z{z}.tif",
        "time{t}_slice{z}_ch{c}.tif",
        "x_w{c}_TimePoint_{t}_ZStep_{z}.tif",
    ],
)
def test_numbers_in_names_say_which_plane_a_file_is(tmp_path, template):
    places = [(t, c, z) for z in range(3) for t in range(2) for c in range(2)]
    names = [template.format(t=t + 7, c=c, z=z) for t, c, z in places]
    folder = write_planes(tmp_path / "recording", names, PLANES)
    found = read_all(only(folder))
    assert found.shape == (2, 2, 3, 20, 33)
    for place, yx in zip(places, PLANES, strict=True):
        np.testing.assert_array_equal(found[place], yx)


@pytest.mark.parametrize("unnamed", ["t", "z"])
def test_one_running_number_counts_along_the_unnamed_axis(tmp_path, unnamed):
    names = [f"shot {n} of run 5.tif" for n in (1, 2, 10, 11)]
    folder = write_planes(tmp_path / "recording", names, PLANES[:4])
    found = read_all(only(folder, pages_are=unnamed))
    np.testing.assert_array_equal(found.reshape(4, 20, 33), PLANES[:4])
    assert found.shape[0 if unnamed == "t" else 2] == 4


def test_png_planes_of_8_and_16_bits(tmp_path):
    for dtype in ("uint8", "uint16"):
        tyx = pixels((3, 20, 33), dtype)
        for number, yx in enumerate(tyx):
            (tmp_path / f"t{number}.png").write_bytes(imagecodecs.png_encode(yx))
        found = read_all(only(tmp_path))
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found[:, 0, 0], tyx)


def test_a_missing_plane_is_a_format_error_that_counts(tmp_path):
    names = [f"t{t}_z{z}.tif" for t in range(2) for z in range(3)][:-1]
    folder = write_planes(tmp_path / "recording", names, PLANES[:5])
    with pytest.raises(
        FormatError, match="recording: expected a file for each of 2 time points, 1 channels and 3 z"
    ):
        open_acquisition(only(folder))


def test_names_that_say_nothing_are_a_format_error(tmp_path):
    folder = write_planes(tmp_path / "recording", ["apple.tif", "pear.tif"], PLANES[:2])
    with pytest.raises(FormatError, match="recording: nothing says"):
        open_acquisition(only(folder, folder_is="planes"))


@pytest.mark.parametrize("odd", [PLANES[0, :10], PLANES[0].astype("uint8"), PLANES[:2]])
def test_a_plane_unlike_its_neighbours_is_a_format_error(tmp_path, odd):
    folder = write_planes(tmp_path / "recording", [f"t{n}.tif" for n in range(5)], PLANES[:5])
    tifffile.imwrite(folder / "t1.tif", odd)
    source = open_acquisition(only(folder))
    with pytest.raises(FormatError, match=r"t1\.tif"):
        source.read_plane(1, 0, 0)


def test_a_plane_that_vanishes_or_shrinks_is_a_format_error(tmp_path):
    folder = write_planes(tmp_path / "recording", ["t0.tif", "t1.tif", "t2.tif"], PLANES[:3])
    source = open_acquisition(only(folder))
    (folder / "t1.tif").unlink()
    (folder / "t2.tif").write_bytes((folder / "t2.tif").read_bytes()[:300])
    for t in (1, 2):
        with pytest.raises(FormatError, match=rf"t{t}\.tif.*copy it again"):
            source.read_plane(t, 0, 0)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, b"GIF89a"]
)
def test_a_png_that_is_none_is_a_format_error(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.png.*copy it again"):
        read_plane_file(path)


def test_a_colour_png_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(pixels((20, 33, 3), "uint8")))
    with pytest.raises(FormatError, match="grey"):
        read_plane_file(path)


def test_the_order_of_planes_is_part_of_the_identity(tmp_path):
    along_t = write_planes(tmp_path / "a", ["t0.tif", "t1.tif"], PLANES[:2])
    along_z = write_planes(tmp_path / "b", ["z0.tif", "z1.tif"], PLANES[:2])
    again = write_planes(tmp_path / "c", ["t5.tif", "t6.tif"], PLANES[:2])
    digests = [content_digest(only(folder)) for folder in (along_t, along_z, again)]
    assert digests[0] == digests[2] != digests[1]


def test_metadata_comes_from_the_first_plane(tmp_path):
    for t in range(2):
        said = {"unit": "um", "axes": "YX"}
        tifffile.imwrite(tmp_path / f"t{t}.tif", PLANES[t], imagej=True, resolution=(2.0, 2.0), metadata=said)
    assert metadata(only(tmp_path)).pixel_size_um == (None, 0.5, 0.5)


def test_running_numbers_need_names_alike_but_for_one_number(tmp_path):
    assert running_numbers([tmp_path / "a1_5.tif", tmp_path / "a2_5.tif"]) == [1, 2]
    for names in (["a1_5.tif", "a2_6.tif"], ["a1.tif", "b1.tif"], ["a1.tif", "a01.tif"]):
        with pytest.raises(FormatError, match="differ in one number"):
            running_numbers([tmp_path / name for name in names])


def test_places_are_ordinal(tmp_path):
    names = ["t10_c2.tif", "t10_c4.tif", "t20_c2.tif", "t20_c4.tif"]
    assert plane_places([tmp_path / name for name in names], "t") == (
        (0, 0, 0),
        (0, 1, 0),
        (1, 0, 0),
        (1, 1, 0),
    )

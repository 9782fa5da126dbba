import numpy as np
import pytest
import tifffile

from storage.errors import FormatError
from storage.sources.base import content_digest
from storage.sources.discovery import find_acquisitions, open_acquisition
from storage.sources.plates import is_plate
from tests.storage.sources.support import INSTRUMENTS, metadata, needs_data, pixels, read_all, write_planes

PLATES = INSTRUMENTS / "imagexpress"


def test_wells_and_sites_are_acquisitions_with_time_wavelengths_and_z(tmp_path):
    places = [
        (t, w, s, c, z)
        for t in (1, 2)
        for w in ("A01", "B12")
        for s in (1, 2)
        for c in (1, 2)
        for z in (1, 2, 3)
    ]
    names = [f"TimePoint_{t}/ZStep_{z}/my_chip_{w}_s{s}_w{c}.TIF" for t, w, s, c, z in places]
    planes = pixels((len(places), 20, 33))
    folder = write_planes(tmp_path / "plate", names, planes)
    found = {one.name: read_all(one) for one in find_acquisitions([folder])}
    assert sorted(found) == [f"plate#{w}_s{s}" for w in ("A01", "B12") for s in (1, 2)]
    for (t, w, s, c, z), yx in zip(places, planes, strict=True):
        np.testing.assert_array_equal(found[f"plate#{w}_s{s}"][t - 1, c - 1, z - 1], yx)


def test_projections_and_thumbnails_are_left_aside(tmp_path):
    names = [f"ZStep_{z}/p_A01_w1{end}.tif" for z in (0, 1, 2) for end in ("", "_thumb")]
    folder = write_planes(tmp_path / "plate", names, pixels((6, 20, 33)))
    (found,) = find_acquisitions([folder])
    assert [path.parent.name for path in found.files] == ["ZStep_1", "ZStep_2"]


def test_a_projection_alone_is_the_image(tmp_path):
    folder = write_planes(tmp_path / "plate", ["TimePoint_1/ZStep_0/p_A01.tif"], pixels((1, 20, 33)))
    (found,) = find_acquisitions([folder])
    assert (found.name, read_all(found).shape) == ("plate#A01", (1, 1, 1, 20, 33))


def test_a_flat_plate_is_known_by_its_description_and_names_may_end_in_an_identifier(tmp_path):
    names = [f"p_{w}_s1_w1A0B1C2D3-0000-4AAA-BBBB-0123456789AB.tif" for w in ("A01", "A02")]
    folder = write_planes(tmp_path / "plate", names, pixels((2, 20, 33)))
    assert not is_plate(folder)
    (folder / "p.HTD").write_text("")
    assert [one.scene for one in find_acquisitions([folder])] == ["A01_s1", "A02_s1"]


def test_a_loop_of_links_in_a_plate_ends(tmp_path):
    folder = write_planes(tmp_path / "plate", ["TimePoint_1/p_A01.tif"], pixels((1, 20, 33)))
    (folder / "TimePoint_1" / "ZStep_1").symlink_to(folder)
    (folder / "TimePoint_2").symlink_to(folder / "TimePoint_2")
    find_acquisitions([tmp_path / "plate" / "TimePoint_1" / "p_A01.tif"])
    (folder / "TimePoint_1" / "ZStep_1").unlink()
    assert len(find_acquisitions([folder])) == 1


def test_a_missing_plane_of_a_site(tmp_path):
    names = ["TimePoint_1/p_A01_w1.tif", "TimePoint_1/p_A01_w2.tif", "TimePoint_2/p_A01_w1.tif"]
    folder = write_planes(tmp_path / "plate", names, pixels((3, 20, 33)))
    (found,) = find_acquisitions([folder])
    with pytest.raises(FormatError, match="2 time points, 2 channels"):
        open_acquisition(found)


@needs_data
def test_the_real_plates_pixel_for_pixel():
    found = {one.name: one for one in find_acquisitions([PLATES])}
    assert len(found) == 8
    for name, acquisition in found.items():
        plate, _, scene = name.partition("#")
        whole = read_all(acquisition)
        assert whole.shape == ((1, 3, 2, 256, 256) if plate.endswith("3434") else (2, 2, 1, 256, 256))
        for t, c, z in np.ndindex(whole.shape[:3]):
            level = f"ZStep_{z + 1}/" if plate.endswith("3434") else ""
            path = PLATES / plate / f"TimePoint_{t + 1}" / f"{level}9987_{scene}_w{c + 1}.TIF"
            np.testing.assert_array_equal(whole[t, c, z], tifffile.imread(path))


@needs_data
def test_sites_whose_frames_repeat_are_still_told_apart():
    digests = {content_digest(one) for one in find_acquisitions([PLATES])}
    assert len(digests) == 8


@needs_data
def test_metadata_of_the_real_plates():
    z_stack, *_, series = (metadata(one) for one in find_acquisitions([PLATES]))
    assert z_stack.pixel_size_um == (3.0, 1.3672, 1.3672)
    assert z_stack.channel_names == ("DAPI", "FITC", "Texas Red")
    assert z_stack.acquired == "2024-07-09T13:13:03.006000"
    assert z_stack.time_interval_s is None
    assert z_stack.extra["stage_position_um"] == {"x": 22985.0, "y": 19885.0, "z": 9988.88}
    assert z_stack.extra["objective"] == {"name": "40X Plan Apo Lambda", "numerical_aperture": 0.95}
    assert z_stack.extra["channels"][1] == {"wavelength_nm": 520.0, "z_projection": "Maximum"}
    assert series.pixel_size_um[0] is None
    assert series.time_interval_s == pytest.approx(24.5)

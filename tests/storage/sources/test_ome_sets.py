import shutil

import numpy as np
import pytest
import tifffile

from storage.errors import FormatError
from storage.sources.base import content_digest
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.support import INSTRUMENTS, metadata, needs_data, only, pixels, read_all

UUIDS = [f"urn:uuid:00000000-0000-4000-8000-00000000000{n}" for n in range(9)]
SCHEMA = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
ZYX = pixels((3, 20, 33))
TYPES = {"uint16": "uint16", "float32": "float"}


def pixels_element(blocks: str, z: int = 3, attributes: str = "", inside: str = "") -> str:
    return (
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="33" SizeY="20" SizeC="1" '
        f'SizeZ="{z}" SizeT="1" {attributes}><Channel ID="Channel:0:0" Name="H2B" SamplesPerPixel="1" '
        f'EmissionWavelength="610.5"/>{blocks}{inside}</Pixels>'
    )


def block(name: str, uid: str, first_z: int) -> str:
    return (
        f'<TiffData FirstZ="{first_z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uid}</UUID></TiffData>'
    )


def document(uid: str, content: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><OME {SCHEMA} UUID="{uid}">{content}</OME>'


def write_set(folder, order=(0, 1, 2)):
    """Three files, each with the whole document, whose z planes are in `order`."""
    names = [f"part{n}.ome.tif" for n in range(3)]
    blocks = "".join(block(names[n], UUIDS[n], order[n]) for n in range(3))
    for n, name in enumerate(names):
        text = document(UUIDS[n], f'<Image ID="Image:0">{pixels_element(blocks)}</Image>')
        tifffile.imwrite(folder / name, ZYX[n], description=text, metadata=None)
    return [folder / name for name in names]


def write_companion(folder, order=(2, 0, 1), extra=""):
    """Three files that only point to a companion file, and that file."""
    names = [f"part_{letter}.ome.tif" for letter in "abc"]
    pointer = f'<BinaryOnly MetadataFile="set.companion.ome" UUID="{UUIDS[8]}"/>'
    for n, name in enumerate(names):
        tifffile.imwrite(folder / name, ZYX[n], description=document(UUIDS[n], pointer), metadata=None)
    blocks = "".join(block(names[n], UUIDS[n], order[n]) for n in range(3))
    sizes = 'PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="2"'
    place = (
        '<Plane TheC="0" TheT="0" TheZ="0" PositionX="-2" PositionXUnit="mm" PositionY="7" '
        'PositionYUnit="µm" PositionZ="1" PositionZUnit="reference frame"/>'
    )
    image = (
        '<Instrument ID="Instrument:0">'
        '<Objective ID="Objective:1" Model="Plan Apo" NominalMagnification="20" '
        'LensNA="0.75"/></Instrument><Image ID="Image:0">'
        '<AcquisitionDate>2024-05-06T07:08:09</AcquisitionDate><ObjectiveSettings ID="Objective:1"/>'
        f"{pixels_element(blocks, attributes=sizes, inside=place)}</Image>"
    )
    (folder / "set.companion.ome").write_text(document(UUIDS[8], image + extra))
    return [folder / name for name in names]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_files_that_name_each_other_are_one_stack_in_the_order_their_xml_says(tmp_path, order):
    files = write_set(tmp_path, order)
    acquisition = only(tmp_path)
    assert acquisition.files == tuple(files)
    np.testing.assert_array_equal(read_all(acquisition)[0, 0, list(order)], ZYX)


def test_whichever_file_of_a_set_is_named_it_is_the_same_acquisition(tmp_path):
    files = write_set(tmp_path)
    assert len(find_acquisitions(files)) == 1
    assert len({content_digest(only(path)) for path in files}) == 1


def test_a_set_with_a_file_missing_is_a_format_error(tmp_path):
    files = write_set(tmp_path)
    files[1].unlink()
    with pytest.raises(FormatError, match=r"expected 3 planes .* found 2"):
        open_acquisition(only(tmp_path))


def test_a_file_elsewhere_is_not_read(tmp_path):
    """Its bytes would count in no digest."""
    inside = tmp_path / "in"
    inside.mkdir()
    tifffile.imwrite(tmp_path / "other.ome.tif", ZYX[1])
    blocks = block("a.ome.tif", UUIDS[0], 0) + block("../other.ome.tif", UUIDS[1], 1)
    text = document(UUIDS[0], f'<Image ID="Image:0">{pixels_element(blocks, z=2)}</Image>')
    tifffile.imwrite(inside / "a.ome.tif", ZYX[0], description=text, metadata=None)
    with pytest.raises(FormatError, match=r"other\.ome\.tif"):
        open_acquisition(only(inside))


def test_the_companion_file_says_which_plane_each_file_is(tmp_path):
    files = write_companion(tmp_path)
    acquisition = only(tmp_path)
    assert acquisition.reader == "companion"
    assert set(acquisition.files) == {*files, tmp_path / "set.companion.ome"}
    np.testing.assert_array_equal(read_all(acquisition)[0, 0, [2, 0, 1]], ZYX)
    assert [only(path) for path in files] == [acquisition] * 3


def test_metadata_of_a_companion_file(tmp_path):
    write_companion(tmp_path)
    found = metadata(only(tmp_path))
    assert found.pixel_size_um == (2.0, 0.5, 0.5)
    assert found.channel_names == ("H2B",)
    assert found.acquired == "2024-05-06T07:08:09"
    assert found.extra == {
        "stage_position_um": {"x": -2000.0, "y": 7.0},
        "objective": {"name": "Plan Apo", "magnification": 20.0, "numerical_aperture": 0.75},
        "channels": [{"emission_nm": 610.5}],
    }


@pytest.mark.parametrize(
    ("plane", "label", "expected"),
    [
        ('PositionX="1" PositionXUnit="mm"', 'X="7" XUnit="µm"', {"x": 1000.0}),
        ('PositionX="1"', 'X="7" XUnit="µm" Y="-3" YUnit="mm"', {"x": 7.0, "y": -3000.0}),
        ('PositionX="1" PositionY="2"', 'X="7"', None),
        ("", "", None),
    ],
)
def test_the_stage_position_is_the_planes_or_the_labels_and_never_without_a_unit(
    tmp_path, plane, label, expected
):
    inside = f'<Plane TheC="0" TheT="0" TheZ="0" {plane}/>'
    image = (
        f'<Image ID="Image:0"><StageLabel Name="A1" {label}/>{pixels_element("<TiffData/>", 1, "", inside)}'
    )
    text = document(UUIDS[0], f"{image}</Image>")
    tifffile.imwrite(tmp_path / "a.ome.tif", ZYX[0], description=text.encode(), metadata=None)
    found = metadata(only(tmp_path))
    assert found.extra.get("stage_position_um") == expected
    assert ("stage_position_um" in found.unknown) is (expected is None)
    assert "objective" in found.unknown


def test_a_set_without_one_of_its_files_names_it(tmp_path):
    files = write_companion(tmp_path)
    files[1].unlink()
    with pytest.raises(FormatError, match=r"set\.companion\.ome: expected part_b\.ome\.tif beside it"):
        open_acquisition(only(tmp_path))


def test_without_the_companion_file_names_must_say_it(tmp_path):
    write_companion(tmp_path)
    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(FormatError, match=r"\.companion\.ome"):
        open_acquisition(only(tmp_path))


def test_files_that_point_at_each_other_end(tmp_path):
    for here, there in (("a", "b"), ("b", "a")):
        text = document(UUIDS[0], f'<BinaryOnly MetadataFile="{there}1.ome.tif" UUID="{UUIDS[8]}"/>')
        tifffile.imwrite(tmp_path / f"{here}1.ome.tif", ZYX[0], description=text, metadata=None)
    assert len(find_acquisitions([tmp_path])) == 2


def test_each_image_of_an_ome_tiff_is_an_acquisition(tmp_path):
    path = tmp_path / "a.ome.tif"
    positions = [pixels((2, 1, 3, 20, 33), seed=seed) for seed in range(3)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, tczyx in enumerate(positions):
            writer.write(tczyx, metadata={"axes": "TCZYX", "PhysicalSizeX": number + 1.0})
    found = find_acquisitions([path])
    assert [one.name for one in found] == ["a.ome.tif#0", "a.ome.tif#1", "a.ome.tif#2"]
    assert len({content_digest(one) for one in found}) == 3
    for number, one in enumerate(found):
        np.testing.assert_array_equal(read_all(one), positions[number])
        assert metadata(one).pixel_size_um[2] == number + 1.0


def test_several_images_are_never_read_as_one(tmp_path):
    """A folder's TIFFs are opened to ask for their images only if their names say that they are OME-TIFFs."""
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for seed in range(2):
            writer.write(pixels((2, 20, 33), seed=seed), metadata={"axes": "TYX"})
    path.rename(tmp_path / "a.tif")
    with pytest.raises(FormatError, match="expected one image, found 2"):
        open_acquisition(only(tmp_path))
    assert len(find_acquisitions([tmp_path / "a.tif"])) == 2


@needs_data
def test_the_five_real_files_without_their_companion_are_one_stack_by_their_names(tmp_path):
    for path in (INSTRUMENTS / "ome_tiff_odd").glob("multifile*"):
        shutil.copyfile(path, tmp_path / path.name)
    found = read_all(only(tmp_path))
    expected = [tifffile.imread(tmp_path / f"multifile-Z{z}.ome.tiff") for z in range(1, 6)]
    np.testing.assert_array_equal(found, np.stack(expected)[np.newaxis, np.newaxis])


@needs_data
def test_they_are_kept_apart_from_the_other_file_beside_them():
    found = find_acquisitions([INSTRUMENTS / "ome_tiff_odd"])
    assert sorted(len(one.files) for one in found) == [1, 5]

import struct

import numpy as np
import pytest
import tifffile

from storage.errors import FormatError, InputError, MissingInputError
from storage.sources.base import DTYPES, content_digest
from storage.sources.discovery import open_acquisition
from tests.storage.sources.support import (
    INSTRUMENTS,
    metadata,
    needs_data,
    only,
    pixels,
    read_all,
    tczyx_of,
)

SHAPE = (2, 3, 4, 20, 33)
SINGLE = [
    "fluorescence_2ch/Fluorescence_example.tif",
    "metamorph_stk/MetamorphImage.tif",
    "nuclei_timelapse/example_images.tif",
    "nuclei_timelapse/example_label.tif",
    "ome_tiff_odd/multi-channel.ome.tif",
    "pims_stack/tiff_stack.tif",
    "stardist_2d_3d/img2d.tif",
    "stardist_2d_3d/img3d.tif",
    "stardist_2d_3d/mask2d.tif",
    "stardist_2d_3d/mask3d.tif",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_an_ome_tiff_of_every_type_and_byte_order(tmp_path, dtype, byteorder):
    tczyx = pixels(SHAPE, dtype)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, tczyx, ome=True, byteorder=byteorder, metadata={"axes": "TCZYX"})
    found = read_all(only(path))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, tczyx)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"bigtiff": True},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 3},
    ],
)
def test_an_ome_tiff_however_its_pixels_are_stored(tmp_path, options):
    tczyx = pixels(SHAPE)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, tczyx, ome=True, metadata={"axes": "TCZYX"}, **options)
    np.testing.assert_array_equal(read_all(only(path)), tczyx)


def test_the_order_of_axes_in_the_file_does_not_matter(tmp_path):
    tczyx = pixels(SHAPE)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, tczyx.transpose(2, 0, 1, 3, 4), ome=True, metadata={"axes": "ZTCYX"})
    np.testing.assert_array_equal(read_all(only(path)), tczyx)


def test_lower_levels_of_a_pyramid_are_left_aside(tmp_path):
    zyx = pixels((3, 64, 64))
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(zyx, subifds=1, metadata={"axes": "ZYX"})
        writer.write(zyx[:, ::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_all(only(path))[0, 0], zyx)


def test_an_imagej_hyperstack(tmp_path):
    tzcyx = pixels((2, 4, 3, 20, 33))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tzcyx, imagej=True, metadata={"axes": "TZCYX"})
    np.testing.assert_array_equal(read_all(only(path)), tzcyx.transpose(0, 2, 1, 3, 4))


def test_an_imagej_hyperstack_with_one_page_for_all_its_planes(tmp_path):
    """ImageJ writes stacks over 4 GiB like this: one directory, the planes in a row behind it."""
    tczyx = pixels((5, 1, 1, 20, 33))
    path = tmp_path / "a.tif"
    first = b"ImageJ=1.54\nimages=5\nframes=5\nhyperstack=true\n"
    tifffile.imwrite(path, tczyx[0, 0, 0], description=first, metadata=None, byteorder=">")
    with path.open("ab") as stream:
        stream.write(tczyx[1:].astype(">u2").tobytes())
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    np.testing.assert_array_equal(read_all(only(path)), tczyx)


@pytest.mark.parametrize("metadata", [{}, None])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"ome": True}, {"bigtiff": True}])
def test_a_stack_cut_short_is_refused_before_a_plane_is_read(tmp_path, options, metadata):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **{k: v for k, v in options.items() if k != "compression"}) as writer:
        for number in range(6) if metadata is None else [slice(None)]:
            pages = pixels((6, 40, 40))[number]
            writer.write(pages, metadata=metadata, compression=options.get("compression"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FormatError, match=r"a\.tif.*(incomplete|copy it again)"):
        open_acquisition(only(path))


def test_an_imagej_stack_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((6, 40, 40)), imagej=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FormatError, match=r"a\.tif.*incomplete"):
        open_acquisition(only(path))


@pytest.mark.parametrize("pages_are", ["t", "z"])
def test_plain_pages_run_along_the_axis_the_user_names(tmp_path, pages_are):
    pages = pixels((5, 20, 33))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pages, metadata=None)
    found = read_all(only(path, pages_are=pages_are))
    np.testing.assert_array_equal(found[:, 0, 0] if pages_are == "t" else found[0, 0], pages)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_samples_become_channels(tmp_path, planarconfig):
    tyxs = pixels((2, 20, 33, 3), "uint8")
    path = tmp_path / "a.tif"
    stored = tyxs if planarconfig == "contig" else np.moveaxis(tyxs, -1, 1)
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planarconfig)
    np.testing.assert_array_equal(read_all(only(path)), np.moveaxis(tyxs, -1, 1)[:, :, np.newaxis])


def test_pages_of_different_shapes_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels((2, 20, 20)), metadata=None)
        writer.write(pixels((30, 30)), metadata=None)
    with pytest.raises(FormatError, match="one shape"):
        open_acquisition(only(path))


@pytest.mark.parametrize("dtype", ["uint32", "int64", "complex64"])
def test_a_type_that_is_not_supported_says_what_to_export(tmp_path, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 20), dtype))
    with pytest.raises(FormatError, match=f"a.tif: expected pixels of uint8.*found {dtype}; export"):
        open_acquisition(only(path))


def test_axes_that_are_not_ours_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((2, 5, 4, 20, 20)), metadata={"axes": "QRZYX"})
    with pytest.raises(FormatError, match="expected the axes"):
        open_acquisition(only(path))


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a tiff at all", b"II*\0\xff\xff\xff\x7f"])
def test_rubbish_is_a_format_error(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.tif"):
        open_acquisition(only(path))


def test_a_loop_of_pages_ends(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((5, 20, 20)), metadata=None)
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[4].offset
    content = bytearray(path.read_bytes())
    entries = struct.unpack_from("<H", content, last)[0]
    struct.pack_into("<I", content, last + 2 + 12 * entries, first)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.tif.*page 5 points"):
        open_acquisition(only(path))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_shrinks_while_it_is_read_is_a_format_error(tmp_path, compression):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels((8, 200, 200)), ome=True, metadata={"axes": "TYX"}, compression=compression)
    source = open_acquisition(only(path))
    source.read_plane(0, 0, 0)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 3)
    with pytest.raises(FormatError, match=r"a\.ome\.tif"):
        source.read_plane(7, 0, 0)
    source.close()


def test_a_file_that_vanishes(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((5, 20, 20)))
    acquisition = only(path)
    source = open_acquisition(acquisition)
    path.unlink()
    with pytest.raises(FormatError):
        source.read_plane(2, 0, 0)
    source.close()
    with pytest.raises(MissingInputError):
        open_acquisition(acquisition)


def ome_with(path, size_t: int, extra: str = "") -> None:
    """An OME-TIFF whose OME-XML promises `size_t` time points; it holds one."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" Type="uint16" SizeX="20" SizeY="20" SizeC="1" SizeZ="1" SizeT="{size_t}">'
        f"<Channel ID='Channel:0:0' SamplesPerPixel='1'/><TiffData {extra}/></Pixels></Image></OME>"
    )
    tifffile.imwrite(path, pixels((20, 20)), description=text, metadata=None)


@pytest.mark.parametrize(("size_t", "extra"), [(10**12, ""), (1, 'PlaneCount="99999999999"'), (0, "")])
def test_an_ome_header_that_promises_the_impossible_is_refused_at_once(tmp_path, size_t, extra):
    path = tmp_path / "a.ome.tif"
    ome_with(path, size_t, extra)
    with pytest.raises(FormatError, match=r"a\.ome\.tif"):
        open_acquisition(only(path))


def test_an_ome_header_that_promises_more_planes_than_there_are(tmp_path):
    path = tmp_path / "a.ome.tif"
    ome_with(path, 5)
    with pytest.raises(FormatError, match="expected 5 planes"):
        open_acquisition(only(path))


def test_an_entity_bomb_in_the_ome_header_is_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    text = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">{entities}]><OME>&e9;</OME>'
    tifffile.imwrite(path, pixels((20, 20)), description=text, metadata=None)
    with pytest.raises(InputError, match="OME-XML cannot be read"):
        open_acquisition(only(path))


def test_metadata_of_an_ome_tiff(tmp_path):
    path = tmp_path / "a.ome.tif"
    said = {
        "axes": "TCZYX",
        "PhysicalSizeX": 325.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.325,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 1.0,
        "TimeIncrement": 2.0,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["H2B", "actin", "BF"]},
    }
    tifffile.imwrite(path, pixels(SHAPE), ome=True, metadata=said)
    found = metadata(only(path))
    assert found.pixel_size_um == pytest.approx((1.0, 0.325, 0.325))
    assert found.time_interval_s == 120
    assert found.channel_names == ("H2B", "actin", "BF")
    assert found.acquired is None
    assert "acquired" in found.unknown


def test_metadata_that_is_absent_or_senseless_is_unknown_never_invented(tmp_path):
    path = tmp_path / "a.ome.tif"
    said = {"axes": "TYX", "PhysicalSizeX": 0.0, "PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "pixel"}
    tifffile.imwrite(path, pixels((2, 20, 20)), ome=True, metadata=said)
    found = metadata(only(path))
    assert found.pixel_size_um == (None, None, None)
    assert found.extra == {}
    assert set(found.unknown) >= {"pixel_size_y_um", "pixel_size_x_um", "time_interval_s", "acquired"}


def test_metadata_of_an_imagej_stack(tmp_path):
    path = tmp_path / "a.tif"
    said = {"axes": "TZYX", "unit": "micron", "spacing": 2.5, "finterval": 30.0}
    tifffile.imwrite(path, pixels((2, 3, 20, 20)), imagej=True, resolution=(4.0, 2.0), metadata=said)
    found = metadata(only(path))
    assert found.pixel_size_um == pytest.approx((2.5, 0.5, 0.25))
    assert found.time_interval_s == 30


def test_the_identity_is_the_content_not_the_name(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.tif", "b.tif", "c.tif"))
    tifffile.imwrite(first, pixels((5, 20, 20)))
    second.write_bytes(first.read_bytes())
    tifffile.imwrite(third, pixels((5, 20, 20), seed=1))
    digests = [content_digest(only(path)) for path in (first, second, third)]
    assert digests[0] == digests[1] != digests[2]


def test_a_copy_of_an_ome_tiff_beside_it_is_an_acquisition_of_the_same_content(tmp_path):
    """Its OME-XML still names the original; the UUID says that it means itself."""
    first, second = tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"
    tczyx = pixels((2, 1, 1, 20, 20))
    uid = "urn:uuid:2b5b1b0e-0000-4000-8000-000000000001"
    tifffile.imwrite(first, tczyx, ome=True, metadata={"axes": "TCZYX", "UUID": uid})
    second.write_bytes(first.read_bytes())
    assert only(second).files == (second,)
    assert content_digest(only(first)) == content_digest(only(second))
    np.testing.assert_array_equal(read_all(only(second)), tczyx)


@needs_data
@pytest.mark.parametrize("name", SINGLE)
def test_a_real_file_is_what_tifffile_reads(name):
    path = INSTRUMENTS / name
    found = read_all(only(path))
    expected = tczyx_of(path)
    assert found.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, expected)


@needs_data
def test_every_single_tiff_of_the_real_files_is_tested():
    single = {path for path in INSTRUMENTS.rglob("*.[tT][iI][fF]*") if "imagexpress" not in path.parts}
    assert {INSTRUMENTS / name for name in SINGLE} == {one for one in single if "multifile" not in one.name}

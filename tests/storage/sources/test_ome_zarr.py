import json

import numpy as np
import pytest
import zarr

from storage.errors import FormatError
from storage.sources.base import DTYPES, content_digest
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.support import INSTRUMENTS, metadata, needs_data, only, pixels, read_all

UNITS = {"t": ("time", "second"), "c": ("channel", None), "z": ("space", "micrometer")}
VIV = INSTRUMENTS / "ome_zarr_viv"


def write(folder, values, axes="tczyx", version="0.5", *, units=True, scale=None, labels=()):
    """An OME-Zarr image with a second level that must not be read."""
    group = zarr.create_group(folder, zarr_format=3 if version == "0.5" else 2)
    for level, array in enumerate((values, values[..., ::2, ::2])):
        made = group.create_array(
            str(level), shape=array.shape, dtype=array.dtype, chunks=(1,) * (array.ndim - 2) + (8, 8)
        )
        made[...] = array
    described = []
    for axis in axes:
        kind, unit = UNITS.get(axis, UNITS["z"])
        described.append({"name": axis, "type": kind} | ({"unit": unit} if unit and units else {}))
    datasets = [
        {
            "path": str(n),
            "coordinateTransformations": [{"type": "scale", "scale": scale or [1.0] * len(axes)}],
        }
        for n in range(2)
    ]
    image = {
        "multiscales": [{"version": version, "axes": described, "datasets": datasets}],
        "omero": {"channels": [{"label": label} for label in labels]},
    }
    group.attrs.update({"ome": {"version": "0.5", **image}} if version == "0.5" else image)
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_versions_and_every_type(tmp_path, version, dtype):
    tczyx = pixels((2, 3, 2, 20, 33), dtype)
    found = read_all(only(write(tmp_path / "a.ome.zarr", tczyx, version=version)))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, tczyx)


@pytest.mark.parametrize(
    ("axes", "shape"), [("yx", (20, 33)), ("cyx", (3, 20, 33)), ("tzyx", (2, 3, 20, 33))]
)
def test_axes_that_are_not_there_have_length_one(tmp_path, axes, shape):
    values = pixels(shape)
    found = read_all(only(write(tmp_path / "a.zarr", values, axes)))
    assert found.shape == tuple(dict(zip(axes, shape, strict=True)).get(axis, 1) for axis in "tczyx")
    np.testing.assert_array_equal(found.reshape(shape), values)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_metadata(tmp_path, version):
    scale = [30.0, 1.0, 2.0, 0.5, 0.25]
    folder = write(
        tmp_path / "a.zarr", pixels((2, 2, 2, 20, 33)), version=version, scale=scale, labels=("H2B", "BF")
    )
    found = metadata(only(folder))
    assert (found.pixel_size_um, found.time_interval_s) == ((2.0, 0.5, 0.25), 30.0)
    assert found.channel_names == ("H2B", "BF")


def test_a_scale_without_a_unit_is_not_known(tmp_path):
    found = metadata(only(write(tmp_path / "a.zarr", pixels((2, 2, 2, 20, 33)), units=False)))
    assert (found.pixel_size_um, found.time_interval_s, found.channel_names) == ((None, None, None), None, ())


def test_a_plates_fields_are_acquisitions(tmp_path):
    fields = {f"{well}/{n}": pixels((1, 1, 1, 20, 33), seed=n) for well in ("A/1", "B/2") for n in (0, 1)}
    root = zarr.create_group(tmp_path / "p.zarr", zarr_format=3)
    root.attrs["ome"] = {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    for well in ("A/1", "B/2"):
        root.create_group(well).attrs["ome"] = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
    for place, values in fields.items():
        write(tmp_path / "p.zarr" / place, values)
    found = {one.name: one for one in find_acquisitions([tmp_path])}
    assert sorted(found) == [f"p.zarr#{place}" for place in fields]
    for place, values in fields.items():
        np.testing.assert_array_equal(read_all(found[f"p.zarr#{place}"]), values)
    assert len({content_digest(one) for one in found.values()}) == 4


def test_the_series_of_bioformats2raw_are_acquisitions(tmp_path):
    zarr.create_group(tmp_path / "s.zarr", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for n in (0, 1):
        write(tmp_path / "s.zarr" / str(n), pixels((1, 1, 1, 20, 33), seed=n), version="0.4")
    found = find_acquisitions([tmp_path / "s.zarr"])
    assert [one.scene for one in found] == ["0", "1"]
    np.testing.assert_array_equal(read_all(found[1]), pixels((1, 1, 1, 20, 33), seed=1))


def test_where_a_chunk_lies_is_part_of_the_identity(tmp_path):
    """Chunks of zeros are not written: two different images may consist of the same files' contents."""
    first, second = np.zeros((2, 8, 8), "uint8"), np.zeros((2, 8, 8), "uint8")
    first[0] = second[1] = 7
    folders = [write(tmp_path / f"{n}.zarr", array, "tyx") for n, array in enumerate((first, second))]
    digests = [content_digest(only(folder)) for folder in folders]
    assert digests[0] != digests[1]


def test_a_damaged_chunk_is_a_format_error(tmp_path):
    folder = write(tmp_path / "a.zarr", pixels((2, 1, 1, 20, 33)))
    chunk = next(path for path in sorted((folder / "0" / "c").rglob("*")) if path.is_file())
    chunk.write_bytes(b"\x28\xb5\x2f\xfdrubbish")
    with pytest.raises(FormatError, match=r"a\.zarr.*copy it again"):
        read_all(only(folder))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"ome": {}},
        {"ome": {"multiscales": []}},
        {"ome": {"multiscales": [{"axes": [{"name": "x"}, {"name": "y"}], "datasets": [{"path": "0"}]}]}},
        {"ome": {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "../b"}]}]}},
        {
            "ome": {
                "multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "nowhere"}]}]
            }
        },
        {"ome": {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]}},
        {"ome": {"plate": {"wells": "none"}}},
        {"ome": 5},
        [],
    ],
)
def test_a_description_that_is_none_is_a_format_error(tmp_path, attributes):
    folder = write(tmp_path / "a.zarr", pixels((2, 20, 33)), "tyx")
    (folder / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})
    )
    with pytest.raises(FormatError, match=r"a\.zarr"):
        open_acquisition(only(folder))


def test_a_loop_of_links_inside_ends(tmp_path):
    folder = write(tmp_path / "a.zarr", pixels((2, 20, 33)), "tyx")
    (folder / "0" / "up").symlink_to(folder)
    assert read_all(only(folder)).shape == (2, 1, 1, 20, 33)


@needs_data
@pytest.mark.parametrize("version", ["04", "05"])
def test_the_real_files_float64_is_rounded_to_float32_and_said(version):
    folder = VIV / f"blobs_image_v{version}.ome.zarr"
    expected = zarr.open_array(folder / "0", mode="r")[...]
    assert expected.dtype == "float64"
    np.testing.assert_array_equal(read_all(only(folder))[0, :, 0], expected.astype("float32"))
    assert metadata(only(folder)).extra == {"rounded_from": "float64"}

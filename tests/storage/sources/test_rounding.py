import numpy as np
import pytest
import tifffile
import zarr

from storage.errors import FormatError
from tests.storage.sources.support import metadata, only, read_all

TYX = np.random.default_rng(0).normal(size=(2, 20, 33))


def stack(folder, tyx):
    path = folder / "a.tif"
    tifffile.imwrite(path, tyx, photometric="minisblack", metadata={"axes": "TYX"})
    return path


def compressed(folder, tyx):
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, tyx, compression="zlib", byteorder=">", metadata={"axes": "TYX"})
    return path


def planes(folder, tyx):
    for t, yx in enumerate(tyx):
        tifffile.imwrite(folder / f"a_t{t}.tif", yx)
    return folder


def ome_zarr(folder, tyx):
    root = zarr.create_group(folder / "a.zarr", zarr_format=3)
    root.create_array("0", data=tyx)
    axes = [
        {"name": name, "type": kind} for name, kind in zip("tyx", ("time", "space", "space"), strict=True)
    ]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    return folder / "a.zarr"


@pytest.mark.parametrize("write", [stack, compressed, planes, ome_zarr])
def test_float64_is_rounded_to_float32_in_every_format_and_said(tmp_path, write):
    acquisition = only(write(tmp_path, TYX))
    found = read_all(acquisition)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0, 0], TYX.astype(np.float32))
    assert metadata(acquisition).extra["rounded_from"] == "float64"


@pytest.mark.parametrize("write", [stack, compressed, planes, ome_zarr])
def test_what_float32_cannot_hold_is_refused(tmp_path, write):
    tyx = TYX.copy()
    tyx[1, 3, 4] = 1e60
    with pytest.raises(FormatError, match="values that fit float32"):
        read_all(only(write(tmp_path, tyx)))


def test_float32_is_not_said_to_be_rounded(tmp_path):
    assert "rounded_from" not in metadata(only(stack(tmp_path, TYX.astype(np.float32)))).extra

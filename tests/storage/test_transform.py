"""The rotation in a clean image's metadata: an outside reader can use it, and other readers do not mind."""

import ngio
import numpy as np
import yaozarrs
import zarr

from storage import images
from storage.objects import Objects
from storage.ome import ImageMetadata
from tasks.kernels.geometry import affine_to_raw, rotated_shape, to_raw_yx

PATH = "artifacts/clean/aa/image.ome.zarr"
RAW_SHAPE_YX, ANGLE_DEG = (60, 90), 27.5


def test_the_affine_is_read_from_the_file_by_others(local: Objects) -> None:
    extra = {"rotation_deg": ANGLE_DEG, "clean_to_raw": affine_to_raw(RAW_SHAPE_YX, ANGLE_DEG)}
    height, width = rotated_shape(RAW_SHAPE_YX, ANGLE_DEG)
    images.create_image(
        local,
        PATH,
        shape=(1, 1, 1, height, width),
        dtype="float32",
        metadata=ImageMetadata(name="chip 1", pixel_size_um=(None, 0.5, 0.5), extra=extra),
        written={},
        shard_px=256,
    )
    folder = f"{local.url}/{PATH}"
    yaozarrs.validate_zarr_store(folder)
    assert ngio.open_ome_zarr_container(folder, mode="r").get_image(path="0").pixel_size.y == 0.5

    held = zarr.open_group(folder, mode="r").attrs["chipcyte"]["extra"]["clean_to_raw"]
    assert (held["type"], held["axes"], held["unit"]) == ("affine", ["y", "x"], "px")
    point_yx = np.array([12.5, 40.0])
    raw_yx = np.array(held["affine"]) @ [*point_yx, 1]
    np.testing.assert_allclose(raw_yx, to_raw_yx(point_yx[None], RAW_SHAPE_YX, ANGLE_DEG)[0], atol=1e-9)
    assert images.open_image(local, PATH).metadata.extra == extra

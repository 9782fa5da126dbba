"""Raw images put straight into a store, as ingestion leaves them; what was made of them is taken away."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import images, layout
from storage.objects import open_store
from storage.ome import ImageMetadata
from storage.regions import Region
from tasks.kernels.pyramid import downsample_mean
from tasks.kernels.simulation.scene import simulate_field
from tasks.stage import Handle

PIXEL_UM = 0.5
MIXED = (0.25, 0.25, 0.25, 0.25)
KEY = "recorded"


def simulated_frame(edge_px: int, angle_deg: float) -> NDArray[np.uint16]:
    """Return a frame of grooves and nuclei of all four populations, axes y x."""
    stack = simulate_field(
        seed=5,
        proportions=MIXED,
        nuclei_per_mm2=700,
        height_px=edge_px,
        width_px=edge_px,
        pixel_size_um=PIXEL_UM,
        touching_share=0.2,
        angle_deg=angle_deg,
    )
    yx: NDArray[np.uint16] = stack.tyx[0]
    return yx


def record(store: Path, shape: tuple[int, ...], pixels: Callable[[Region], NDArray[Any]]) -> Handle:
    """Write a raw uint16 image t c z y x; `pixels` gives those of one shard at a time, axes y x."""
    objects = open_store(str(store), create=True)
    metadata = ImageMetadata(
        name=KEY,
        pixel_size_um=(None, PIXEL_UM, PIXEL_UM),
        channel_names=("DAPI",),
        windows=((0.0, 65535.0),),
    )
    path = layout.image_path("raw", KEY)
    image = images.create_image(objects, path, shape=shape, dtype="uint16", metadata=metadata, written={})
    for region in image.units():
        image.write(region, pixels(region).reshape(region.shape), downsample_mean)
    return Handle("raw", KEY, KEY, objects.uri(path))


def forget(store: Path) -> None:
    """Take away all that was made from the raw images."""
    for folder in ("artifacts", "records", "progress"):
        shutil.rmtree(store / folder, ignore_errors=True)

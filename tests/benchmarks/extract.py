"""Patches against the loop of notebooks: regionprops, crop, resize, one cell after the other.

Both are given clean frames of 2048 x 2048 px with their labels, and end with all patches on disk. Ours
reads frames and cells from a store and writes sharded, compressed patches with their table; the loop has
the frames in memory and saves one plain array. Cutting alone has the same frames in memory, and the boxes
that segment measured. Seconds are of the processor, taken in turn.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops
from skimage.transform import resize

from storage import arrays, images, layout, tables
from storage.arrays import ZarrArray
from storage.objects import open_store
from storage.ome import ImageMetadata
from storage.regions import Region
from storage.samples import Sample
from tasks.extract import extract
from tasks.extract_settings import CropAndPad, CropAndResize, ExtractSettings
from tasks.kernels.cells import Columns, measure_cells
from tasks.kernels.patches import Mode, extract_patches
from tasks.kernels.pyramid import downsample_mean
from tasks.kernels.simulation.scene import simulate_field
from tasks.samples import attach_sample
from tasks.settings import Resources
from tasks.stage import Handle, folder
from tests.benchmarks.measuring import Timing, print_table, scratch_folder
from tests.benchmarks.recordings import MIXED, PIXEL_UM

EDGE_PX = 2048
FRAMES = 32
NUCLEI_PER_MM2 = 1500
SIZE_PX = 40  # what extract takes of itself: 99 % of these nuclei fit
REPEATS = 2
STAGE, CUTTING, LOOP = "chipcyte extract", "cutting alone", "loop over regionprops"
CROPS = {"resize": CropAndResize(size_px=SIZE_PX), "pad": CropAndPad(size_px=SIZE_PX)}
SERIAL = Resources(compute="serial", workers=1)
Frames = tuple[NDArray[np.float32], NDArray[np.uint32]]


def run(size: float) -> None:
    clean_tyx, labels_tyx = simulated(max(1, round(FRAMES * size)))
    with scratch_folder() as place:
        given = stored(place / "store", clean_tyx, labels_tyx)
        for mode, crop in CROPS.items():
            options = given | {"settings": ExtractSettings(crop=crop, edge_cells="keep")}
            timings, cells = compared(place, mode, options, (clean_tyx, labels_tyx))
            print(f"\n{mode} to {SIZE_PX} px, {cells} cells of {len(clean_tyx)} frames\n")
            for ours in (CUTTING, STAGE):
                print_table([one for one in timings if one.name in (ours, LOOP)], ours)
        print(f"\nreads of each shard of image and labels: {reads_of_each(options)}")


def compared(place: Path, mode: str, options: dict[str, Any], frames: Frames) -> tuple[list[Timing], int]:
    """Time all in turn; say how far the patches are from those of the loop."""
    extract.fn(**options)  # compiles
    cells = [measure_cells(labels, yx, pixel_size_um=PIXEL_UM) for yx, labels in zip(*frames, strict=True)]
    contenders: dict[str, Callable[[], object]] = {
        STAGE: lambda: extract.fn(**options),
        CUTTING: lambda: cut(frames, cells, mode),
        LOOP: lambda: loop(*frames, mode, place / "patches.npy"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(REPEATS):
        with patch("tasks.extract.ALGORITHM", -number - 1):  # else it would be found made
            for name, work in contenders.items():
                seconds[name].append(cpu_seconds(work))
    made = extract.fn(**options)
    nyx = arrays.open_array(open_store(options["store"]), folder("patches", made.key, "patches.zarr"))
    ours_nyx = nyx.read(Region((0, 0, 0, 0), nyx.shape))[:, 0]
    assert np.array_equal(ours_nyx, np.concatenate(cut(frames, cells, mode)))
    equal = f"to {np.abs(ours_nyx - np.load(place / 'patches.npy')).max():.4f}"
    return [Timing(name, min(found), equal) for name, found in seconds.items()], len(ours_nyx)


def cut(frames: Frames, cells: list[Columns], mode: Mode) -> list[NDArray[Any]]:
    """Our cutting alone, to what is stored."""
    return [
        extract_patches(yx, labels, table, size_px=SIZE_PX, mode=mode, dtype="float16")
        for yx, labels, table in zip(*frames, cells, strict=True)
    ]


def loop(clean_tyx: NDArray[Any], labels_tyx: NDArray[Any], mode: str, out: Path) -> None:
    """What notebooks do."""
    patches = []
    for yx, labels_yx in zip(clean_tyx, labels_tyx, strict=True):
        for region in regionprops(labels_yx, intensity_image=yx):
            patches.append(CUTS[mode](region.image_intensity))  # noqa: PERF401 - as written there
    np.save(out, np.stack(patches))


def resized(crop: NDArray[np.float32]) -> NDArray[np.float32]:
    square = centred(crop, max(crop.shape))
    scaled: NDArray[np.float32] = resize(
        square, (SIZE_PX, SIZE_PX), order=1, anti_aliasing=max(crop.shape) > SIZE_PX
    )
    return scaled


def centred(crop: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Pad to a square; what is larger loses its rim."""
    before = [size // 2 - length // 2 for length in crop.shape]
    inner = tuple(slice(max(0, -start), max(0, -start) + size) for start in before)
    cut = crop[inner]
    pads = [
        (max(0, start), size - max(0, start) - length)
        for start, length in zip(before, cut.shape, strict=True)
    ]
    return np.pad(cut, pads)


CUTS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "resize": resized,
    "pad": lambda crop: centred(crop, SIZE_PX),
}


def simulated(frames: int) -> Frames:
    """One simulated frame, and its mirror images and quarter turns."""
    stack = simulate_field(
        seed=5,
        proportions=MIXED,
        nuclei_per_mm2=NUCLEI_PER_MM2,
        height_px=EDGE_PX,
        width_px=EDGE_PX,
        pixel_size_um=PIXEL_UM,
        touching_share=0.2,
    )
    yx, labels_yx = stack.tyx[0], stack.labels_tyx[0]
    clean = (yx - yx.min()) / np.ptp(yx).astype(np.float32)
    both = [
        tuple(np.rot90(one, n)[:: 1 - 2 * (n // 4 % 2)] for one in (clean, labels_yx)) for n in range(frames)
    ]
    return np.stack([one for one, _ in both]).astype(np.float32), np.stack([two for _, two in both])


def stored(place: Path, clean_tyx: NDArray[np.float32], labels_tyx: NDArray[np.uint32]) -> dict[str, Any]:
    """Put clean images, labels and cells into a store as the stages before do; return what extract takes."""
    objects = open_store(str(place), create=True)
    metadata = ImageMetadata(
        name="clean", pixel_size_um=(None, PIXEL_UM, PIXEL_UM), channel_names=("DAPI",), windows=((0.0, 1.0),)
    )
    frames, height, width = clean_tyx.shape
    image = images.create_image(
        objects,
        layout.image_path("clean", "clean"),
        shape=(frames, 1, 1, height, width),
        dtype="float32",
        metadata=metadata,
        written={},
    )
    labels = images.create_image(
        objects,
        layout.labels_path("clean", "labels"),
        shape=(frames, 1, height, width),
        dtype="uint32",
        metadata=metadata,
        written={},
    )
    for t, (region, mask) in enumerate(zip(image.units(), labels.units(), strict=True)):
        image.write(region, clean_tyx[t][None, None, None], downsample_mean)
        labels.write(mask, labels_tyx[t][None, None], lambda values: values[..., ::2, ::2])
    rows = [
        measure_cells(mask, yx, pixel_size_um=PIXEL_UM)
        for mask, yx in zip(labels_tyx, clean_tyx, strict=True)
    ]
    columns: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    columns["t"] = np.repeat(np.arange(frames), [len(row["label"]) for row in rows])
    columns["z"] = np.zeros(len(columns["t"]), np.int64)
    names = [f"t{t}-{label}" for t, label in zip(columns["t"], columns["label"], strict=True)]
    path = folder("labels", "labels", "cells.zarr")
    tables.write_table(objects, path, names=names, columns=columns, written={})
    raw = Handle("raw", "raw", "raw", "")
    sample = attach_sample(
        objects, raw, Sample(file="simulated", chip="1", position="1", condition="wild type"), None
    )
    return {
        "clean": Handle("clean", "clean", "clean", "", metrics={"rotated": False, "angle_deg": 0.0}),
        "labels": Handle("labels", "labels", "labels", "", metrics={"pixel_size_um": PIXEL_UM}),
        "sample": sample,
        "truth": None,
        "store": objects.url,
        "resources": SERIAL,
    }


def reads_of_each(options: dict[str, Any]) -> str:
    """Count how often each plane of image and labels is read; a plane is one shard here."""
    counts: Counter[tuple[str, int]] = Counter()

    def counted(self: ZarrArray, region: Region, plain: Any = ZarrArray.read) -> Any:
        counts[self.path, region.start[0]] += 1
        return plain(self, region)

    with patch.object(ZarrArray, "read", counted), patch("tasks.extract.ALGORITHM", 0):
        extract.fn(**options)
    return f"{min(counts.values())} to {max(counts.values())}, {len(counts)} shards"


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began

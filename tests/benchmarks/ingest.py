"""An OME-TIFF time series (2048 x 2048, uint16) to sharded OME-Zarr with a pyramid.

Peers: ome-zarr-py's write_image and ngio, both fed lazily by tifffile through dask's threads, with our
chunks, shards, levels and codec. The limit is what no ingestion can avoid: reading the TIFF, compressing the
same bytes with the same codec on the same cores, and writing the compressed bytes plainly.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import tifffile
import zarr
from numcodecs import Blosc

from storage import images, layout
from storage.arrays import codec
from storage.objects import open_store
from storage.sources.discovery import find_acquisitions
from tasks import chunked
from tasks.ingest import ingest
from tasks.kernels.pyramid import downsample_mean
from tasks.settings import IngestSettings, Resources
from tests.benchmarks.measuring import Timing, best_of, print_table, scratch_folder

EDGE_PX = 2048
FULL_BYTES = 2 * 2**30
REPEATS = 2


def run(size: float) -> None:
    planes = max(2, round(size * FULL_BYTES / (EDGE_PX**2 * 2)))
    resources = Resources(workers=os.cpu_count() or 1)
    with scratch_folder() as folder:
        path = write_series(folder / "series.ome.tif", planes)
        print(f"{planes} planes, {path.stat().st_size / 2**20:,.0f} MiB\n")
        timings = [_ours(path, folder / "ours", resources)]
        reference = _read_ours(folder / "ours")
        timings.append(_ome_zarr(path, folder / "peer1.zarr", reference))
        timings.append(_ngio(path, folder / "peer2.zarr", reference))
        timings.append(_limit(path, folder / "limit", resources))
        print_table(timings, timings[0].name)


def write_series(path: Path, planes: int) -> Path:
    """Write planes of noise and bright spots: about as compressible as a camera's."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:EDGE_PX, 0:EDGE_PX]
    spots = 400.0 * (np.sin(x / 17) * np.sin(y / 13) > 0.6) + 0.02 * x
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        frames = (rng.poisson(300 + spots).astype(np.uint16) for _ in range(planes))
        metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(frames, shape=(planes, EDGE_PX, EDGE_PX), dtype=np.uint16, metadata=metadata)
    return path


def _clear(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _ours(path: Path, store: Path, resources: Resources) -> Timing:
    acquisition = find_acquisitions([path])[0]
    chunked.connected(resources)  # a scheduled watcher has its cluster already

    def work() -> None:
        ingest.fn(acquisition, str(store), IngestSettings(), resources)

    def prepare() -> None:
        _clear(store)
        open_store(str(store), create=True)

    return Timing("chipcyte ingest", best_of(REPEATS, prepare, work), "reference")


def _read_ours(store: Path) -> list[np.ndarray]:
    """Return first, middle and last plane."""
    objects = open_store(str(store))
    key = next(objects.names("acquisitions")).split("/")[1]
    image = images.open_image(objects, layout.image_path("raw", key))
    return [image.read(image.plane(t, 0, 0))[0, 0, 0] for t in _probes(image.shape[0])]


def _probes(planes: int) -> tuple[int, ...]:
    return (0, planes // 2, planes - 1)


def _lazy(path: Path) -> da.Array:
    return da.from_zarr(zarr.open(tifffile.imread(path, aszarr=True), mode="r"))[:, None, None]


def _same(array: zarr.Array, reference: list[np.ndarray]) -> str:
    found = [np.asarray(array[t, 0, 0]) for t in _probes(array.shape[0])]
    return "yes" if all(np.array_equal(a, b) for a, b in zip(found, reference, strict=True)) else "NO"


def _ome_zarr(path: Path, out: Path, reference: list[np.ndarray]) -> Timing:
    from ome_zarr.writer import write_image

    options = {"chunks": (1, 1, 1, 512, 512), "compressors": [codec("uint16")]}

    def work() -> None:
        group = zarr.open_group(str(out), mode="w", zarr_format=3)
        with dask.config.set(scheduler="threads", num_workers=os.cpu_count()):
            write_image(_lazy(path), group, scale_factors=[2, 4, 8], axes="tczyx", storage_options=options)

    seconds = best_of(REPEATS, lambda: _clear(out), work)
    group = zarr.open_group(str(out), mode="r")
    level = group[group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]]
    return Timing("ome-zarr-py write_image (no shards)", seconds, _same(level, reference))


def _ngio(path: Path, out: Path, reference: list[np.ndarray]) -> Timing:
    import ngio

    def work() -> None:
        lazy = _lazy(path)
        with dask.config.set(scheduler="threads", num_workers=os.cpu_count()):
            made = ngio.create_empty_ome_zarr(
                str(out),
                shape=lazy.shape,
                pixelsize=0.5,
                axes_names="tczyx",
                levels=4,
                chunks=(1, 1, 1, 512, 512),
                shards=(1, 1, 1, EDGE_PX, EDGE_PX),
                compressors=codec("uint16"),
                dtype="uint16",
                ngff_version="0.5",
                overwrite=True,
            )
            image = made.get_image()
            image.set_array(lazy.rechunk((1, 1, 1, EDGE_PX, EDGE_PX)))
            image.consolidate()

    seconds = best_of(REPEATS, lambda: _clear(out), work)
    return Timing(
        "ngio set_array and consolidate", seconds, _same(zarr.open_array(f"{out}/0", mode="r"), reference)
    )


def _limit(path: Path, out: Path, resources: Resources) -> Timing:
    """Read, compress and write on a thread a worker; the codec lets go of Python's lock."""
    blosc = Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)
    with tifffile.TiffFile(path) as file:
        offset, shape = file.series[0].dataoffset, file.series[0].shape

    def one(t: int) -> None:
        count = EDGE_PX * EDGE_PX
        yx = np.fromfile(path, np.uint16, count, offset=offset + t * count * 2).reshape(EDGE_PX, EDGE_PX)
        packed = []
        while True:
            edges = [(y, x) for y in range(0, yx.shape[0], 512) for x in range(0, yx.shape[1], 512)]
            packed += [blosc.encode(np.ascontiguousarray(yx[y : y + 512, x : x + 512])) for y, x in edges]
            if yx.shape[0] <= images.SMALLEST_LEVEL_PX:
                break
            yx = downsample_mean(yx)
        (out / f"{t:05d}").write_bytes(b"".join(packed))

    def work() -> None:
        with ThreadPoolExecutor(resources.workers) as pool:
            list(pool.map(one, range(shape[0])))

    def prepare() -> None:
        _clear(out)
        out.mkdir()

    return Timing("limit: read, halve, compress, write plainly", best_of(REPEATS, prepare, work))

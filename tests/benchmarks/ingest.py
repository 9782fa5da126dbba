"""An OME-TIFF time series (2048 x 2048, uint16) to sharded OME-Zarr with a pyramid.

Peers: ome-zarr-py's write_image and ngio, both fed lazily by tifffile through dask's threads, with our
chunks, shards, levels and codec. The limit is what no ingestion can avoid: reading the TIFF, compressing the
same bytes with the same codec on the same cores, and writing the compressed bytes plainly. Ours includes the
digest of the file and of every object written, which neither the peers nor the limit have.
"""

import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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
from storage.sources.base import content_digest
from storage.sources.discovery import find_acquisitions
from tasks import chunked
from tasks.ingest import ingest
from tasks.kernels.pyramid import downsample_mean
from tasks.settings import IngestSettings, Resources
from tests.benchmarks.measuring import Timing, best_of_each, print_table, scratch_folder

EDGE_PX = 2048
FULL_BYTES = 2 * 2**30
DISTINCT = 8
REPEATS = 2
MORE = 5  # of ours and of the limit, whose ratio is near one: a shared machine's clock differs by a third


def run(size: float) -> None:
    planes = max(2, round(size * FULL_BYTES / (EDGE_PX**2 * 2)))
    resources = Resources(workers=os.cpu_count() or 1)
    chunked.connected(resources)  # a scheduled watcher has its cluster already
    with scratch_folder() as folder:
        path = write_series(folder / "series.ome.tif", planes)
        print(f"{planes} planes, {path.stat().st_size / 2**20:,.0f} MiB\n")
        places = {name: _Place(folder / str(number)) for number, name in enumerate(WAYS)}
        ways = {
            name: (places[name].renew, partial(way, path, places[name], resources))
            for name, way in WAYS.items()
        }
        quick = {name: ways[name] for name in (OURS, LIMIT)} | {
            DIGEST: (lambda: None, lambda: content_digest(find_acquisitions([path])[0]))
        }
        turns = best_of_each(REPEATS, ways), best_of_each(MORE, quick)
        seconds = {name: min(found[name] for found in turns if name in found) for name in ways | quick}
        equal = {name: _same(path, level(places[name].path)) for name, level in LEVELS.items()}
        timings = [Timing(name, seconds[name], equal.get(name, "")) for name in seconds]
        print_table(timings, OURS)


def noisy_frames(count: int) -> list[np.ndarray]:
    """Return planes of noise and bright spots: about as compressible as a camera's."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:EDGE_PX, 0:EDGE_PX]
    spots = 400.0 * (np.sin(x / 17) * np.sin(y / 13) > 0.6) + 0.02 * x
    return [rng.poisson(300 + spots).astype(np.uint16) for _ in range(count)]


def write_series(path: Path, planes: int) -> Path:
    """Write planes of which a few are repeated, since noise takes long to draw; each is compressed alone."""
    drawn = noisy_frames(min(planes, DISTINCT))
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        frames = (drawn[t % DISTINCT] for t in range(planes))
        metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(frames, shape=(planes, EDGE_PX, EDGE_PX), dtype=np.uint16, metadata=metadata)
    return path


@dataclass
class _Place:
    """A folder of its own for each repeat: what a process remembers of one that went is wrong."""

    parent: Path
    repeat: int = 0

    @property
    def path(self) -> Path:
        return self.parent / str(self.repeat)

    def renew(self) -> None:
        """Leave what the last repeat wrote, and take a new folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.repeat += 1
        self.path.mkdir(parents=True)
        os.sync()  # what another left to be written is not waited for in our time


def _ours(path: Path, place: _Place, resources: Resources) -> None:
    open_store(str(place.path), create=True)
    ingest.fn(find_acquisitions([path])[0], str(place.path), IngestSettings(), resources)


def _ome_zarr(path: Path, place: _Place, resources: Resources) -> None:
    from ome_zarr.writer import write_image

    options = {"chunks": (1, 1, 1, 512, 512), "compressors": [codec("uint16")]}
    group = zarr.open_group(str(place.path), mode="w", zarr_format=3)
    with dask.config.set(scheduler="threads", num_workers=resources.workers):
        write_image(_lazy(path), group, scale_factors=[2, 4, 8], axes="tczyx", storage_options=options)


def _ngio(path: Path, place: _Place, resources: Resources) -> None:
    import ngio

    lazy = _lazy(path)
    with dask.config.set(scheduler="threads", num_workers=resources.workers), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces another default
        made = ngio.create_empty_ome_zarr(
            str(place.path),
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


def _lazy(path: Path) -> da.Array:
    return da.from_zarr(zarr.open(tifffile.imread(path, aszarr=True), mode="r"))[:, None, None]


def _limit(path: Path, place: _Place, resources: Resources) -> None:
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
        (place.path / f"{t:05d}").write_bytes(b"".join(packed))

    with ThreadPoolExecutor(resources.workers) as pool:
        list(pool.map(one, range(shape[0])))


def _our_level(folder: Path) -> zarr.Array:
    key = next(open_store(str(folder)).names("acquisitions")).split("/")[1]
    return zarr.open_array(folder / layout.image_path("raw", key) / "0", mode="r")


def _their_level(folder: Path) -> zarr.Array:
    group = zarr.open_group(folder, mode="r")
    return group[group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]]


def _same(path: Path, level: zarr.Array) -> str:
    """Say whether the first, middle and last plane are those of the file."""
    probes = (0, level.shape[0] // 2, level.shape[0] - 1)
    with tifffile.TiffFile(path) as file:
        pairs = [(level[t, 0, 0], file.series[0].pages[t].asarray()) for t in probes]
    return "yes" if all(np.array_equal(*pair) for pair in pairs) else "NO"


OURS = "chipcyte ingest"
LIMIT = "limit: read, halve, compress, write plainly"
DIGEST = "of ours: the digest of the file"
WAYS = {
    OURS: _ours,
    "ome-zarr-py write_image (no shards)": _ome_zarr,
    "ngio set_array and consolidate": _ngio,
    LIMIT: _limit,
}
LEVELS = dict(zip(WAYS, (_our_level, _their_level, _their_level), strict=False))

"""Sizes and speeds of compressors of 16-bit images, and of zarr's and zarrs' ways to write and read a shard.

MB are of pixels; seconds are one core's own, so that a busy machine changes little. zarrs is a pipeline in
Rust that zarr can be told to use, on all cores as zarr's own is; ours writes in one thread, as a worker has.
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray

from storage import arrays
from storage.arrays import ArraySpec
from storage.objects import open_store
from storage.regions import grid_regions
from tests.benchmarks.ingest import EDGE_PX, noisy_frames
from tests.benchmarks.measuring import scratch_folder
from tests.support import DATA

CHUNK_PX = 512
FRAMES = 4
REPEATS = 5
REAL = ("metamorph_stk/MetamorphImage.tif", "pims_stack/tiff_stack.tif")
SHUFFLES = {"none": Blosc.NOSHUFFLE, "bytes": Blosc.SHUFFLE, "bits": Blosc.BITSHUFFLE}
PIPELINES = {
    "zarr-python": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}


def run(size: float) -> None:
    frames = np.stack(noisy_frames(max(1, round(FRAMES * size))))
    _compressors("simulated noise", frames)
    for path in (DATA / "instruments" / name for name in REAL):
        if path.exists():
            _compressors(path.name, np.atleast_3d(tifffile.imread(path).T).T)
        else:
            print(f"\n{path.name}: skipped, since it is not there")
    with scratch_folder() as folder:
        _pipelines(folder, frames)


def _compressors(name: str, tyx: NDArray[Any]) -> None:
    chunks = [
        np.ascontiguousarray(yx[y : y + CHUNK_PX, x : x + CHUNK_PX])
        for yx in tyx
        for y in range(0, yx.shape[0], CHUNK_PX)
        for x in range(0, yx.shape[1], CHUNK_PX)
    ]
    print(f"\n{name}, {tyx.dtype} {tyx.shape}")
    print(f"{'':<20}{'size, %':>10}{'compress, MB/s':>18}{'decompress, MB/s':>18}")
    for setting, codec in _settings().items():
        packed = [codec.encode(chunk) for chunk in chunks]
        share = sum(map(len, packed)) / tyx.nbytes
        speeds = [_speed(tyx.nbytes, codec.encode, chunks), _speed(tyx.nbytes, codec.decode, packed)]
        print(f"{setting:<20}{100 * share:>10.1f}{speeds[0]:>18.0f}{speeds[1]:>18.0f}")


def _settings() -> dict[str, Any]:
    levels = [("zstd", 1), ("zstd", 3), ("zstd", 5), ("lz4", 1), ("lz4", 5), ("lz4", 9)]
    blosc = {
        f"{cname}-{level} {name}": Blosc(cname=cname, clevel=level, shuffle=shuffle)
        for cname, level in levels
        for name, shuffle in SHUFFLES.items()
    }
    return blosc | {f"zstd-{level}, no Blosc": Zstd(level=level) for level in (1, 3, 5)}


def _speed(n_bytes: int, work: Callable[[Any], object], parts: list[Any]) -> float:
    return n_bytes / 1e6 / _cpu_s(lambda: [work(part) for part in parts])


def _cpu_s(work: Callable[[], object]) -> float:
    """Return the shortest CPU time, of all threads, of several calls."""
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def _pipelines(folder: Path, tyx: NDArray[Any]) -> None:
    print(f"\nshards of {EDGE_PX} x {EDGE_PX} px, {arrays.codec('uint16').cname.value} at our level")
    print(f"{'':<24}{'CPU ms a shard':>18}")
    spec = ArraySpec(
        tyx.shape, "uint16", (1, CHUNK_PX, CHUNK_PX), (1, EDGE_PX, EDGE_PX), axes=("t", "y", "x")
    )
    ours = arrays.create_array(open_store(str(folder / "store"), create=True), "ours", spec, {})
    planes = grid_regions(tyx.shape, spec.shards)
    _row("chipcyte, write", tyx, lambda: [ours.write(one, tyx[one.slices]) for one in planes])
    _row("chipcyte, read", tyx, lambda: [ours.read(one) for one in planes])
    for name, pipeline in PIPELINES.items():
        if importlib.util.find_spec(pipeline.partition(".")[0]) is None:
            print(f"{name}: skipped, since it is not installed")
            continue
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            theirs = _created(folder / name, spec)
            _row(f"{name}, write", tyx, lambda array=theirs: [_write(array, t, tyx) for t in range(len(tyx))])
            _row(f"{name}, read", tyx, lambda array=theirs: [array[t] for t in range(len(tyx))])
            assert np.array_equal(theirs[:], tyx)


def _created(folder: Path, spec: ArraySpec) -> Any:
    return zarr.create_array(
        folder,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=spec.chunks,
        shards=spec.shards,
        compressors=arrays.codec(spec.dtype),
    )


def _write(array: Any, t: int, tyx: NDArray[Any]) -> None:
    array[t] = tyx[t]


def _row(name: str, tyx: NDArray[Any], work: Callable[[], object]) -> None:
    print(f"{name:<24}{1e3 * _cpu_s(work) / len(tyx):>18.1f}")

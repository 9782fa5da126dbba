"""Preprocessing: kernels on a 2048 x 2048 frame against scikit-image and OpenCV, and the whole stage.

Ours and the peer take turns on one thread each. A thread that is disturbed by others loses time on the clock
but hardly of the processor, so both are printed, each the best of several; ratios are of the processor's.
"""

import importlib.util
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numba
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks import chunked, frames
from tasks.kernels.clahe import equalize_adapthist
from tasks.kernels.density import estimate_density
from tasks.kernels.orientation import estimate_rotation_deg
from tasks.kernels.preprocessing import Cleaner, clean_whole, preprocess_frame
from tasks.kernels.recipe import Recipe
from tasks.kernels.rotation import rotate
from tasks.kernels.tv import denoise_tv_chambolle
from tasks.settings import Resources
from tests.benchmarks import preprocess_stage
from tests.benchmarks.recordings import simulated_frame
from tests.benchmarks.tv import tv_figures
from tests.support import DATA, ROOT

EDGE_PX = 2048
ANGLE_DEG = 12.3
TARGET = 8
ROUNDS = 5
REAL = DATA / "instruments" / "metamorph_stk" / "MetamorphImage.tif"
PEER = ROOT.parent / "shared" / "peers" / "notebook_chain.py"
Work = Callable[[], Any]
FIRST_CALL = "from tests.benchmarks.preprocess import frame_seconds; print(frame_seconds())"


@dataclass(frozen=True)
class Row:
    """One line: ours, the peer if any, how equal they are, and how many times as fast we should be."""

    name: str
    ours: Work
    peer: Work | None = None
    equal: str = ""
    target: float | None = None


def run(size: float) -> None:
    with one_thread():
        edge_px = round(EDGE_PX * math.sqrt(size))
        frame = simulated_frame(edge_px, ANGLE_DEG)
        chain = notebook_chain()
        print_rows(f"simulated cells, {edge_px} x {edge_px} uint16", _rows(frame, chain))
        print_bandwidth(_undenoised(frame))
        if REAL.exists():
            real = tiled(tifffile.imread(REAL), edge_px)
            print_rows(f"{REAL.name}, tiled to {edge_px} x {edge_px} {real.dtype}", _rows(real, chain))
        else:
            print(f"\n{REAL.name}: skipped, since it is not there")
        print_compiling()
        preprocess_stage.run(size, frame)


def one_thread() -> Any:
    """Keep numpy, OpenCV and numba to one thread; a context."""
    cv2.setNumThreads(1)
    numba.set_num_threads(1)
    return threadpool_limits(1)


def notebook_chain() -> Any:
    """Return the peer's module; None where it is not there."""
    if not PEER.exists():
        print(f"{PEER.name}: the chain, CLAHE and TV of the peer are skipped, since it is not there")
        return None
    spec = importlib.util.spec_from_file_location("notebook_chain", PEER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiled(yx: NDArray[Any], edge_px: int) -> NDArray[Any]:
    """Repeat a frame, mirrored in turn so that no seam arises, to a square of this edge."""
    pad = [(0, max(edge_px - side, 0)) for side in yx.shape]
    return np.ascontiguousarray(np.pad(yx, pad, mode="symmetric")[:edge_px, :edge_px])


def chain_recipe(angle_deg: float) -> Recipe:
    """Return the recipe of the peer's chain, which is the default one, but for the shape it keeps."""
    return Recipe(angle_deg=angle_deg, grow=False)


def _rows(yx: NDArray[Any], chain: Any) -> list[Row]:
    plane, kernel_px = _undenoised(yx), yx.shape[0] // 10
    values, facts, clean = clean_whole(
        Cleaner(chain_recipe(0.0), (yx.shape[0], yx.shape[1])), lambda box: yx[box]
    )
    found = estimate_rotation_deg(yx)
    rows = [
        Row("rotation, same shape", lambda: _turned(yx), lambda: _turned_by_cv2(yx), _rotation_equal(yx)),
        Row(
            "quality numbers | SSIM alone",
            lambda: frames.numbers_of_whole(values, clean, (facts.low, facts.high)),
            lambda: structural_similarity(clean, _unit(values), data_range=1),
            _ssim_equal(values, clean),
        ),
        Row("orientation", lambda: estimate_rotation_deg(yx), equal=f"{found.angle_deg:.2f} degrees"),
        Row("density", lambda: estimate_density(yx)),
    ]
    if chain is None:
        return rows
    return [
        Row(
            f"whole frame, {ANGLE_DEG} degrees",
            lambda: preprocess_frame(yx, chain_recipe(ANGLE_DEG)),
            lambda: chain.preprocess(yx, ANGLE_DEG),
            f"at 0 degrees {_most(clean, chain.preprocess(yx, 0))}",
            TARGET,
        ),
        Row(
            "CLAHE",
            lambda: equalize_adapthist(yx, kernel_px),
            lambda: chain.clahe(yx),
            _most(equalize_adapthist(yx, kernel_px), chain.clahe(yx)),
            TARGET,
        ),
        Row(
            "TV, of what CLAHE and clipping give",
            lambda: denoise_tv_chambolle(plane),
            lambda: chain.tv(plane),
            _most(denoise_tv_chambolle(plane), chain.tv(plane)),
            TARGET,
        ),
        *rows,
    ]


def _undenoised(yx: NDArray[Any]) -> NDArray[np.float32]:
    return preprocess_frame(yx, Recipe(denoising=None))


def _unit(values: NDArray[Any]) -> NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    return ((values - low) / (high - low)).astype(np.float32)


def _turned(yx: NDArray[Any], fill: float | None = None) -> NDArray[Any]:
    return rotate(yx, ANGLE_DEG, grow=False, fill=fill)


def _turned_by_cv2(yx: NDArray[Any]) -> NDArray[Any]:
    """Turn as the peer does, but about the middle of the pixels and with the fraction of a value kept."""
    height, width = yx.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), ANGLE_DEG, 1.0)
    return cv2.warpAffine(yx.astype(np.float32), matrix, (width, height), flags=cv2.INTER_LINEAR)


def _rotation_equal(yx: NDArray[Any]) -> str:
    span = float(yx.max()) - float(yx.min())
    return f"{_most(_turned(yx, fill=0) / span, _turned_by_cv2(yx) / span)} of the range, filled with 0"


def _ssim_equal(values: NDArray[Any], clean: NDArray[np.float32]) -> str:
    span = float(values.min()), float(values.max())
    ours = frames.numbers_of_whole(values, clean, span)["clean"]["ssim"]
    return f"{abs(ours - structural_similarity(clean, _unit(values), data_range=1)):.1e} of SSIM"


def _most(ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    return f"{np.abs(ours - theirs.astype(np.float32)).max():.1e}"


def print_rows(title: str, rows: list[Row]) -> None:
    """Measure all rows in turn, and print milliseconds, ratios and the greatest difference of the results."""
    works = {(row.name, side): getattr(row, side) for row in rows for side in ("ours", "peer")}
    costs = best_costs(ROUNDS, {name: work for name, work in works.items() if work is not None})
    print(f"\n{title}; ms, processor (clock)")
    print(f"{'':<36}{'ours':>14}{'peer':>16}{'ratio':>7}  target    greatest difference")
    for row in rows:
        ours, theirs = costs[row.name, "ours"], costs.get((row.name, "peer"))
        line = f"{row.name:<36}{_pair(ours):>14}"
        if theirs is not None:
            verdict = ""
            ratio = theirs[0] / ours[0]
            if row.target is not None:
                verdict = f"{row.target:.0f} {'' if ratio >= row.target else 'MISSED'}"
            line += f"{_pair(theirs):>16}{ratio:>7.1f}  {verdict:<10}"
        else:
            line += " " * 35
        print(f"{line}{row.equal}")


def _pair(cost: tuple[float, float]) -> str:
    return f"{1e3 * cost[0]:.0f} ({1e3 * cost[1]:.0f})"


def best_costs(rounds: int, works: dict[Any, Work]) -> dict[Any, tuple[float, float]]:
    """Return the least seconds of the processor and of the clock of each, all taken in turn."""
    found: dict[Any, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            work()
            found[name].append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
    return {
        name: (min(cpu for cpu, _ in costs), min(wall for _, wall in costs)) for name, costs in found.items()
    }


def print_bandwidth(plane: NDArray[np.float32]) -> None:
    figures = tv_figures(plane)
    print(
        f"\nTV of that frame: {figures.iterations} iterations; {figures.bandwidth_share:.0%} of the triad's "
        f"{figures.bandwidth_bytes_s / 1e9:.1f} GB/s, {figures.share_if_every_iteration_were_a_pass:.0%} if "
        "every iteration were a pass over memory"
    )


def frame_seconds() -> float:
    """Return the seconds of a small frame, which for the first of a process are those of compiling."""
    yx = np.random.default_rng(0).integers(0, 4096, (96, 96)).astype(np.uint16)
    began = time.perf_counter()
    values, facts, clean = clean_whole(Cleaner(Recipe(angle_deg=5.0), (96, 96)), lambda box: yx[box])
    frames.numbers_of_whole(values, clean, (facts.low, facts.high))
    estimate_rotation_deg(yx)
    return time.perf_counter() - began


def two_frames() -> tuple[float, float]:
    """Return the seconds of two frames, one after the other."""
    return frame_seconds(), frame_seconds()


def print_compiling() -> None:
    """Print what the first call of a process takes, with nothing compiled yet, and with all of it."""
    with tempfile.TemporaryDirectory(prefix="chipcyte-bench-") as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        cold_s, cached_s = (
            float(subprocess.check_output([sys.executable, "-c", FIRST_CALL], cwd=ROOT, env=environment))
            for _ in range(2)
        )
    print(
        f"\nfirst frame of a process: {cold_s:.1f} s with nothing compiled, {cached_s:.2f} s from the cache,"
    )
    print("which lies beside the source or in the user's folder")
    resources = Resources(workers=2)
    chunked.connected(resources)
    for number, (first_s, second_s) in enumerate(chunked._clients.get(resources).run(two_frames).values()):
        print(f"Dask worker {number}: first frame {first_s:.2f} s, second {second_s:.3f} s")
    chunked.close()

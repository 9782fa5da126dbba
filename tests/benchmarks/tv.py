"""TV denoising of a frame: its time, scikit-image's, and its share of the memory bandwidth, on one core."""

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_tv_chambolle as of_skimage

from tasks.kernels import tv
from tasks.kernels.compiling import compiled
from tasks.kernels.tv import denoise_tv_chambolle
from tests.benchmarks.measuring import cpu_s

# A pass reads the plane and both parts of the field, and writes both parts and the results it keeps.
PLANES_A_PASS = 5
BYTES = 4
# What an iteration would move if every one were a pass of its own: no results, but the field in and out.
BYTES_A_PIXEL_AND_ITERATION = 5 * 4
TRIAD_BYTES = 3 * 4


@dataclass(frozen=True)
class TvFigures:
    """What one frame cost, the best of several."""

    seconds: float
    skimage_seconds: float
    iterations: int
    most_difference: float
    bandwidth_bytes_s: float
    bandwidth_share: float
    share_if_every_iteration_were_a_pass: float


@compiled
def triad(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> None:
    """The stream benchmark's triad: what this core gets from memory."""
    for i in range(a.size):
        a[i] = b[i] + np.float32(3) * c[i]


def tv_figures(yx: NDArray[np.float32], weight: float = 0.02, repeats: int = 5) -> TvFigures:
    """Measure our kernel, scikit-image and the triad in turn, so that what disturbs one disturbs all."""
    abc = [np.ones(1 << 24, np.float32) for _ in range(3)]
    triad(*abc)
    difference = float(np.abs(denoise_tv_chambolle(yx, weight) - of_skimage(yx, weight)).max())
    rounds = [
        (
            cpu_s(lambda: denoise_tv_chambolle(yx, weight)),
            cpu_s(lambda: triad(*abc)),
            cpu_s(lambda: denoise_tv_chambolle(yx, weight)),
            cpu_s(lambda: of_skimage(yx, weight)),
        )
        for _ in range(repeats)
    ]
    first, copied, second, theirs = (min(seconds) for seconds in zip(*rounds, strict=True))
    passes = passes_of(yx, weight)
    iterations = sum(count for count, _ in passes)
    moved = sum(PLANES_A_PASS + kept for _, kept in passes) * BYTES
    bandwidth = TRIAD_BYTES * abc[0].size / copied
    ours = min(first, second)
    possible = ours * bandwidth / yx.size
    return TvFigures(
        seconds=ours,
        skimage_seconds=theirs,
        iterations=iterations,
        most_difference=difference,
        bandwidth_bytes_s=bandwidth,
        bandwidth_share=moved / possible,
        share_if_every_iteration_were_a_pass=BYTES_A_PIXEL_AND_ITERATION * iterations / possible,
    )


def passes_of(yx: NDArray[np.float32], weight: float) -> list[tuple[int, int]]:
    """Return the iterations of each pass over the frame, and how many results it keeps."""
    passes = []
    advance = tv._Descent.advance

    def noted(descent: tv._Descent, iterations: int, kept: int = 0) -> NDArray[np.float64]:
        passes.append((iterations, kept))
        return advance(descent, iterations, kept)

    with patch.object(tv._Descent, "advance", noted):
        denoise_tv_chambolle(yx, weight)
    return passes

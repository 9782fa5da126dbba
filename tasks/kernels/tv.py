"""Total-variation denoising of a plane, whole or in blocks, with scikit-image's result.

The method, for a plane f: a field p starts at zero. Iteration k = 1, 2, ... computes the result u = f minus
the adjoint gradient of p, and the energy of u (squared distance to f plus `weight` times the length of its
gradient, summed over the pixels), then moves p against that gradient. It stops at the first iteration whose
energy differs from the one before by less than `eps` times the first. Iteration 1 gives the plane itself.

In blocks: a pixel of iteration n sees n - 1 pixels far to every side, and its share of that energy one pixel
more. So sum `tv_energies` over the cores of a partition, ask `stop_iteration`, and take `tv_iterations`.

Chambolle, An algorithm for total variation minimization, J. Math. Imaging Vis. 20:89, 2004; the step is 1/4.
"""

import numpy as np
from numpy.typing import NDArray
from skimage.util import img_as_float32

from tasks.kernels.checks import finite_float32, require_plane
from tasks.kernels.tv_loops import sweep

AT_ONCE = 8  # iterations in one pass over memory: their rows fit a cache of 512 KiB at 2048 columns
AT_FIRST = 6  # nearly every picture takes more than 4; one that takes fewer is done again, which costs little
SEARCHING = 2  # near the end: the stop may be either, and both results are kept
SURE = 0.7  # share of the way to the end, as it is foreseen, that is taken without looking
_NOTHING = np.empty((0, 0), np.float32)


def denoise_tv_chambolle(
    yx: NDArray[np.generic], weight: float = 0.02, eps: float = 2e-4, max_num_iter: int = 200
) -> NDArray[np.float32]:
    """Smooth a plane but keep its edges: the minimum of total variation plus squared distance to the plane.

    Parameters
    ----------
    yx
        Plane, axes y x. Integers are scaled by their dtype's range, as scikit-image does (65535 of uint16
        becomes 1); floats are taken as they are.
    weight
        Strength, in the units of the values; more smooths more.
    eps
        Stop where the energy changes by less than this share of the first energy.
    max_num_iter
        Stop after so many iterations at the latest.

    Returns
    -------
    Float32, smoothed: scikit-image's result on the float32 plane, within 1e-6.

    Raises
    ------
    ValueError
        If the plane is not finite, or an option is not positive.
    TypeError
        If it holds no real numbers.

    Notes
    -----
    See the module for the method. Memory: four float32 planes beside the given one.
    """
    _require_options(weight, max_num_iter, eps)
    require_plane(yx)
    plane = finite_float32(yx if yx.dtype.kind == "f" else img_as_float32(yx))
    descent, kept = _Descent(plane, weight), 2
    energies = descent.advance(min(AT_FIRST, max_num_iter), kept)
    while (stop := stop_iteration(energies, eps, max_num_iter)) is None:
        left = max_num_iter - energies.size
        count = min(_next_count(energies, eps), left)
        kept = 2 if count in (SEARCHING, left) else 0
        energies = np.append(energies, descent.advance(count, kept))
    if stop <= energies.size - kept:
        return tv_iterations(plane, weight, stop)
    return descent.smooth if stop == energies.size else descent.smooth_before


def tv_halo_px(iterations: int) -> int:
    """Return the halo, px on every side, with which `tv_energies` and `tv_iterations` of a core are exact.

    Parameters
    ----------
    iterations
        How many, 1 or more. The last iteration's energy needs as many pixels; its result one pixel less.

    Returns
    -------
    The halo. A block ends where the plane ends: its border there is the plane's own.
    """
    return iterations


def tv_energies(
    yx: NDArray[np.generic], core: tuple[slice, slice], weight: float, iterations: int
) -> NDArray[np.float64]:
    """Sum a region's share of the plane's energy, for each of the first iterations.

    Parameters
    ----------
    yx
        The region with a halo of `tv_halo_px(iterations)`, cut at the plane's borders, axes y x; values are
        taken as they are.
    core
        The region within the block, rows and columns.
    weight
        Strength of the denoising.
    iterations
        How many, 1 or more.

    Returns
    -------
    Float64, element k the sum at iteration k + 1. Over a partition of the plane into cores these add up to
    the plane's energies, but for the rounding of sums (1e-6 of them).

    Raises
    ------
    ValueError
        If the block is not finite, the core leaves it or is empty, or an option is not positive.
    """
    descent = _Descent(finite_float32(yx), weight, core)
    return np.concatenate([descent.advance(count) for count in _portions(weight, iterations)])


def stop_iteration(energies: NDArray[np.float64], eps: float, max_num_iter: int) -> int | None:
    """Return the iteration at which the rule stops.

    Parameters
    ----------
    energies
        The whole plane's energies at iterations 1, 2, ...
    eps
        Stop where the energy changes by less than this share of the first energy.
    max_num_iter
        Stop after so many iterations at the latest.

    Returns
    -------
    The number of iterations, or None where more energies are needed to tell. 1 where the first energy is
    zero: the plane is constant and no iteration changes it.
    """
    if energies[0] == 0:
        return 1
    small = np.flatnonzero(np.abs(np.diff(energies)) < eps * energies[0])
    if small.size and small[0] + 2 <= max_num_iter:
        return int(small[0]) + 2
    return max_num_iter if energies.size >= max_num_iter else None


def tv_iterations(yx: NDArray[np.generic], weight: float, iterations: int) -> NDArray[np.float32]:
    """Return the result after a given number of iterations.

    Parameters
    ----------
    yx
        Plane, or a region of one with a halo of `tv_halo_px(iterations)`, cut at the plane's borders, axes
        y x; values are taken as they are.
    weight
        Strength of the denoising.
    iterations
        How many, 1 or more; 1 gives the plane itself.

    Returns
    -------
    Float32, the block's shape. Inside the halo every pixel equals the whole plane's.

    Raises
    ------
    ValueError
        If the block is not finite, or an option is not positive.
    """
    descent = _Descent(finite_float32(yx), weight)
    *before, last = _portions(weight, iterations)
    for count in before:
        descent.advance(count)
    descent.advance(last, kept=1)
    return descent.smooth


class _Descent:
    """The state between iterations: the field p, and the last result or two, if they are kept."""

    def __init__(
        self, plane: NDArray[np.float32], weight: float, core: tuple[slice, slice] | None = None
    ) -> None:
        # Another layout, or a read-only array, would be another type to numba, and compiled anew.
        self.plane = np.require(plane, requirements=("C", "W"))
        height, width = plane.shape
        self.core = (0, height, 0, width) if core is None else _inside(core, plane.shape)
        self.weight = float(weight)  # an integer would be compiled anew, too
        self.down = np.zeros((height + 1, width), np.float32)
        self.right = np.zeros((height, width + 1), np.float32)
        self.smooth = self.smooth_before = _NOTHING

    def advance(self, iterations: int, kept: int = 0) -> NDArray[np.float64]:
        """Take some more iterations; return their energies. The results of the last 0, 1 or 2 are kept."""
        if kept >= 1 and self.smooth is _NOTHING:
            self.smooth = np.empty_like(self.plane)
        if kept == 2 and self.smooth_before is _NOTHING:
            self.smooth_before = np.empty_like(self.plane)
        return sweep(
            self.plane,
            self.down,
            self.right,
            self.smooth if kept >= 1 else _NOTHING,
            self.smooth_before if kept == 2 else _NOTHING,
            self.weight,
            self.core,
            iterations,
        )


def _next_count(energies: NDArray[np.float64], eps: float) -> int:
    """Return how many iterations to take next: most of the way to the end, where that can be foreseen.

    The energy's changes fall about like a power of the iteration. Its exponent is taken from the last change
    and each of the three before; the earliest end of these counts. One that comes earlier still is found all
    the same, and the iterations are done again.
    """
    size, changes = energies.size, np.abs(np.diff(energies))
    before, last = changes[-4:-1], changes[-1]
    if size <= 4 or last == 0 or (before <= last).any():
        return SEARCHING
    exponents = np.log(before / last) / np.log(size / np.arange(size - 3, size))
    with np.errstate(over="ignore"):
        ends = size * (last / (eps * energies[0])) ** (1 / exponents)
    return int(np.clip(SURE * (ends.min() - size), SEARCHING, AT_ONCE))


def _portions(weight: float, iterations: int) -> list[int]:
    """Split a number of iterations into what is taken at once."""
    _require_options(weight, iterations)
    whole, rest = divmod(iterations, AT_ONCE)
    return [AT_ONCE] * whole + [rest] * (rest > 0)


def _inside(core: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return first and stop row, first and stop column."""
    (top, bottom, _), (left, right, _) = core[0].indices(shape[0]), core[1].indices(shape[1])
    if top >= bottom or left >= right or any(part.step not in (None, 1) for part in core):
        raise ValueError(
            f"TV denoising: expected a core of at least one pixel inside the block of {shape}, found {core}; "
            "give the rows and columns of the region within its block"
        )
    return top, bottom, left, right


def _require_options(weight: float, iterations: int, eps: float = 1.0) -> None:
    if not (weight > 0 and eps > 0 and iterations >= 1):
        raise ValueError(
            "TV denoising: expected weight and eps above 0 and at least 1 iteration, "
            f"found {weight}, {eps}, {iterations}"
        )

"""How unevenly a chip was lit, estimated from its own frames, and frames freed of it.

The model is that of every flat-field method: counts = dark + flat * light, where `flat` is the same in all
frames of a chip and has mean 1, and `dark` is what the camera counts without light.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32

Array = NDArray[np.float64]

GRID = 16  # parts of the field along an edge whose background is looked at
NODES = 65  # samples of the flat-field along an edge, border to border
DEGREE = 4  # of the polynomial: a lens's falloff needs 4 (cos^4), more would follow nuclei
PERCENTILE = 10.0  # of a part's pixels: what lies between nuclei that cover most of it
QUANTILE = 0.1  # of all parts of all frames: many may show no background at all
LEAST_FRAMES = 4
LEAST_EDGE_PX = 4 * GRID
MOST_DISAGREEMENT = 0.05
_ROUNDS = 40
_FIRST_WIDTH, _LAST_WIDTH, _NARROWING = 0.05, 0.002, 0.8


@dataclass(frozen=True)
class Illumination:
    """The illumination of a chip.

    Attributes
    ----------
    yx : (65, 65) float32
        Relative light, mean 1, sampled evenly from border to border of the field.
    dark_counts : float
        Counts without light.
    """

    yx: NDArray[np.float32]
    dark_counts: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A flat-field and how far to trust it.

    Attributes
    ----------
    flat : Illumination
        The flat-field.
    frames : int
        Frames it rests on.
    disagreement : float
        Half the root mean square difference of the estimates from the first and the last half of the frames,
        relative: about the standard error of the flat-field.
    """

    flat: Illumination
    frames: int
    disagreement: float


def background_grid(yx: NDArray[np.generic], dark_counts: float = 0.0) -> Array:
    """Return the background in each of 16 x 16 parts of a frame: all that an estimate needs of it.

    Parameters
    ----------
    yx
        A frame, axes y x, best reduced to 256 px an edge or less (the mean of blocks of pixels).
    dark_counts
        Counts without light.

    Returns
    -------
    (16, 16) float64, the 10th percentile of each part less `dark_counts`. Nuclei are brighter than what is
    between them; grooves are darker, but in all parts alike.

    Raises
    ------
    ValueError
        If the frame is not finite or has fewer than 64 px an edge.
    """
    plane = finite_float32(yx)
    if min(plane.shape) < LEAST_EDGE_PX:
        raise ValueError(
            f"expected a frame of at least {LEAST_EDGE_PX} px an edge to see how it is lit, found "
            f"{plane.shape}; leave the illumination uncorrected"
        )
    rows = np.array_split(plane, GRID, axis=0)
    parts = [[_low(part) for part in np.array_split(row, GRID, axis=1)] for row in rows]
    return np.asarray(parts, dtype=np.float64) - dark_counts


def _low(part_yx: NDArray[np.float32]) -> float:
    place = int(PERCENTILE / 100 * part_yx.size)
    return float(np.partition(part_yx, place, axis=None)[place])


def estimate_flat(grids: Sequence[Array], dark_counts: float = 0.0) -> Estimate:
    """Return the flat-field of a chip from the background grids of its frames.

    Parameters
    ----------
    grids
        One of `background_grid` for each frame, neighbours being frames of one position.
    dark_counts
        What was subtracted from them.

    Returns
    -------
    The flat-field, the number of frames it rests on, and how well two halves of them agree.

    Raises
    ------
    ValueError
        If fewer than 4 frames have a background above `dark_counts` in every part of the field, or two halves
        of them differ by more than 5 % from their mean: there is too little background to see.

    Notes
    -----
    log grid[k, y, x] = brightness[k] + shading(y, x) + rest. The shading is a polynomial of total degree 4 in
    Chebyshev form, fitted to the 10 % quantile of all parts of all frames (Koenker and Bassett 1978,
    Econometrica 46, 33) by reweighted least squares whose width narrows to 0.2 %. Parts that nuclei cover lie
    far above it and have next to no say, however bright they are. One brightness for each frame and one field
    for all is the model of Smith et al. 2015 (CIDRE, Nat. Methods 12, 404) and Peng et al. 2017 (BaSiC, Nat.
    Commun. 8, 14836); these see each pixel through many frames, as does the median of Singh et al. 2014 (J.
    Microsc. 256, 231). Percentiles inside the frame make four of them suffice, with nuclei that stay put.
    """
    lit = [grid for grid in grids if grid.min() > 0]
    if len(lit) < LEAST_FRAMES:
        raise ValueError(
            f"expected at least {LEAST_FRAMES} frames with light above {dark_counts:g} counts in every part "
            f"of the field, found {len(lit)} of {len(grids)}; add frames of the same chip, lower the dark "
            "counts, or leave the illumination uncorrected"
        )
    logs = np.log(np.stack(lit)).reshape(len(lit), -1)
    half = len(lit) // 2
    first, last, whole = _shape_of(logs[:half]), _shape_of(logs[-half:]), _shape_of(logs)
    disagreement = float(np.sqrt(np.mean((first / last - 1) ** 2))) / 2
    if disagreement > MOST_DISAGREEMENT:
        raise ValueError(
            f"expected two halves of {len(lit)} frames to give an illumination within "
            f"{MOST_DISAGREEMENT:.0%} of their mean, found {disagreement:.1%}: too little background "
            "shows between the nuclei, or they were lit differently; add frames of the same chip, or leave "
            "it uncorrected"
        )
    return Estimate(Illumination(whole.astype(np.float32), dark_counts), len(lit), disagreement)


def _shape_of(logs: Array) -> Array:
    """Return the flat-field (65, 65) of frames whose log backgrounds are given, (frames, 256)."""
    centres = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    coefficients = _quantile_fit(_basis(centres), logs)
    smooth = np.exp(_basis(np.linspace(-1, 1, NODES)) @ coefficients).reshape(NODES, NODES)
    return np.asarray(smooth / smooth.mean())


def _basis(places: Array) -> Array:
    """Return the polynomials up to the total degree at a square of places in [-1, 1], (places^2, terms)."""
    one = chebvander(places, DEGREE)
    pairs = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    return np.stack([np.outer(one[:, i], one[:, j]).ravel() for i, j in pairs], axis=1)


def _quantile_fit(basis: Array, logs: Array) -> Array:
    """Return the coefficients of the shading at the quantile; the constant is the frames' brightness."""
    coefficients = np.zeros(basis.shape[1])
    for number in range(_ROUNDS):
        shading = basis @ coefficients
        level = logs - np.quantile(logs - shading, QUANTILE, axis=1, keepdims=True)
        rest = level - shading
        width = max(_FIRST_WIDTH * _NARROWING**number, _LAST_WIDTH)
        weights = np.where(rest > 0, QUANTILE, 1 - QUANTILE) / np.maximum(np.abs(rest), width)
        squares = (basis.T * weights.sum(axis=0)) @ basis
        coefficients = np.linalg.lstsq(squares, basis.T @ (weights * level).sum(axis=0), rcond=None)[0]
    return coefficients


def correct(yx: NDArray[np.generic], flat: Illumination) -> NDArray[np.float32]:
    """Free a frame of its illumination: (counts - dark) / flat.

    Parameters
    ----------
    yx
        A whole frame of the chip, axes y x, any real dtype.
    flat
        The chip's flat-field; it is stretched over the frame by linear interpolation.

    Returns
    -------
    Float32, axes y x, as bright on average as before, less the dark counts.

    Raises
    ------
    ValueError
        If the frame is no plane or not finite.
    """
    return correct_region(yx, flat, origin_yx=(0, 0), shape_yx=(yx.shape[0], yx.shape[-1]))


def correct_region(
    yx: NDArray[np.generic], flat: Illumination, *, origin_yx: tuple[int, int], shape_yx: tuple[int, int]
) -> NDArray[np.float32]:
    """Free a part of a frame of its illumination, exactly as `correct` does with the whole frame.

    Parameters
    ----------
    yx
        Part of a frame, axes y x, any real dtype.
    flat
        The chip's flat-field.
    origin_yx
        Where the part begins in the frame, px.
    shape_yx
        Shape of the whole frame, px.

    Returns
    -------
    Float32, axes y x.

    Raises
    ------
    ValueError
        If the part is no plane, is not finite or does not lie in the frame.
    """
    plane = finite_float32(yx)
    stop_yx = tuple(start + size for start, size in zip(origin_yx, plane.shape, strict=True))
    if min(origin_yx) < 0 or stop_yx[0] > shape_yx[0] or stop_yx[1] > shape_yx[1]:
        raise ValueError(
            f"expected a part of a frame of {shape_yx}, found {origin_yx} to {stop_yx}; give where it begins"
        )
    along_y = _stretched(flat.yx, origin_yx[0], stop_yx[0], shape_yx[0])
    along_x = _stretched(along_y.T, origin_yx[1], stop_yx[1], shape_yx[1])
    corrected: NDArray[np.float32] = (plane - np.float32(flat.dark_counts)) / along_x.T
    return corrected


def _stretched(nodes: NDArray[np.float32], start: int, stop: int, size: int) -> NDArray[np.float32]:
    """Return rows `start` to `stop` of the first axis stretched to `size` rows.

    Each row is the same sum of two, whichever others are asked for: a matrix product would round differently.
    """
    places = (np.arange(start, stop) + 0.5) / size * (len(nodes) - 1)
    below = np.minimum(places.astype(np.intp), len(nodes) - 2)
    share = (places - below).astype(np.float32)[:, None]
    rows: NDArray[np.float32] = nodes[below] * (1 - share) + nodes[below + 1] * share
    return rows

"""Single nuclei: outline, chromatin and nucleoli in the nucleus's own frame, micrometres, long axis along v.

A nucleus is star-shaped: a radius for each direction. A bent one is a star-shaped nucleus whose long axis was
laid on a circular arc, so unbending a point is enough to draw it. The model is this project's own. All shapes
share one distribution of area, so area alone does not tell the populations apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

_DIRECTIONS = np.linspace(0.0, 2.0 * np.pi, 180, endpoint=False)
_OUTLINE_POINTS = 60
_DIAMETER_UM = 12.0
LARGEST_REACH_UM = 12.0
_TEXTURE_STEP_UM = 0.35
_TEXTURE_SIDE = 81


@dataclass(frozen=True)
class NucleusShape:
    """Outline and texture of one nucleus.

    Attributes
    ----------
    radius_um : (180,) float64
        Radius in the directions 0, 2, ... 358 degrees from v towards u, before bending.
    bend_per_um : float
        Curvature of the arc the long axis lies on; 0 is straight, the sign says to which side it is convex.
    texture_vu : (81, 81) float64
        Relative brightness around 1, a sample every 0.35 um, centred.
    """

    radius_um: Array
    bend_per_um: float
    texture_vu: Array

    @property
    def _arc_shift_um(self) -> float:
        half_angle = abs(self.bend_per_um) * float(self.radius_um[0])
        return 0.0 if half_angle == 0 else (1.0 - np.sin(half_angle) / half_angle) / abs(self.bend_per_um)

    def unbend(self, u_um: Array, v_um: Array) -> tuple[Array, Array]:
        """Map points of the nucleus's frame to the straight nucleus: across and along its axis, in um."""
        if self.bend_per_um == 0:
            return u_um, v_um
        side, arc_um = np.sign(self.bend_per_um), 1.0 / abs(self.bend_per_um)
        from_centre_um = side * u_um - self._arc_shift_um + arc_um
        across_um = side * (np.hypot(from_centre_um, v_um) - arc_um)
        return across_um, arc_um * np.arctan2(v_um, from_centre_um)

    def depth(self, u_um: Array, v_um: Array) -> Array:
        """Distance from the centre as a fraction of the radius in that direction: below 1 is inside."""
        across_um, along_um = self.unbend(u_um, v_um)
        direction = np.arctan2(across_um, along_um)
        radius_um = np.interp(direction, _DIRECTIONS, self.radius_um, period=2.0 * np.pi)
        return np.asarray(np.hypot(across_um, along_um) / radius_um)

    def texture(self, u_um: Array, v_um: Array) -> Array:
        """Relative brightness at points of the nucleus's frame; it bends with the nucleus."""
        across_um, along_um = self.unbend(u_um, v_um)
        samples = np.stack([along_um, across_um]) / _TEXTURE_STEP_UM + (_TEXTURE_SIDE - 1) / 2
        return np.asarray(ndimage.map_coordinates(self.texture_vu, samples, order=1, mode="nearest"))

    def outline_uv(self) -> Array:
        """Sixty points on the outline, (60, 2) as u, v in um in the nucleus's frame."""
        direction = np.linspace(0.0, 2.0 * np.pi, _OUTLINE_POINTS, endpoint=False)
        radius_um = np.interp(direction, _DIRECTIONS, self.radius_um, period=2.0 * np.pi)
        across_um, along_um = radius_um * np.sin(direction), radius_um * np.cos(direction)
        if self.bend_per_um == 0:
            return np.stack([across_um, along_um], axis=1)
        side, arc_um = np.sign(self.bend_per_um), 1.0 / abs(self.bend_per_um)
        reach_um, angle = arc_um + side * across_um, along_um / arc_um
        u_um = side * (reach_um * np.cos(angle) - arc_um + self._arc_shift_um)
        return np.stack([u_um, reach_um * np.sin(angle)], axis=1)


def draw_shape(population: str, rng: np.random.Generator) -> NucleusShape:
    """Draw a nucleus of one population: area as of a disc of about 12 um, 10 percent of standard deviation.

    Parameters
    ----------
    population : str
        "round", "elongated", "bent" or "lobed".
    rng : numpy.random.Generator
        Where the numbers come from.

    Returns
    -------
    NucleusShape
        Round: aspect 1.0 to 1.12. Elongated: aspect 1.7 to 2.3. Bent: aspect 2.2 to 2.8 on an arc of 90 to
        130 degrees. Lobed: 3 to 5 lobes.

    Raises
    ------
    ValueError
        If the population is not one of the four.
    """
    if population not in _ASPECTS:
        raise ValueError(
            f"expected one of {', '.join(_ASPECTS)}, found population {population!r}; choose one of these"
        )
    radius = _ellipse_radius(rng.uniform(*_ASPECTS[population])) * (1.0 + _roughness(rng))
    if population == "lobed":
        radius = radius * _lobes(rng)
    diameter_um = _DIAMETER_UM * np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)
    radius_um = radius * diameter_um / 2.0 / np.sqrt(np.mean(radius**2))
    bend_per_um = 0.0
    if population == "bent":
        arc_rad = np.deg2rad(rng.uniform(90.0, 130.0))
        bend_per_um = float(rng.choice([-1.0, 1.0]) * arc_rad / (2.0 * radius_um[0]))
    return NucleusShape(radius_um, bend_per_um, _chromatin(radius_um, rng))


_ASPECTS = {"round": (1.0, 1.12), "elongated": (1.7, 2.3), "bent": (2.2, 2.8), "lobed": (1.0, 1.15)}


def _ellipse_radius(aspect: float) -> Array:
    return np.asarray(
        1.0 / np.hypot(np.cos(_DIRECTIONS) / np.sqrt(aspect), np.sin(_DIRECTIONS) * np.sqrt(aspect))
    )


def _roughness(rng: np.random.Generator) -> Array:
    """No nucleus is a perfect ellipse: harmonics 2 to 6, about 2 percent of the radius."""
    orders = np.arange(2, 7)
    weights = rng.normal(0.0, 0.012, orders.size)
    return np.asarray(
        weights @ np.cos(np.outer(orders, _DIRECTIONS) + rng.uniform(0, 2 * np.pi, (orders.size, 1)))
    )


def _lobes(rng: np.random.Generator) -> Array:
    """Factor on the radius: 3 to 5 unequal, rounded lobes between narrow clefts; more are shallower."""
    count = int(rng.integers(3, 6))
    height = {3: 0.21, 4: 0.18, 5: 0.16}[count] * rng.uniform(0.85, 1.15)
    crooked = _DIRECTIONS + 0.15 * np.cos(_DIRECTIONS + rng.uniform(0, 2 * np.pi))
    cleft = np.abs(np.sin(count * crooked / 2 + rng.uniform(0, np.pi)))
    unequal = 1.0 + 0.3 * np.cos(_DIRECTIONS + rng.uniform(0, 2 * np.pi))
    return np.asarray(1.0 + height * unequal * (2.0 * np.sqrt(cleft**2 + 0.04) - 1.0))


def _chromatin(radius_um: Array, rng: np.random.Generator) -> Array:
    """Fine and coarse smooth noise, with one to four dark nucleoli inside the inner two thirds."""
    noise = rng.standard_normal((2, _TEXTURE_SIDE, _TEXTURE_SIDE))
    grains = _unit_noise(noise[0], 0.6 / _TEXTURE_STEP_UM)
    patches = _unit_noise(noise[1], 1.8 / _TEXTURE_STEP_UM)
    texture_vu = np.exp(0.10 * grains + 0.10 * patches)
    half_um = (np.arange(_TEXTURE_SIDE) - (_TEXTURE_SIDE - 1) / 2) * _TEXTURE_STEP_UM
    for _ in range(int(rng.integers(1, 5))):
        index = int(rng.integers(radius_um.size))
        reach_um = 0.65 * radius_um[index] * np.sqrt(rng.uniform())
        v_um, u_um = reach_um * np.cos(_DIRECTIONS[index]), reach_um * np.sin(_DIRECTIONS[index])
        squared = (half_um[:, None] - v_um) ** 2 + (half_um[None, :] - u_um) ** 2
        texture_vu *= 1.0 - rng.uniform(0.25, 0.45) * np.exp(-squared / (2.0 * rng.uniform(0.6, 1.0) ** 2))
    return np.asarray(texture_vu)


def _unit_noise(noise_vu: Array, sigma_px: float) -> Array:
    smooth_vu = ndimage.gaussian_filter(noise_vu, sigma_px, mode="wrap")
    return np.asarray(smooth_vu / smooth_vu.std())

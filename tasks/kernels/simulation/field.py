"""The field's pixels in the chip's coordinates: u across the grooves and v along them, in micrometres."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Field:
    """Coordinates of each pixel's centre, (y, x) float64 in um."""

    u_yx: Array
    v_yx: Array

    @property
    def origin_uv(self) -> Array:
        """The first pixel's centre, (2,) as u, v in um."""
        return self._at(0, 0)

    @property
    def steps_uv(self) -> Array:
        """One pixel down and one pixel right, (2, 2) as u, v in um."""
        return np.stack([self._at(1, 0), self._at(0, 1)]) - self.origin_uv

    def _at(self, y: int, x: int) -> Array:
        return np.array([self.u_yx[y, x], self.v_yx[y, x]])

    def pixel_of(self, points_uv: Array) -> Array:
        """Rows and columns of points (..., 2), as fractions."""
        pixel_area_um2 = (self.steps_uv[0] ** 2).sum()
        return np.asarray((points_uv - self.origin_uv) @ self.steps_uv.T / pixel_area_um2)

    def contains(self, points_uv: Array) -> NDArray[np.bool_]:
        """Whether each point (..., 2) lies on a pixel of the field."""
        rows_columns = self.pixel_of(points_uv)
        inside = (rows_columns >= -0.5) & (rows_columns < np.array(self.u_yx.shape) - 0.5)
        return np.asarray(inside.all(axis=-1))

    def widened(self, margin_px: float) -> Array:
        """Three corners (3, 2) in um of the field with a margin: upper left, lower left, upper right."""
        height_px, width_px = self.u_yx.shape
        low, bottom, right = -0.5 - margin_px, height_px - 0.5 + margin_px, width_px - 0.5 + margin_px
        corners = np.array([[low, low], [bottom, low], [low, right]])
        return np.asarray(corners @ self.steps_uv + self.origin_uv)

    def window(self, outline_uv: Array) -> tuple[slice, slice]:
        """The rows and columns of the field that hold an outline (k, 2)."""
        rows_columns = self.pixel_of(outline_uv)
        low = np.clip(np.floor(rows_columns.min(axis=0)).astype(int) - 1, 0, self.u_yx.shape)
        high = np.clip(np.ceil(rows_columns.max(axis=0)).astype(int) + 2, 0, self.u_yx.shape)
        return slice(low[0], high[0]), slice(low[1], high[1])


def make_field(
    height_px: int, width_px: int, *, pixel_size_um: float, angle_deg: float, phase_um: float = 0.0
) -> Field:
    """Lay the chip's coordinates over a field of pixels.

    A counter-clockwise rotation by `angle_deg` on the screen makes the grooves vertical, so the grooves are
    turned clockwise by it: with y downwards, u = x cos a + y sin a + phase and v = -x sin a + y cos a.

    Parameters
    ----------
    height_px, width_px : int
        Size of the field.
    pixel_size_um : float
        Edge of a pixel.
    angle_deg : float
        The grooves' angle.
    phase_um : float
        u in the field's centre, where v is 0.

    Returns
    -------
    Field
        Coordinates of every pixel.
    """
    y_um = (np.arange(height_px) - (height_px - 1) / 2)[:, None] * pixel_size_um
    x_um = (np.arange(width_px) - (width_px - 1) / 2)[None, :] * pixel_size_um
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return Field(x_um * cosine + y_um * sine + phase_um, -x_um * sine + y_um * cosine)

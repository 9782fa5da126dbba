"""Pictures of strokes set upright and in the middle, so that slant and place are no differences."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]


def upright(nyx: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Shear each picture so that its strokes stand upright, and put its centre of mass in the middle.

    With the moments m of a picture's intensity about its centre of mass (Hu, 1962), the slant is
    s = m_xy / m_yy columns a row; each row y moves by -s (y - centre), in one bilinear interpolation. The
    moment m_xy is 0 afterwards. What comes in from outside is 0; a black picture stays as it is.

    Parameters
    ----------
    nyx
        (n, y, x), 0 or more, background 0.

    Returns
    -------
    numpy.ndarray
        The same shape and dtype.
    """
    out = np.empty_like(nyx)
    for i, (slant, (cy, cx)) in enumerate(zip(*slants(nyx), strict=True)):
        rows, columns = nyx.shape[1:]
        my, mx = (rows - 1) / 2, (columns - 1) / 2
        back = np.array([[1.0, slant, cx - mx - slant * my], [0.0, 1.0, cy - my]])
        out[i] = cv2.warpAffine(nyx[i], back, (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return out


def slants(nyx: npt.NDArray[Any]) -> tuple[Float32s, Float32s]:
    """Return slant (n,), in columns a row, and centre of mass (n, 2) as y and x, of pictures (n, y, x)."""
    y, x = (np.arange(length, dtype=np.float32) for length in nyx.shape[1:])
    values = nyx.astype(np.float32)
    by_row, by_column = values.sum(2), values.sum(1)
    mass = by_row.sum(1)
    safe = np.where(mass > 0, mass, 1.0)
    middle = np.array([y.mean(), x.mean()], dtype=np.float32)
    centre = np.stack([by_row @ y, by_column @ x], axis=1) / safe[:, None]
    centre = np.where(mass[:, None] > 0, centre, middle)
    yy = (by_row * (y - centre[:, :1]) ** 2).sum(1)
    xy = np.einsum("nyx,y,x->n", values, y, x) - mass * centre[:, 0] * centre[:, 1]
    return np.where(yy > 0, xy / np.where(yy > 0, yy, 1.0), 0.0).astype(np.float32), centre.astype(np.float32)

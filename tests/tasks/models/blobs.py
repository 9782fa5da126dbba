"""Simple patches: a bright ellipse on black, lying or standing."""

import numpy as np
import numpy.typing as npt


def ellipses_ncyx(n: int, side_px: int = 24, seed: int = 0) -> npt.NDArray[np.float32]:
    """Float32 (n, 1, side_px, side_px) in [0, 1]: every second ellipse stands, the others lie."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
    long, short = rng.uniform(0.3, 0.45, (2, n, 1, 1)) * side_px * np.array([1.0, 0.4]).reshape(2, 1, 1, 1)
    stands = (np.arange(n) % 2 == 0).reshape(n, 1, 1)
    half_y, half_x = np.where(stands, long, short), np.where(stands, short, long)
    inside = np.clip(3.0 * (1.0 - (y / half_y) ** 2 - (x / half_x) ** 2), 0.0, 1.0)
    return inside[:, None].astype(np.float32)

"""Networks for tests: one that knows the answer, and one with drawn weights."""

from dataclasses import dataclass, field

import numpy as np

from tasks.kernels.flow_targets import flows_from_labels
from tasks.models.network import MARGIN_PX

SIDE = 8192


def coordinates(shape, *, start=1):
    """A picture, float32 in (0, 1], that says where it was cut: rows in even columns, columns in odd ones."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (np.where(x % 2 == 0, y, x) + start).astype(np.float32) / np.float32(SIDE)


@dataclass
class KnowsTheAnswer:
    """Gives the true flows of known labels, of pictures made by `coordinates`, whatever part is asked for."""

    labels_yx: np.ndarray
    grey: tuple[float, float]
    diameter_px: float = 17.0
    patch_px: int = 128
    overlap_px: int = 32
    multiple_px: int = 8
    name: str = "answer"
    digest: str = "0" * 16
    any_diameter: bool = False
    bytes_a_px: int = 100
    asked: list = field(default_factory=list)

    def __post_init__(self):
        inside = np.where(self.labels_yx > 0, 4, -4)[None]
        maps = np.concatenate([5 * flows_from_labels(self.labels_yx), inside])
        around = (MARGIN_PX, 256)
        self.maps_cyx = np.pad(maps, ((0, 0), around, around), constant_values=-4).astype(np.float32)

    def maps(self, nyx):
        return np.stack([self._maps(yx) for yx in nyx])

    def _maps(self, yx):
        low, high = self.grey
        first = yx[MARGIN_PX, MARGIN_PX : MARGIN_PX + 2]  # what is before may lie outside the picture
        top, left = (round((float(value) * (high - low) + low) * SIDE) - 1 for value in first)
        left -= 1  # the second pixel tells the column
        self.asked.append((top, left))
        return self.maps_cyx[:, top : top + yx.shape[0], left : left + yx.shape[1]]


def nuclei(shape, count, *, seed=0, on_borders_of=None, borders=0, axes_px=(5, 9)):
    """Labels of ellipses that do not touch, `borders` of them across a line every `on_borders_of` px."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    taken = np.zeros(shape, bool)
    made = 0
    while made < count:
        centre = rng.uniform(0, shape)
        if made < borders:
            axis = rng.integers(2)
            line = rng.integers(1, shape[axis] // on_borders_of) * on_borders_of
            centre[axis] = line + rng.uniform(-2, 2)
        radii = rng.uniform(*axes_px, 2)
        turn = rng.uniform(0, np.pi)
        reach = int(radii.max()) + 2
        top, left = np.maximum(centre.astype(int) - reach, 0)
        part = (slice(top, int(centre[0]) + reach), slice(left, int(centre[1]) + reach))
        y, x = np.mgrid[part]
        dy, dx = y - centre[0], x - centre[1]
        along, across = dy * np.cos(turn) + dx * np.sin(turn), dx * np.cos(turn) - dy * np.sin(turn)
        disc = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
        if y.size == 0 or (taken[part] & (disc <= 1.5)[: taken[part].shape[0], : taken[part].shape[1]]).any():
            continue
        disc = disc[: taken[part].shape[0], : taken[part].shape[1]]
        if not (disc <= 1).any():
            continue
        made += 1
        labels[part][disc <= 1] = made
        taken[part] |= disc <= 1
    return labels

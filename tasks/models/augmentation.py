"""Small random changes of patches that leave what they show the same."""

import math
import sys
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Float32Array = npt.NDArray[np.float32]
LIGHT_POINTS = 6
"""Random numbers along a side of a patch, between which light changes smoothly."""


@dataclass(frozen=True)
class Augmentation:
    """How far patches are changed at random each time they are shown; the default changes nothing."""

    flips: bool = False
    """Flip up-down and left-right, each with chance 1/2; both together are a turn by 180 degrees."""
    mirror: bool = False
    """Flip left-right alone with chance 1/2, where up and down are not the same."""
    intensity: float = 0.0
    """Largest relative change of a patch's intensity, 0 to 1; the result is clipped to [0, 1]."""
    gamma: float = 0.0
    """Largest change of contrast: intensities to powers from exp(-gamma) to exp(gamma)."""
    light: float = 0.0
    """Largest relative change of intensity that varies smoothly over the patch, 0 to 1."""
    turn_deg: float = 0.0
    """Largest turn in degrees, to either side."""
    shift: float = 0.0
    """Largest shift along each axis, as a share of the patch's side."""
    scale: float = 0.0
    """Largest change of size: factors from exp(-scale) to exp(scale)."""
    shear: float = 0.0
    """Largest shear: shift of a row as a share of its distance from the middle."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not 0 <= value <= (1 if one.name in ("intensity", "light") else sys.float_info.max):
                raise ValueError(
                    f"expected {one.name} of 0 or more, intensity and light up to 1, found {value}: change it"
                )

    @property
    def warps(self) -> bool:
        """Whether pixels are moved by anything but flips."""
        return max(self.turn_deg, self.shift, self.scale, self.shear) > 0


def augmented(ncyx: Float32Array, how: Augmentation, rng: np.random.Generator) -> Float32Array:
    """Patches (n, c, y, x) in [0, 1], each changed in its own way; what comes in from outside is 0."""
    if how.flips:
        ncyx = random_flips(ncyx, rng)
    if how.mirror:
        ncyx = np.where(rng.random((len(ncyx), 1, 1, 1)) < 0.5, ncyx[..., ::-1], ncyx)
    if how.warps:
        ncyx = _warped(ncyx, how, rng)
    if how.gamma:
        ncyx = ncyx ** np.exp(how.gamma * _drawn(ncyx, rng))
    if how.light:
        ncyx = np.clip(ncyx * (1 + how.light * _smooth(ncyx, rng)), 0.0, 1.0)
    if how.intensity:
        ncyx = np.clip(ncyx * (1 + how.intensity * _drawn(ncyx, rng)), 0.0, 1.0)
    return np.ascontiguousarray(ncyx)


def random_flips(ncyx: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Flip each patch up-down and left-right, each with chance 1/2; both together turn it by 180 degrees.

    These four are the symmetries of a chip with vertical grooves: a turn by 90 degrees would lay the grooves
    across.
    """
    up_down, left_right = rng.random((2, len(ncyx), 1, 1, 1)) < 0.5
    turned = np.where(up_down, ncyx[:, :, ::-1, :], ncyx)
    return np.where(left_right, turned[:, :, :, ::-1], turned)


def _drawn(ncyx: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A number in [-1, 1] for each patch."""
    return rng.uniform(-1, 1, (len(ncyx), 1, 1, 1)).astype(np.float32)


def _smooth(ncyx: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A field in [-1, 1] for each patch, the same in all channels: few random numbers, linear between."""
    few = rng.uniform(-1, 1, (len(ncyx), 1, LIGHT_POINTS, LIGHT_POINTS)).astype(np.float32)
    field = functional.interpolate(torch.from_numpy(few), size=ncyx.shape[2:], mode="bilinear")
    return np.asarray(field.numpy(), dtype=np.float32)


def _warped(ncyx: Float32Array, how: Augmentation, rng: np.random.Generator) -> Float32Array:
    """One bilinear interpolation through a random affine map of each patch (turn, size, shear, shift)."""
    drawn = rng.uniform(-1, 1, (5, len(ncyx))).astype(np.float32)
    turn, size, shear, right, down = torch.from_numpy(drawn)
    angle, shrink = turn * math.radians(how.turn_deg), torch.exp(size * how.scale)
    cos, sin = torch.cos(angle) * shrink, torch.sin(angle) * shrink
    slant = shear * how.shear
    rows = [cos, cos * slant + sin, 2 * how.shift * right, -sin, cos - sin * slant, 2 * how.shift * down]
    maps = torch.stack(rows, dim=1).reshape(-1, 2, 3)  # in grid_sample's units a side is 2 long
    patches: Tensor = torch.from_numpy(np.ascontiguousarray(ncyx))
    grid = functional.affine_grid(maps, list(patches.shape), align_corners=False)
    found = functional.grid_sample(patches, grid, align_corners=False)
    return found.clamp_(0.0, 1.0).numpy()

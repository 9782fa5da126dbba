"""Networks of the architecture of Cellpose 1 to 3, asked for the maps of images."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.models.cellpose_net import OUTPUT_MAPS, ResidualUNet, inference
from tasks.models.device import fitting
from tasks.models.networks import Maps

_PATCH_FEATURES = 8192  # features that a row of a patch holds at the finest scale: about what a cache does
_OVERLAP_PX = 64
_BYTES_A_FEATURE = 40  # of memory at the peak, for each pixel and feature of the finest scale
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class ConvolutionalNetwork:
    """A network of the architecture of Cellpose 1 to 3; see `FlowNetwork`.

    It moves to the device with the first image: workers that only follow flows need no GPU.
    """

    name: str
    digest: str
    diameter_px: float
    net: ResidualUNet
    device: torch.device

    any_diameter = False
    overlap_px = _OVERLAP_PX

    @property
    def multiple_px(self) -> int:  # noqa: D102
        return self.net.config.multiple_px

    @property
    def patch_px(self) -> int:  # noqa: D102
        step = max(self.multiple_px, 8)
        return max(192, _PATCH_FEATURES // self.net.config.widths[0] // step * step)

    @property
    def bytes_a_px(self) -> int:  # noqa: D102
        return _BYTES_A_FEATURE * self.net.config.widths[0]

    def maps(self, nyx: NDArray[np.float32]) -> Maps:  # noqa: D102
        n, height, width = nyx.shape
        at_once = fitting(self.device, height * width * self.bytes_a_px, _MOST_AT_ONCE)
        found = np.empty((n, OUTPUT_MAPS, height, width), np.float32)
        for start in range(0, n, at_once):
            found[start : start + at_once] = self._maps(nyx[start : start + at_once])
        return found

    def _maps(self, nyx: NDArray[np.float32]) -> Maps:
        n, height, width = nyx.shape
        ncyx = torch.zeros((n, self.net.config.in_channels, height, width))
        ncyx[:, 0] = torch.from_numpy(nyx)
        with inference(self.device):
            maps = self.net.to(self.device)(ncyx.to(self.device, memory_format=torch.channels_last)).maps_ncyx
        found: Maps = maps.cpu().numpy()
        return found

"""The network of Cellpose 1 to 3: a residual U-Net that predicts flows to the middle of each cell."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.cellpose_blocks import CONVS_A_BLOCK, DownBlock, UpBlock, normed_conv
from tasks.models.device import mixed_precision

OUTPUT_MAPS = 3
"""Flow along y, flow along x (both times 5, as trained) and the logit of being in a cell."""
DEFAULT_DIAMETER_PX = 30.0


@dataclass(frozen=True)
class CellposeConfig:
    """What shapes the weights: two equal configs build networks whose weights are interchangeable."""

    in_channels: int = 2
    """Channels of an image; 2 in the published networks (what to segment, then nuclei or zeros)."""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Feature maps at each scale, finest first; the image is halved between one scale and the next."""

    def __post_init__(self) -> None:
        if self.in_channels < 1 or not self.widths or min(self.widths) < 1:
            raise ValueError(
                f"expected one channel and one width or more, each at least 1, found {self}: "
                "give for example in_channels=2, widths=(32, 64, 128, 256)"
            )

    @property
    def multiple_px(self) -> int:
        """What each side of an image must be divisible by, so that every halving is exact."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def reach_px(self) -> int:
        """How far from a pixel the image can decide about the maps there, the style being held fixed.

        At each scale four 3 x 3 convolutions look one pixel of that scale further on the way down and four on
        the way up; the poolings and enlargements add less than one coarsest pixel.
        """
        return 2 * CONVS_A_BLOCK * (2 * self.multiple_px - 1) + self.multiple_px - 1


class CellposeMaps(NamedTuple):
    """What the network says about a batch of images, in float32."""

    maps_ncyx: Tensor
    """Flow along y, flow along x, logit of being in a cell; shape (n, 3, y, x)."""
    style: Tensor
    """Summary of each image, of length 1; shape (n, widths[-1])."""


class ResidualUNet(nn.Module):
    """The passes of the network, whatever its blocks compute with; see `CellposeNet`."""

    def __init__(self, config: CellposeConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def down_blocks(self) -> Sequence[nn.Module]:
        """Blocks of the way down, finest first: features (n, c, y, x) in and out."""

    @abstractmethod
    def up_blocks(self) -> Sequence[nn.Module]:
        """Blocks of the way up, finest first: coarser features, skipped ones and style in, features out."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Maps (n, 3, y, x) from the features of the finest scale."""

    def encode(self, ncyx: Tensor) -> list[Tensor]:
        """Features of each scale, finest first.

        Parameters
        ----------
        ncyx
            Images, float32, shape (n, in_channels, y, x); cells scaled to the diameter trained for, and
            intensities so that 0 and 1 are the 1st and the 99th percentile.

        Raises
        ------
        ValueError
            The images have other channels, or sides that `config.multiple_px` does not divide.
        """
        channels, step = self.config.in_channels, self.config.multiple_px
        if ncyx.ndim != 4 or ncyx.shape[1] != channels or any(n == 0 or n % step for n in ncyx.shape[2:]):
            raise ValueError(
                f"expected images (n, {channels}, y, x) with sides divisible by {step}, found "
                f"{tuple(ncyx.shape)}: choose {channels} channels and pad the sides"
            )
        features: list[Tensor] = []
        for block in self.down_blocks():
            ncyx = block(functional.max_pool2d(features[-1], 2) if features else ncyx)
            features.append(ncyx)
        return features

    def decode(self, features: Sequence[Tensor], style: Tensor) -> Tensor:
        """Maps (n, 3, y, x), float32, from the features of `encode` and a style (n, widths[-1]).

        The style need not be the images' own: tiles of one plane that share the plane's style give the
        plane's maps, as far as `config.reach_px` from their borders.
        """
        rising = features[-1]
        for block, skip in zip(reversed(self.up_blocks()), reversed(features), strict=True):
            rising = block(rising, skip, style)
        return self.head(rising).float()

    def forward(self, ncyx: Tensor) -> CellposeMaps:
        """Maps and style of images (n, in_channels, y, x); see `encode` for what the images must be."""
        features = self.encode(ncyx)
        style = style_of(features[-1])
        return CellposeMaps(self.decode(features, style), style)


class CellposeNet(ResidualUNet):
    """Convolutional network of Cellpose (Stringer et al., 2021, doi:10.1038/s41592-020-01018-x).

    Every convolution is preceded by batch normalisation and a rectifier (He et al., 2016, arXiv:1603.05027).
    At each scale a block of the way down has two residual pairs of 3 x 3 convolutions, and 2 x 2 maxima lead
    to the next. The style is the mean of the deepest features over the image, scaled to length 1. A block of
    the way up doubles its input by repetition, adds the features of its own scale, and adds a linear function
    of the style before each convolution but the first.

    Parameters and buffers are named as in the state dictionaries of Cellpose 1 to 3. Weights are kept
    channels-last, which on a CPU is 1.2 to 1.5 times as fast.

    Parameters
    ----------
    config
        Channels and widths.

    Attributes
    ----------
    diam_mean
        Diameter in pixels, shape (1,), that cells are to be rescaled to.
    diam_labels
        Mean diameter in pixels, shape (1,), of the cells that the network last learned from.
    """

    diam_mean: Tensor
    diam_labels: Tensor

    def __init__(self, config: CellposeConfig) -> None:
        super().__init__(config)
        widths = config.widths
        down = zip((config.in_channels, *widths), widths, strict=False)
        up = zip((*widths[1:], widths[-1]), widths, strict=True)
        deepest = len(widths) - 1
        self.downsample = nn.ModuleDict(
            {"down": nn.ModuleDict({f"res_down_{i}": DownBlock(*pair) for i, pair in enumerate(down)})}
        )
        self.upsample = nn.ModuleDict(
            {
                "up": nn.ModuleDict(
                    {
                        f"res_up_{i}": UpBlock(*pair, widths[-1], doubling=i < deepest)
                        for i, pair in enumerate(up)
                    }
                )
            }
        )
        self.output = normed_conv(widths[0], OUTPUT_MAPS, side=1)
        self.register_buffer("diam_mean", torch.full((1,), DEFAULT_DIAMETER_PX))
        self.register_buffer("diam_labels", torch.full((1,), DEFAULT_DIAMETER_PX))
        self.to(memory_format=torch.channels_last)

    def down_blocks(self) -> Sequence[nn.Module]:  # noqa: D102
        return list(self.downsample["down"].children())

    def up_blocks(self) -> Sequence[nn.Module]:  # noqa: D102
        return list(self.upsample["up"].children())

    def head(self, features: Tensor) -> Tensor:  # noqa: D102
        maps: Tensor = self.output(features)
        return maps


def style_of(deepest: Tensor) -> Tensor:
    """Style (n, c), float32: the mean of features (n, c, y, x) over the image, scaled to length 1.

    Averaged over all tiles of a plane, each pixel counted once, the deepest features give the plane's style.
    """
    return functional.normalize(deepest.mean((2, 3), dtype=torch.float32), dim=1)


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Context without gradients, in half precision where that is faster; results are float32 all the same."""
    with torch.inference_mode(), mixed_precision(device):
        yield


def empty_cellpose(config: CellposeConfig) -> CellposeNet:
    """Network on the CPU whose weights are still to be filled in; draws no random numbers."""
    with torch.device("meta"):
        net = CellposeNet(config)
    return net.to_empty(device="cpu")


def seeded_cellpose(config: CellposeConfig, *, seed: int) -> CellposeNet:
    """Build a network on the CPU whose starting weights depend on `config` and `seed` alone.

    Weights are drawn evenly from within 1 / sqrt(inputs) of zero, as Cellpose starts; biases are zero.
    Torch's global random state is neither read nor changed.
    """
    net = empty_cellpose(config)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    net.diam_mean.fill_(DEFAULT_DIAMETER_PX)
    net.diam_labels.fill_(DEFAULT_DIAMETER_PX)
    return net

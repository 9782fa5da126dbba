"""Blocks of the Cellpose network, their parameters named as in its state dictionaries."""

from torch import Tensor, nn
from torch.nn import functional

CONVS_A_BLOCK = 4
_MOMENTUM = 0.05  # of batch normalisation, as Cellpose 3 trains


class DownBlock(nn.Module):
    """Two residual pairs of convolutions; the first shortcut is a 1 x 1 convolution to the new width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict(
            {f"conv_{i}": normed_conv(before if i == 0 else after, after) for i in range(CONVS_A_BLOCK)}
        )
        self.proj = _projection(before, after)

    def forward(self, ncyx: Tensor) -> Tensor:  # noqa: D102
        middle = self.proj(ncyx) + self.conv["conv_1"](self.conv["conv_0"](ncyx))
        out: Tensor = middle + self.conv["conv_3"](self.conv["conv_2"](middle))
        return out


class StyledConv(nn.Module):
    """A normalised convolution of features shifted, channel by channel, by a linear function of the style."""

    def __init__(self, width: int, style_width: int) -> None:
        super().__init__()
        self.conv = normed_conv(width, width)
        self.full = nn.Linear(style_width, width)

    def forward(self, ncyx: Tensor, style: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.conv(ncyx + per_channel(self.full(style)))
        return out


class UpBlock(nn.Module):
    """Two residual pairs of convolutions that take in the skipped features and the style."""

    def __init__(self, before: int, after: int, style_width: int, *, doubling: bool) -> None:
        super().__init__()
        self.doubling = doubling
        styled = {f"conv_{i}": StyledConv(after, style_width) for i in range(1, CONVS_A_BLOCK)}
        self.conv = nn.ModuleDict({"conv_0": normed_conv(before, after), **styled})
        self.proj = _projection(before, after)

    def forward(self, ncyx: Tensor, skip: Tensor, style: Tensor) -> Tensor:  # noqa: D102
        conv = self.conv
        norm, rectifier, first = conv["conv_0"].children()
        # What works pixel by pixel gives the same before the doubling as after it, at a quarter of the cost.
        entered = first(self._doubled(rectifier(norm(ncyx)))) + skip
        middle = self._doubled(self.proj(ncyx)) + conv["conv_1"](entered, style)
        out: Tensor = middle + conv["conv_3"](conv["conv_2"](middle, style), style)
        return out

    def _doubled(self, ncyx: Tensor) -> Tensor:
        return functional.interpolate(ncyx, scale_factor=2, mode="nearest") if self.doubling else ncyx


def normed_conv(before: int, after: int, side: int = 3) -> nn.Sequential:
    """Batch normalisation, rectifier and convolution that keeps the image's size."""
    return nn.Sequential(
        nn.BatchNorm2d(before, momentum=_MOMENTUM),
        nn.ReLU(inplace=True),
        nn.Conv2d(before, after, side, padding=side // 2),
    )


def per_channel(values: Tensor) -> Tensor:
    """Values (n, c) or (c,) as (n, c, 1, 1) or (c, 1, 1), to be combined with features."""
    return values[..., None, None]


def _projection(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(before, momentum=_MOMENTUM), nn.Conv2d(before, after, 1))

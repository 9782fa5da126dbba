"""Encoders and decoders between patches (n, c, y, x) and features (n, f): convolutional and dense."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ShapeCYX = tuple[int, int, int]


def bottleneck_cyx(shape_cyx: ShapeCYX, widths: Sequence[int]) -> torch.Size:
    """Shape of the last feature map: each halving rounds up, so that no pixel is lost."""
    step = 2 ** len(widths)
    return torch.Size((widths[-1], -(-shape_cyx[1] // step), -(-shape_cyx[2] // step)))


def conv_encoder(shape_cyx: ShapeCYX, widths: Sequence[int]) -> nn.Sequential:
    """Halve a patch once for each width with strided 3 x 3 convolutions.

    Sides that are no multiples of 2 ** len(widths) are padded with zeros (a patch's background) below and to
    the right first.
    """
    channels, height, width = shape_cyx
    _, rows, columns = bottleneck_cyx(shape_cyx, widths)
    step = 2 ** len(widths)
    padding = (0, columns * step - width, 0, rows * step - height)
    layers: list[nn.Module] = [nn.ZeroPad2d(padding)] if any(padding) else []
    for before, after in pairwise((channels, *widths)):
        layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, _ToFeatures())


def conv_decoder(shape_cyx: ShapeCYX, widths: Sequence[int]) -> nn.Sequential:
    """The mirror of `conv_encoder`, from features to logits (n, c, y, x); the padding is cropped again."""
    channels, height, width = shape_cyx
    layers: list[nn.Module] = []
    for before, after in pairwise((*widths[::-1], channels)):
        doubling = nn.ConvTranspose2d(before, after, kernel_size=3, stride=2, padding=1, output_padding=1)
        layers += [doubling, nn.ReLU()]
    maps = _FromFeatures(bottleneck_cyx(shape_cyx, widths))
    return nn.Sequential(maps, *layers[:-1], _Crop(height, width))  # the last layer gives logits


def dense_encoder(shape_cyx: ShapeCYX, widths: Sequence[int]) -> nn.Sequential:
    """Every pixel to every unit, a hidden layer for each width."""
    pixels = torch.Size(shape_cyx).numel()
    return nn.Sequential(nn.Flatten(), *_dense((pixels, *widths)))


def dense_decoder(shape_cyx: ShapeCYX, widths: Sequence[int]) -> nn.Sequential:
    """The mirror of `dense_encoder`, from features to logits (n, c, y, x)."""
    pixels = torch.Size(shape_cyx).numel()
    return nn.Sequential(*_dense((*widths[::-1], pixels))[:-1], nn.Unflatten(1, shape_cyx))


def _dense(sizes: Sequence[int]) -> list[nn.Module]:
    return [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]


class _ToFeatures(nn.Module):
    """Maps (n, c, y, x) to features (n, f), the channels of a place side by side: they lie so already."""

    def forward(self, ncyx: Tensor) -> Tensor:
        return ncyx.permute(0, 2, 3, 1).flatten(1)


class _FromFeatures(nn.Module):
    """The mirror of `_ToFeatures`: maps come out channels-last, so that no layer after it turns them."""

    def __init__(self, shape_cyx: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.rows, self.columns = shape_cyx

    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(-1, self.rows, self.columns, self.channels).permute(0, 3, 1, 2)


class _Crop(nn.Module):
    """Keep the first rows and columns."""

    def __init__(self, height_px: int, width_px: int) -> None:
        super().__init__()
        self.height_px, self.width_px = height_px, width_px

    def forward(self, ncyx: Tensor) -> Tensor:
        return ncyx[:, :, : self.height_px, : self.width_px]

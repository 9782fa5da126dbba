"""The Cellpose network for evaluation alone: the same numbers with fewer passes over the features."""

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.cellpose_blocks import DownBlock, StyledConv, UpBlock, per_channel
from tasks.models.cellpose_net import CellposeNet, ResidualUNet

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d)


def fused(net: CellposeNet) -> ResidualUNet:
    """Copy of a network that gives its maps and style in evaluation faster; it cannot be trained or saved.

    A normalisation stands before a rectifier here, so it cannot move into the convolution behind it. It moves
    into the convolution before it where nothing else reads that one's output (the second and fourth of a way
    down, the fourth of a way up), and into a projection, which has no rectifier: 20 of 41 at four scales. The
    rest become one multiplication and addition, together with the style's. A convolution of repeated pixels
    becomes a transposed convolution of the pixels themselves: 16 products for 4 pixels instead of 36.
    """
    with torch.no_grad():
        return _FusedNet(copy.deepcopy(net))


class _FusedNet(ResidualUNet):
    def __init__(self, net: CellposeNet) -> None:
        super().__init__(net.config)
        self.down = nn.ModuleList(_FusedDown(cast(DownBlock, one)) for one in net.down_blocks())
        self.up = nn.ModuleList(_FusedUp(cast(UpBlock, one)) for one in net.up_blocks())
        norm, self.last = _norm_and_conv(net.output)
        self.enter = _Affine(norm)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def down_blocks(self) -> Sequence[nn.Module]:
        return list(self.down)

    def up_blocks(self) -> Sequence[nn.Module]:
        return list(self.up)

    def head(self, features: Tensor) -> Tensor:
        maps: Tensor = self.last(self.enter(features).relu_())
        return maps


class _FusedDown(nn.Module):
    def __init__(self, block: DownBlock) -> None:
        super().__init__()
        layers = [_norm_and_conv(one) for one in block.conv.children()]
        norms, convs = zip(*layers, strict=True)
        self.enter, self.between = _Affine(norms[0]), _Affine(norms[2])
        self.first, self.second = _then_norm(convs[0], norms[1]), convs[1]
        self.third, self.fourth = _then_norm(convs[2], norms[3]), convs[3]
        self.proj = _norm_then(*_norm_and_conv(block.proj))

    def forward(self, ncyx: Tensor) -> Tensor:
        middle = self.second(self.first(self.enter(ncyx).relu_()).relu_())
        middle += self.proj(ncyx)
        out: Tensor = self.fourth(self.third(self.between(middle).relu_()).relu_())
        out += middle
        return out


class _FusedUp(nn.Module):
    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        self.doubling = block.doubling
        norm, first = _norm_and_conv(block.conv["conv_0"])
        styled = [cast(StyledConv, block.conv[f"conv_{i}"]) for i in (1, 2, 3)]
        norms, convs = zip(*(_norm_and_conv(one.conv) for one in styled), strict=True)
        self.enter = _Affine(norm)
        self.skipped, self.between, self.shift = (
            _Affine(norm, one.full) for norm, one in zip(norms, styled, strict=True)
        )
        scaled = _then_norm(first, norms[0], with_term=False)
        self.first = _of_doubled(scaled) if block.doubling else scaled
        self.second, self.fourth = convs[0], convs[2]
        self.third = _then_norm(convs[1], norms[2], with_term=False)
        self.proj = _norm_then(*_norm_and_conv(block.proj))

    def forward(self, ncyx: Tensor, skip: Tensor, style: Tensor) -> Tensor:
        entered = self.first(self.enter(ncyx).relu_())
        entered += self.skipped(skip, style)
        middle = self.second(entered.relu_())
        short = self.proj(ncyx)
        middle += functional.interpolate(short, scale_factor=2, mode="nearest") if self.doubling else short
        third = self.third(self.between(middle, style).relu_())
        third += self.shift.term_for(style, third.dtype)
        out: Tensor = self.fourth(third.relu_())
        out += middle
        return out


class _Affine(nn.Module):
    """A normalisation in evaluation: a factor and a term for each channel, the style's part in the term."""

    scale: Tensor
    term: Tensor
    of_style: Tensor | None

    def __init__(self, norm: nn.BatchNorm2d, full: nn.Linear | None = None) -> None:
        super().__init__()
        scale, term = _scale_and_term(norm)
        self.register_buffer("scale", per_channel(scale))
        self.register_buffer("term", term if full is None else term + scale * full.bias)
        self.register_buffer("of_style", None if full is None else scale[:, None] * full.weight)

    def term_for(self, style: Tensor | None, dtype: torch.dtype) -> Tensor:
        if style is None or self.of_style is None:
            return per_channel(self.term).to(dtype)
        return per_channel(functional.linear(style, self.of_style, self.term)).to(dtype)

    def forward(self, ncyx: Tensor, style: Tensor | None = None) -> Tensor:
        return torch.addcmul(self.term_for(style, ncyx.dtype), ncyx, self.scale.to(ncyx.dtype))


def _scale_and_term(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    return scale, norm.bias - scale * mean


def _norm_and_conv(layers: nn.Module) -> tuple[nn.BatchNorm2d, nn.Conv2d]:
    first, *_, last = layers.children()
    return cast(nn.BatchNorm2d, first), cast(nn.Conv2d, last)


def _then_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d, *, with_term: bool = True) -> nn.Conv2d:
    """Convolution whose output is normalised; without the term where that is added elsewhere."""
    scale, term = _scale_and_term(norm)
    bias = scale * cast(Tensor, conv.bias)
    return _with(
        copy.copy(conv), scale[:, None, None, None] * conv.weight, bias + term if with_term else bias
    )


def _norm_then(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """1 x 1 convolution whose input is normalised: it sees no border, where a term would be missing."""
    scale, term = _scale_and_term(norm)
    bias = cast(Tensor, conv.bias) + conv.weight[..., 0, 0] @ term
    return _with(copy.copy(conv), per_channel(scale) * conv.weight, bias)


def _of_doubled(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """3 x 3 convolution of pixels repeated 2 x 2, as one of the pixels themselves.

    A pixel's share of the output is the kernel, turned by a half, at each of its four repetitions.
    """
    turned = conv.weight.transpose(0, 1).flip((2, 3))
    shares = sum(functional.pad(turned, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1))
    transposed = nn.ConvTranspose2d(
        conv.in_channels, conv.out_channels, 4, stride=2, padding=1, device="meta"
    )
    return _with(transposed, cast(Tensor, shares), cast(Tensor, conv.bias))


def _with(layer: Layer, weight: Tensor, bias: Tensor) -> Layer:
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer

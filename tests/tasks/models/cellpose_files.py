"""What Cellpose 1 to 3 write: the names and shapes of its state dictionaries, and files of them."""

import io
import math

import numpy as np
import torch
from torch import Tensor

from tasks.models.cellpose_checkpoints import cellpose_from

WIDE, NARROW, TINY = (32, 64, 128, 256), (16, 32, 64, 128), (4, 6, 8, 10)
Shapes = dict[str, tuple[int, ...]]


def normed(name: str, before: int, after: int, side: int, conv: int = 2) -> Shapes:
    """A batch normalisation at place 0 and a convolution at place `conv`, as PyTorch names them."""
    per_channel = {f"{name}.0.{one}": (before,) for one in ("weight", "bias", "running_mean", "running_var")}
    return {
        **per_channel,
        f"{name}.0.num_batches_tracked": (),
        f"{name}.{conv}.weight": (after, before, side, side),
        f"{name}.{conv}.bias": (after,),
    }


def documented(channels: int, widths: tuple[int, ...]) -> Shapes:
    """Names and shapes of the state dictionary that cellpose 2 and 3 save (`cellpose.resnet_torch.CPnet`)."""
    shapes: Shapes = {"diam_mean": (1,), "diam_labels": (1,)}
    for i, (before, after) in enumerate(zip((channels, *widths), widths, strict=False)):
        block = f"downsample.down.res_down_{i}"
        shapes |= normed(f"{block}.proj", before, after, 1, conv=1)
        shapes |= normed(f"{block}.conv.conv_0", before, after, 3)
        for k in (1, 2, 3):
            shapes |= normed(f"{block}.conv.conv_{k}", after, after, 3)
    for i, (before, after) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True)):
        block = f"upsample.up.res_up_{i}"
        shapes |= normed(f"{block}.conv.conv_0", before, after, 3)
        for k in (1, 2, 3):
            shapes |= normed(f"{block}.conv.conv_{k}.conv", after, after, 3)
            shapes |= {f"{block}.conv.conv_{k}.full.weight": (after, widths[-1])}
            shapes |= {f"{block}.conv.conv_{k}.full.bias": (after,)}
        shapes |= normed(f"{block}.proj", before, after, 1, conv=1)
    return shapes | normed("output", widths[0], 3, 1)


def waves(shape: tuple[int, ...], phase: float) -> Tensor:
    values = np.sin(phase + 0.37 * np.arange(math.prod(shape)) ** 2)  # a chirp: no two rows alike
    return torch.tensor(values.reshape(shape), dtype=torch.float32)


def written(channels: int = 2, widths: tuple[int, ...] = TINY) -> dict[str, Tensor]:
    """A state dictionary of the documented shapes whose numbers come from a formula."""
    state = {}
    for i, (name, shape) in enumerate(sorted(documented(channels, widths).items())):
        wave = waves(shape, i)
        if name.startswith("diam"):
            state[name] = torch.full(shape, 17.0)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(i)
        elif len(shape) > 1:
            state[name] = wave / math.sqrt(math.prod(shape[1:]))
        else:
            state[name] = 1 + wave / 2 if name.endswith(("0.weight", "running_var")) else wave / 3
    return state


def saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def picture(channels: int = 2, rows: int = 32, columns: int = 40) -> Tensor:
    y, x = np.mgrid[:rows, :columns]
    planes = [np.sin(0.3 * y + 0.05 * x * (1 + c)) * np.cos(0.21 * x - c) for c in range(channels)]
    return torch.tensor(np.array(planes)[None], dtype=torch.float32)


def gap(one: Tensor, other: Tensor) -> float:
    """Largest difference, in standard deviations of the first."""
    return float(((one - other).abs().max() / one.std()).detach())


NET = cellpose_from(written())

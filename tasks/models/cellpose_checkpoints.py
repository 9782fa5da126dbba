"""Networks of Cellpose 1 to 3 from their files, official or trained by users, and back."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tasks.models.cellpose_net import (
    DEFAULT_DIAMETER_PX,
    OUTPUT_MAPS,
    CellposeConfig,
    CellposeNet,
    empty_cellpose,
)

State = Mapping[str, Tensor]

_EXPECTED = "expected a network of Cellpose 1 to 3"
_ZIP_MAGIC = b"PK\x03\x04"
_OTHER_FILES = {
    b"\x93NUMPY": "a NumPy array (a size model?): give the file of the network, without 'size_' and '.npy'",
    b"\x12\x01\0\0\0\0\0\0": "an MXNet network of Cellpose 0.x: give the one whose name holds 'torch'",
}
_UNREADABLE = (
    RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError
)  # fmt: skip  # all that torch.load was seen to raise on bytes that are no state dictionary
_ENTRY = "downsample.down.res_down_0.conv.conv_0.2.weight"
_STYLED = "upsample.up.res_up_0.conv.conv_1.full.weight"
_LAST = "output.2.weight"
_FEW = 3


class Cellpose4Error(ValueError):
    """The file is a Cellpose 4 network (Cellpose-SAM or DINO), which the cellpose package runs."""


def load_cellpose(source: Path | bytes) -> CellposeNet:
    """Network from a file of Cellpose 1 to 3, on the CPU, in evaluation mode and float32.

    Channels and widths follow from the shapes. Files of several GPUs, whose names start with "module.", and
    of any floating-point precision are read. Cellpose 1 wrote no diameter: 30 px is taken, and for its
    "nuclei", trained at 17 px, the caller sets `diam_mean`.

    Parameters
    ----------
    source
        The file, or its bytes; only tensors are unpickled, so that nothing in it can run.

    Raises
    ------
    OSError
        The file cannot be read.
    Cellpose4Error
        It is a network of Cellpose 4.
    ValueError
        It is anything else that this network cannot hold: the error says what was found and what to do.
    """
    if isinstance(source, Path) and "style_off" in source.name:  # the shapes would not tell
        raise ValueError(f"{_EXPECTED} with style, found {source.name!r}: train one with style_on")
    return cellpose_from(_read(source))


def cellpose_from(state: State) -> CellposeNet:
    """Network from a state dictionary of Cellpose 1 to 3; see `load_cellpose`, which raises the same."""
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    _refuse_other_networks(state)
    net = empty_cellpose(_config_of(state))
    expected = net.state_dict()
    weights = {name: _default(name) for name in expected if _optional(name)} | state
    _refuse_other_shapes(expected, weights)
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ValueError(
            f"{_EXPECTED} of finite numbers, found others in {_listed(broken)}: its training diverged, "
            "take an earlier file"
        )
    if float(weights["diam_mean"]) <= 0:
        raise ValueError(
            f"{_EXPECTED} with a diameter above 0 px, found {float(weights['diam_mean'])}: "
            "set diam_mean in the file to the diameter it was trained for"
        )
    net.load_state_dict(weights)
    return net.eval()


def save_cellpose(net: CellposeNet, *, half: bool = False) -> bytes:
    """Bytes of a file that `load_cellpose` and Cellpose 2 and 3 read.

    Parameters
    ----------
    net
        Network, on any device.
    half
        Write the weights of convolutions and of the style in half precision, which halves the file; all
        that is one number a channel (normalisations, biases, diameters) stays in float32.
    """
    state = {}
    for name, tensor in net.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        state[name] = plain.half() if half and plain.ndim > 1 else plain
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _read(source: Path | bytes) -> State:
    start = source[:8] if isinstance(source, bytes) else _start(source)
    for magic, what in _OTHER_FILES.items():
        if start.startswith(magic):
            raise ValueError(f"{_EXPECTED}, found {what}")
    zipped = start.startswith(_ZIP_MAGIC)
    try:
        if isinstance(source, bytes):
            content = torch.load(io.BytesIO(source), map_location="cpu", weights_only=True)
        else:  # mapped: a Cellpose 4 network is 1.2 GB, and its names are enough
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)
    except _UNREADABLE as error:
        raise ValueError(
            f"{_EXPECTED}, found a file that is damaged, starts otherwise ({start!r}), or holds more than "
            "tensors, which is not run: save the network's state_dict() with torch.save and give that"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(one, Tensor) for one in content.values()):
        raise ValueError(
            f"{_EXPECTED} as names and tensors, found {type(content).__name__} of other things: "
            "save the network's state_dict() alone"
        )
    return {str(name): tensor for name, tensor in content.items()}


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _refuse_other_networks(state: State) -> None:
    if "W2" in state or any(name.startswith("encoder.") for name in state):
        raise Cellpose4Error(
            f"{_EXPECTED}, found one of Cellpose 4 (Cellpose-SAM or DINO): give it by name or path to the "
            "segmenter that runs the cellpose package"
        )
    if any(name.startswith("downsample.down.conv_down_0.") for name in state):
        raise ValueError(f"{_EXPECTED} with residuals, found one without: train one with residual_on")
    absent = [name for name in (_ENTRY, _STYLED, _LAST) if name not in state or state[name].ndim < 2]
    if absent:
        raise ValueError(
            f"{_EXPECTED}, found none of its {_listed(absent)} among {len(state)} names such as "
            f"{_listed(list(state))}: give a file that Cellpose saved"
        )
    if len(state[_STYLED]) == 2 * len(state[_ENTRY]):
        raise ValueError(
            f"{_EXPECTED} that adds skipped features, found one that concatenates them: "
            "train one with concatenation_off"
        )
    if len(state[_LAST]) != OUTPUT_MAPS:
        raise ValueError(
            f"{_EXPECTED} with {OUTPUT_MAPS} output maps, found {len(state[_LAST])}: image restoration has 1 "
            "or 2, Omnipose 2 or 4, and neither segments here; give a segmentation network of Cellpose"
        )


def _config_of(state: State) -> CellposeConfig:
    widths: list[int] = []
    while (name := _ENTRY.replace("res_down_0", f"res_down_{len(widths)}")) in state:
        widths.append(len(state[name]))
    return CellposeConfig(int(state[_ENTRY].shape[1]), tuple(widths))


def _optional(name: str) -> bool:
    """Whether older files lack it: Cellpose 1 the diameters, PyTorch before 0.4.1 the counters."""
    return name.startswith("diam_") or name.endswith(".num_batches_tracked")


def _default(name: str) -> Tensor:
    return torch.full((1,), DEFAULT_DIAMETER_PX) if name.startswith("diam_") else torch.tensor(0)


def _refuse_other_shapes(expected: State, found: State) -> None:
    wrong = [f"no {name}" for name in expected if name not in found]
    wrong += [f"an unknown {name}" for name in found if name not in expected]
    wrong += [
        f"{name} of shape {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(f"{_EXPECTED}, found {_listed(wrong)}: give a file that Cellpose saved, unchanged")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more

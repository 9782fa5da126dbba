"""Cellpose 4's networks (Cellpose-SAM, DINO): the only module that knows the cellpose package."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.models.device import fitting

_TRAINED_PX = 256  # edge of the images these transformers know
_TRAINED_DIAMETER_PX = 30.0
_OVERLAP_PX = 52  # a tenth on each side, as the package itself takes it
_BYTES_A_PX = 16_000
_UNREADABLE = (KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError, EOFError)
_MOST_AT_ONCE = 8


@dataclass(frozen=True)
class Cellpose4Network:
    """A network of Cellpose 4 (Pachitariu et al., 2025, doi:10.1101/2025.04.28.651001); see `FlowNetwork`.

    It is trained on cells of very different diameters, so images are taken as they are unless a diameter is
    given.
    """

    name: str
    digest: str
    net: Any
    device: torch.device

    diameter_px = _TRAINED_DIAMETER_PX
    any_diameter = True
    patch_px = _TRAINED_PX
    overlap_px = _OVERLAP_PX
    multiple_px = _TRAINED_PX
    bytes_a_px = _BYTES_A_PX

    @classmethod
    def load(cls, name: str, path: Path, digest: str, device: torch.device) -> "Cellpose4Network":
        """Read a network from its file.

        Raises
        ------
        ValueError
            The file is no network of Cellpose 4, or one whose encoder is not installed.
        """
        from cellpose.models import CellposeModel

        try:
            model = CellposeModel(
                pretrained_model=str(path), device=device, use_bfloat16=device.type == "cuda"
            )
        except NameError as error:  # the package says so only in its log
            raise ValueError(
                f"{path}: expected the package dinov3 for a DINO network, found it is not installed: install "
                "it from github.com/facebookresearch/dinov3, or take cpsam"
            ) from error
        except _UNREADABLE as error:
            raise ValueError(
                f"{path}: expected a network of Cellpose 4, found another file: {error}"
            ) from error
        _refuse_gaps(path, model.net)
        return cls(name, digest, model.net.eval(), device)

    def maps(self, nyx: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: D102
        at_once = fitting(self.device, nyx[0].size * _BYTES_A_PX, _MOST_AT_ONCE)
        parts = [self._maps(nyx[start : start + at_once]) for start in range(0, len(nyx), at_once)]
        return np.concatenate(parts)

    def _maps(self, nyx: NDArray[np.float32]) -> NDArray[np.float32]:
        n, height, width = nyx.shape
        ncyx = torch.zeros((n, 3, height, width), device=self.device, dtype=self.net.dtype)
        ncyx[:, 0] = torch.from_numpy(nyx).to(self.device, self.net.dtype)
        with torch.inference_mode():
            maps, _ = self.net(ncyx)
        found: NDArray[np.float32] = maps.float().cpu().numpy()
        return found


def _refuse_gaps(path: Path, net: Any) -> None:
    """Refuse a file that lacks weights, which the package would draw at random without a word."""
    there = {name.removeprefix("module.") for name in torch.load(path, weights_only=True, mmap=True)}
    missing = [name for name in net.state_dict() if name not in there and not name.startswith("diam_")]
    if missing:
        raise ValueError(
            f"{path}: expected a network of Cellpose 4, found no {missing[0]} and {len(missing) - 1} more "
            "missing: get the whole file"
        )

"""Other ways to segment with the same network: the network alone, and cellpose's own functions around it."""

import contextlib
import importlib.util
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tasks.models.cellpose_net import CellposeNet
from tasks.models.device import mixed_precision

TILE_PX = 224  # cellpose's default


def bare(net: CellposeNet, frame: NDArray[np.float32], *, mixed: bool = False) -> None:
    """The network alone, on all of the frame at once; in float32, or in what is fastest here."""
    ncyx = torch.zeros(1, net.config.in_channels, *frame.shape)
    ncyx[0, 0] = torch.from_numpy(frame)
    device = torch.device("cpu")
    with torch.inference_mode(), mixed_precision(device) if mixed else contextlib.nullcontext():
        net(ncyx.contiguous(memory_format=torch.channels_last))


class ForCellpose(torch.nn.Module):
    """The same network as cellpose's functions want one: faces of a device, a type, and pairs as output."""

    def __init__(self, net: CellposeNet) -> None:
        super().__init__()
        self.net, self.dtype, self.device = net, torch.float32, torch.device("cpu")

    def forward(self, ncyx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps, _ = self.net(ncyx)
        return maps, torch.zeros(len(ncyx), 256)


def by_cellpose(
    net: CellposeNet,
    yx: NDArray[Any],
    *,
    tile_px: int = TILE_PX,
    scale: float = 1.0,
    flow_threshold: float = 0.4,
) -> NDArray[np.uint32]:
    """Labels by cellpose's own `run_net` and `compute_masks`; the picture rescaled as its `eval` does."""
    from cellpose import dynamics
    from cellpose.core import run_net

    low, high = np.percentile(yx, (1, 99))
    yxc = np.zeros((1, *yx.shape, net.config.in_channels), np.float32)
    yxc[0, ..., 0] = (yx - low) / max(high - low, 1e-6)
    maps = run_net(ForCellpose(net), yxc, bsize=tile_px, rsz=None if scale == 1 else scale)[0]
    maps = maps[0] if maps.ndim == 4 else maps
    if scale != 1:
        maps = cv2.resize(maps, yx.shape[::-1], interpolation=cv2.INTER_LINEAR)
    masks = dynamics.compute_masks(
        np.ascontiguousarray(np.moveaxis(maps[..., :2], -1, 0)),
        np.ascontiguousarray(maps[..., 2]),
        flow_threshold=flow_threshold,
        device=torch.device("cpu"),
    )
    return np.asarray(masks[0] if isinstance(masks, tuple) else masks, np.uint32)


def distributed_is_here() -> bool:
    """Whether what cellpose.contrib.distributed_segmentation imports is installed."""
    return all(importlib.util.find_spec(name) for name in ("dask_image", "dask_jobqueue"))


def by_distributed_cellpose(
    net: CellposeNet, yx: NDArray[np.float32], folder: Path, *, block_px: int, diameter_px: float
) -> NDArray[np.uint32]:
    """Labels by cellpose's blocks on a cluster, one thread of this process; its model is made ours.

    As it is, it fails with zarr 3, to which it gives the mode by position; here that is translated.
    """
    from cellpose.contrib import distributed_segmentation as peer
    from distributed import Client, LocalCluster

    class Model:
        def __init__(self, **_: Any) -> None:
            pass

        def eval(self, block: NDArray[np.float32], **_: Any) -> tuple[NDArray[np.uint32]]:
            return (by_cellpose(net, block),)

    opening = peer.zarr.open

    def by_name(store: str, mode: str = "a", **named: Any) -> Any:
        return opening(store, mode=mode, **named)

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
        _within(folder),
        patch("cellpose.models.CellposeModel", Model),
        patch("cellpose.io.logger_setup"),
        patch.object(peer.zarr, "open", by_name),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        cluster.client = client
        blocks = (block_px, block_px)
        stored = peer.numpy_array_to_zarr(str(folder / "in.zarr"), yx, blocks)
        labels, _ = peer.distributed_eval(
            stored,
            blocks,
            str(folder / "out.zarr"),
            eval_kwargs={"diameter": round(diameter_px)},
            cluster=cluster,
        )
        return np.asarray(labels[...], np.uint32)


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    """Work in a folder: the peer leaves its logs where it is started."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)

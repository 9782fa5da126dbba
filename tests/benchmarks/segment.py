"""Segmentation: nuclei of held-out fields of DSB2018, time and memory beside the bare network and cellpose.

Seconds are of this process's processor, contenders taken in turn, one thread: another program on the machine
changes them little.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.kernels.matching import match_counts, precision_of
from tasks.models.cellpose_checkpoints import load_cellpose
from tasks.models.network import NetworkSegmenter
from tasks.models.networks import WEIGHTS
from tasks.models.segmenter import DEFAULT, load_segmenter
from tests.benchmarks import dsb2018, segment_stage
from tests.benchmarks.measuring import scratch_folder
from tests.benchmarks.segment_peers import (
    bare,
    by_cellpose,
    by_distributed_cellpose,
    distributed_is_here,
)

IOUS = (0.5, 0.75, 0.9)
SIDE_PX = 2048
REPEATS = 2
CELLPOSE_TILES_PX = (224, 1024)  # cellpose's default, and one that wastes less


def run(size: float) -> None:
    torch.set_num_threads(1)
    accuracy(size)
    side_px = round(SIDE_PX * size) // 64 * 64
    frame, known = mosaic(side_px)
    bare_s = speed(frame, known)
    segment_stage.run(frame, bare_s)


def accuracy(size: float) -> None:
    """Average precision, all nuclei pooled, with the diameter found and with the true one."""
    held = [one for one, out in zip(dsb2018.pictures(), dsb2018.held_out(), strict=True) if out]
    held = held[:: max(1, round(1 / size))]
    segmenter, net = load_segmenter(DEFAULT), load_cellpose(WEIGHTS / f"{DEFAULT}.pt")
    assert isinstance(segmenter, NetworkSegmenter)

    def told(one: dsb2018.Picture) -> NDArray[np.uint32]:
        return replace(segmenter, diameter_px=one.diameter_px or None).segment(one.yx)

    def told_float32(one: dsb2018.Picture) -> NDArray[np.uint32]:
        with patch("tasks.models.device.fast_precision", lambda _: "float32"):
            return told(one)

    def peer(one: dsb2018.Picture, flow_threshold: float) -> NDArray[np.uint32]:
        scale = segmenter.network.diameter_px / (one.diameter_px or segmenter.network.diameter_px)
        return by_cellpose(net, one.yx, scale=scale, flow_threshold=flow_threshold)

    ways: dict[str, Callable[[dsb2018.Picture], NDArray[np.uint32]]] = {
        f"{DEFAULT}, diameter found": lambda one: segmenter.segment(one.yx),
        f"{DEFAULT}, true diameter": told,
        "the same in float32": told_float32,
        "cellpose, true diameter": lambda one: peer(one, 0.4),
        "cellpose, with our flow threshold": lambda one: peer(one, segmenter.flow_threshold),
        "threshold": lambda one: load_segmenter("threshold").segment(one.yx),
    }
    nuclei = sum(len(np.unique(one.labels_yx)) - 1 for one in held)
    print(f"{len(held)} held-out pictures, {nuclei} nuclei; AP at IoU {', '.join(map(str, IOUS))}\n")
    for name, way in ways.items():
        counts = np.sum([match_counts(one.labels_yx, way(one), IOUS) for one in held], axis=0)
        print(f"{name:<36}" + "  ".join(f"{ap:.3f}" for ap in precision_of(counts)))
    print()


def speed(frame: NDArray[np.float32], known: NDArray[np.uint32]) -> dict[str, float]:
    """Print processor seconds of one frame; return those of the bare network."""
    net = load_cellpose(WEIGHTS / f"{DEFAULT}.pt")
    diameter_px = float(net.diam_mean)
    found: dict[str, NDArray[Any]] = {}

    def ours(name: str, **options: Any) -> Callable[[], None]:
        segmenter = load_segmenter(DEFAULT, **options)

        def segment() -> None:
            found[name] = segmenter.segment(frame)

        return segment

    def peer(name: str, tile_px: int) -> Callable[[], None]:
        def segment() -> None:
            found[name] = by_cellpose(net, frame, tile_px=tile_px)

        return segment

    def blocks(name: str) -> Callable[[], None]:
        def segment() -> None:
            with scratch_folder() as folder:
                found[name] = by_distributed_cellpose(
                    net, frame, folder, block_px=max(256, len(frame) // 4), diameter_px=diameter_px
                )

        return segment

    works: dict[str, Callable[[], None]] = {
        "bare network, float32": lambda: bare(net, frame),
        "bare network, fastest here": lambda: bare(net, frame, mixed=True),
        "ours, diameter found": ours("ours, diameter found"),
        "ours, diameter given": ours("ours, diameter given", diameter_px=diameter_px),
    } | {f"cellpose, tiles of {px}": peer(f"cellpose, tiles of {px}", px) for px in CELLPOSE_TILES_PX}
    if distributed_is_here():
        works["cellpose's blocks on Dask"] = blocks("cellpose's blocks on Dask")
    seconds = best_cpu_seconds(works)
    reference = seconds["bare network, float32"]
    height, width = frame.shape
    print(f"{height} x {width} px, {known.max()} nuclei of DSB2018, network's scale\n")
    print(f"{'':<28}{'CPU s':>8}  {'bare':>6}  AP at 0.5, 0.75")
    for name, taken in seconds.items():
        scores = ""
        if name in found:
            ap = precision_of(match_counts(known, found[name], IOUS))
            scores = "  ".join(f"{one:.3f}" for one in ap[:2])
        print(f"{name:<28}{taken:>8.2f}  {taken / reference:>6.2f}  {scores}")
    return {name: taken for name, taken in seconds.items() if name.startswith("bare")}


def best_cpu_seconds(works: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Shortest processor seconds of each, taken in turn after one untimed call on the same data."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(REPEATS + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            if round_:
                taken[name].append(time.process_time() - began)
    return {name: min(values) for name, values in taken.items()}


def mosaic(side_px: int) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """A frame of held-out pictures side by side, each scaled to the network's diameter."""
    import cv2

    segmenter = load_segmenter(DEFAULT)
    assert isinstance(segmenter, NetworkSegmenter)
    frame = np.zeros((side_px, side_px), np.float32)
    known = np.zeros((side_px, side_px), np.uint32)
    held = [
        one
        for one, out in zip(dsb2018.pictures(), dsb2018.held_out(), strict=True)
        if out and one.diameter_px
    ]
    top = left = height = k = 0
    while top < side_px:
        one = held[k % len(held)]
        factor = segmenter.network.diameter_px / one.diameter_px
        size = [max(1, round(n * factor)) for n in one.yx.shape[::-1]]
        low, high = np.percentile(one.yx, (1, 99))
        yx = (one.yx.astype(np.float32) - low) / max(float(high - low), 1.0)
        yx = cv2.resize(yx, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        labels = cv2.resize(one.labels_yx.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        part = frame[top : top + yx.shape[0], left : left + yx.shape[1]]
        part[...] = yx[: part.shape[0], : part.shape[1]]
        kept = labels[: part.shape[0], : part.shape[1]].astype(np.uint32)
        known[top : top + part.shape[0], left : left + part.shape[1]] = np.where(
            kept > 0, kept + known.max(), 0
        )
        height, left, k = max(height, part.shape[0]), left + part.shape[1], k + 1
        if left >= side_px:
            top, left, height = top + height, 0, 0
    return frame, known

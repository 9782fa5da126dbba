"""What corrections give: AP on fields never seen, after 0, 100, 200 and 400 corrected nuclei.

A network of the shape that is shipped learns from simulated pictures alone. Then it is given corners, with
some 25 nuclei each, of real pictures of the training part of DSB2018 in a random order, until they hold
100, 200 or 400 nuclei, and learns again from the base on all of them and as many simulated ones. All pictures
of the held-out fields are segmented as by users: the diameter is found in each picture.
"""

import time

import numpy as np

from tasks.kernels.matching import THRESHOLDS, precision_of
from tasks.models.cellpose_net import CellposeConfig, CellposeNet, seeded_cellpose
from tasks.models.refining import RefinePlan, refine
from tasks.models.refining_batches import LabelledPlane
from tasks.models.refining_scores import scores
from tasks.simulated_pictures import simulated_planes
from tests.benchmarks import dsb2018

CORRECTED_NUCLEI = (100, 200, 400)
NUCLEI_A_PICTURE = 25
CORNER_PX = range(96, 2000, 32)
WIDTHS = (16, 32, 64, 128)
DIAMETER_PX = 17.0
BASE_STEPS, REFINING_STEPS = 600, 300
SIMULATED = 60
SEED = 12


def run(size: float) -> None:
    held = _planes(held_out=True)
    held = held[:: max(1, round(1 / size))]
    nuclei = sum(_count(plane) for plane in held)
    print(f"{len(held)} pictures of held-out fields with {nuclei} nuclei; AP pooled over them\n")
    print(f"{'corrected':>9} {'pictures':>8}  " + "  ".join(f"AP {at:.2f}" for at in THRESHOLDS) + "  CPU s")
    simulated = simulated_planes(round(SIMULATED * size), seed=SEED)
    base = seeded_cellpose(CellposeConfig(2, WIDTHS), seed=SEED)
    base.diam_mean.fill_(DIAMETER_PX)
    began = time.process_time()
    base = refine(base, simulated, _plan(round(BASE_STEPS * size), 1e-3))
    _report(0, 0, base, held, began)
    order = _corrections()
    for wanted in CORRECTED_NUCLEI:
        began = time.process_time()
        given = _first_with(order, wanted)
        net = refine(base, [*given, *simulated[: len(given)]], _plan(round(REFINING_STEPS * size), 5e-4))
        _report(sum(_count(plane) for plane in given), len(given), net, held, began)


def _plan(steps: int, learning_rate: float) -> RefinePlan:
    return RefinePlan(
        steps=steps, batch_size=8, crop_px=128, learning_rate=learning_rate, warmup_steps=steps // 10,
        average_decay=0.98, report_every=50, seed=SEED,
    )  # fmt: skip


def _planes(*, held_out: bool) -> list[LabelledPlane]:
    parts = zip(dsb2018.pictures(), dsb2018.fields(), dsb2018.held_out(), strict=True)
    return [
        LabelledPlane(one.yx, one.labels_yx, str(field), one.name)
        for one, field, held in parts
        if held == held_out
    ]


def _corrections() -> list[LabelledPlane]:
    planes = _planes(held_out=False)
    return [planes[number] for number in np.random.default_rng(SEED).permutation(len(planes))]


def _first_with(planes: list[LabelledPlane], nuclei: int) -> list[LabelledPlane]:
    """Return parts of the first pictures that together hold so many nuclei."""
    chosen: list[LabelledPlane] = []
    left = nuclei
    for plane in planes:
        if left <= 0:
            break
        wanted = min(left, NUCLEI_A_PICTURE)
        chosen.append(_corner(plane, wanted))
        left -= _count(chosen[-1])
    return chosen


def _count(plane: LabelledPlane) -> int:
    return int(np.unique(plane.labels_yx[plane.labels_yx > 0]).size)


def _corner(plane: LabelledPlane, nuclei: int) -> LabelledPlane:
    """Return the smallest upper left square of a picture that holds so many nuclei, or the whole picture."""
    for edge in CORNER_PX:
        part = LabelledPlane(plane.yx[:edge, :edge], plane.labels_yx[:edge, :edge], plane.group, plane.name)
        if _count(part) >= nuclei or edge >= max(plane.yx.shape):
            break
    return part


def _report(nuclei: int, pictures: int, net: CellposeNet, held: list[LabelledPlane], began: float) -> None:
    spent_s = time.process_time() - began
    precisions = precision_of(sum(one.counts for one in scores(net, held)))
    cells = "  ".join(f"{value:7.3f}" for value in precisions)
    print(f"{nuclei:>9} {pictures:>8}  {cells}  {spent_s:5.0f}", flush=True)

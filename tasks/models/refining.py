"""How a segmentation network learns from labelled pictures: seeded, resumable after any checkpoint, silent.

Loss and targets are those of Cellpose (Stringer et al., 2021, doi:10.1038/s41592-020-01018-x): half the
squared error of the flows and the cross-entropy of being in a nucleus. The caller gets weights averaged over
the last steps (Polyak and Juditsky, SIAM J. Control Optim. 30:838, 1992).
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tasks.kernels.augmentation import Jitter
from tasks.models.cellpose_net import CellposeConfig, CellposeNet
from tasks.models.device import choose_device, mixed_precision, reproducible_kernels
from tasks.models.refining_batches import (
    Batch,
    LabelledPlane,
    ScaledPlane,
    draw_batch,
    median_diameter_px,
    scaled,
)
from tasks.models.training import TrainingDivergedError

RefineState = dict[str, Any]
"""Plain containers and tensors: plan, config, step (last finished), net, average, optimizer."""
StepMetrics = dict[str, float]
"""step (from 1), loss, flow_loss, cell_loss (means since the last report), learning_rate."""


@dataclass(frozen=True)
class RefinePlan:
    """How the weights are found; equal plans, pictures, machine and number of threads give equal weights."""

    steps: int = 500
    """Steps of the optimiser."""
    batch_size: int = 8
    """Views in a step."""
    crop_px: int = 192
    """Edge of a view in the network's pixels; a multiple of 2 for each halving of the network."""
    learning_rate: float = 2e-4
    """Largest step of AdamW (Loshchilov and Hutter, 2019); it rises linearly and falls as a cosine."""
    weight_decay: float = 1e-4
    """Share of the weights taken off in a step, times the learning rate."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises."""
    average_decay: float = 0.998
    """Share of the averaged weights kept in a step, in [0, 1); 0 takes the last weights."""
    report_every: int = 20
    """Steps between reports and checkpoints."""
    jitter: Jitter = field(default_factory=Jitter)
    """How views vary."""
    seed: int = 0
    """Decides which views are drawn, and how they vary."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "crop_px": 8, "warmup_steps": 0, "report_every": 1, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} of {low} or more, found {getattr(self, name)}: raise it")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                "expected a positive learning_rate and a weight_decay of 0 or more, found "
                f"{self.learning_rate} and {self.weight_decay}: try 0.0002 and 0.0001"
            )
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"expected average_decay in [0, 1), found {self.average_decay}: try 0.998")

    def learning_rate_at(self, step: int) -> float:
        """Step size of a step (from 1)."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        passed = (step - self.warmup_steps) / (self.steps - self.warmup_steps + 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


def refine(
    net: CellposeNet,
    planes: Sequence[LabelledPlane],
    plan: RefinePlan,
    *,
    device: torch.device | None = None,
    resume: RefineState | None = None,
    on_report: Callable[[StepMetrics], None] | None = None,
    on_checkpoint: Callable[[RefineState], None] | None = None,
    stop: Callable[[int, CellposeNet], bool] | None = None,
) -> CellposeNet:
    """Teach a network from labelled pictures.

    Every random number comes from (seed, step): killed and resumed, it ends with the same weights.

    Parameters
    ----------
    net
        Network to start from; not changed.
    planes
        Pictures with labels; each is brought to the diameter `net.diam_mean` of its own nuclei.
    plan
        Steps, views, step size, seed.
    device
        Where to compute; None chooses CUDA, MPS or the CPU.
    resume
        State of an earlier run with the same network shape and plan; only `steps` may differ.
    on_report, on_checkpoint
        Called every `plan.report_every` steps and after the last, with metrics and then with a state that
        later steps leave alone.
    stop
        Asked after each report with the step and the averaged network; True ends the training there.

    Returns
    -------
    The averaged network, on the CPU, in evaluation mode; `diam_labels` is the pictures' mean diameter.

    Raises
    ------
    ValueError
        No picture with a nucleus, a crop that does not fit the network, or a state of another training.
    TrainingDivergedError
        The loss is not finite; the text names the step.
    """
    _check(net, planes, plan)
    net = _for_pictures(net, planes)
    pictures = [scaled(plane, float(net.diam_mean)) for plane in planes]
    run = _start(net, plan, device or choose_device(), resume)
    with reproducible_kernels(run.device):
        for step in range(run.step + 1, plan.steps + 1):
            _take_step(run, pictures, step)
            if step % plan.report_every and step < plan.steps:
                continue
            if on_report is not None:
                on_report(run.report())
            if on_checkpoint is not None:
                on_checkpoint(_state(run))
            if stop is not None and stop(step, _averaged(run)):
                break
    return _averaged(run)


@dataclass
class _Run:
    plan: RefinePlan
    net: CellposeNet
    average: CellposeNet
    optimizer: torch.optim.AdamW
    device: torch.device
    step: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)

    def report(self) -> StepMetrics:
        """Means since the last report."""
        flow, cell = np.mean(self.losses, axis=0)
        self.losses.clear()
        return {
            "step": float(self.step),
            "loss": float(flow + cell),
            "flow_loss": float(flow),
            "cell_loss": float(cell),
            "learning_rate": self.plan.learning_rate_at(self.step),
        }


def _take_step(run: _Run, pictures: Sequence[ScaledPlane], step: int) -> None:
    plan = run.plan
    batch = draw_batch(
        pictures,
        batch_size=plan.batch_size,
        crop_px=plan.crop_px,
        channels=run.net.config.in_channels,
        jitter=plan.jitter,
        rng=np.random.default_rng([plan.seed, step]),
    )
    for group in run.optimizer.param_groups:
        group["lr"] = plan.learning_rate_at(step)
    flow, cell = _losses(run, batch)
    loss = flow + cell
    if not torch.isfinite(loss):
        raise TrainingDivergedError(
            f"expected a finite loss, found another in step {step} of {plan.steps}: lower learning_rate "
            f"(now {plan.learning_rate})"
        )
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.net.parameters(), 5.0)
    run.optimizer.step()
    _follow(run, step)
    run.step = step
    run.losses.append((flow.item(), cell.item()))


def _losses(run: _Run, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the flows and of being in a nucleus, means over the pixels that lie in a picture."""
    images = batch.images.to(run.device, memory_format=torch.channels_last)
    targets = batch.targets.to(run.device)
    with mixed_precision(run.device):
        maps = run.net(images).maps_ncyx
    inside = targets[:, 3]
    pixels = inside.sum().clamp(min=1)
    flow = ((maps[:, :2] - targets[:, :2]) ** 2 * inside[:, None]).sum() / (4 * pixels)
    cell = functional.binary_cross_entropy_with_logits(maps[:, 2], targets[:, 2], inside, reduction="sum")
    return flow, cell / pixels


def _follow(run: _Run, step: int) -> None:
    """Move the averaged weights, and the statistics of the normalisations, towards the newest."""
    kept = min(run.plan.average_decay, step / (step + 9.0))
    with torch.no_grad():
        newest = run.net.state_dict()
        for name, value in run.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(newest[name], 1 - kept)
            else:
                value.copy_(newest[name])


def _check(net: CellposeNet, planes: Sequence[LabelledPlane], plan: RefinePlan) -> None:
    if not any(plane.labels_yx.any() for plane in planes):
        raise ValueError(
            f"expected labelled pictures with at least one nucleus, found {len(planes)} pictures with none: "
            "import corrections first"
        )
    if plan.crop_px % net.config.multiple_px:
        raise ValueError(
            f"expected crop_px divisible by {net.config.multiple_px}, found {plan.crop_px}: "
            f"try {max(1, plan.crop_px // net.config.multiple_px) * net.config.multiple_px}"
        )


def _for_pictures(net: CellposeNet, planes: Sequence[LabelledPlane]) -> CellposeNet:
    """Copy of a network that says of what size the nuclei it learns from are."""
    net = copy.deepcopy(net)
    found_px = [median_diameter_px(plane.labels_yx) for plane in planes]
    net.diam_labels.fill_(float(np.mean([diameter_px for diameter_px in found_px if diameter_px])))
    return net


def _start(net: CellposeNet, plan: RefinePlan, device: torch.device, resume: RefineState | None) -> _Run:
    net = net.to(device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    run = _Run(plan, net, copy.deepcopy(net), optimizer, device)
    if resume is not None:
        _check_resumable(net.config, plan, resume)
        net.load_state_dict(resume["net"])
        run.average.load_state_dict(resume["average"])
        optimizer.load_state_dict(copy.deepcopy(resume["optimizer"]))
        run.step = resume["step"]
    return run


def _check_resumable(config: CellposeConfig, plan: RefinePlan, state: RefineState) -> None:
    wanted = {**asdict(plan), **asdict(config), "steps": None, "report_every": None}
    stored = {**state["plan"], **state["config"], "steps": None, "report_every": None}
    differing = [name for name in wanted if wanted[name] != stored.get(name)]
    if differing:
        raise ValueError(
            "expected a training state of the same network and plan, found other values of "
            f"{', '.join(differing)}: start without it, or use the settings it was made with"
        )


def _averaged(run: _Run) -> CellposeNet:
    return copy.deepcopy(run.average).to("cpu").eval()


def _state(run: _Run) -> RefineState:
    state = {
        "plan": asdict(run.plan),
        "config": asdict(run.net.config),
        "step": run.step,
        "net": run.net.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    return copy.deepcopy(state)  # state_dict gives views that the next step would change

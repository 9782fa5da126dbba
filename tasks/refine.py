"""refine train: a segmenter that learns from corrected masks, judged on chips it never saw."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import layout
from storage.arrays import Digests, digest
from storage.objects import Objects, open_store
from tasks import announce
from tasks.annotations import standing_annotations
from tasks.kernels.matching import THRESHOLDS, precision_of
from tasks.kernels.pictures import labels_over_image, loss_curves
from tasks.models.cellpose_checkpoints import save_cellpose
from tasks.models.cellpose_net import CellposeNet
from tasks.models.checkpoints import load_refining, save_refining
from tasks.models.refining import RefinePlan, refine
from tasks.models.refining_batches import LabelledPlane
from tasks.models.refining_scores import EarlyStop, FlowMaps, Score, scores
from tasks.networks import Base, in_use, open_base, read_network
from tasks.passing import may_pass
from tasks.refine_data import Split, annotations_of, digest_of, split
from tasks.refine_memory import check_learning, check_stored
from tasks.refine_settings import RefineSettings
from tasks.settings import Resources, question
from tasks.stage import Handle, Outcome, Question, folder, produce
from tasks.tracking import KEY, Run, Tracking, tracked_run
from tasks.tracking.champions import Champion

ALGORITHM = 1
JUDGED_BY = 2  # of the thresholds: AP at IoU 0.5 and 0.75 decide
WORST = 4
EXAMPLE_PX = 16  # edge of the model's example at its coarsest scale
NOT_ASKED = {
    "margin",
    "base",
}  # the margin decides what is done with the network; the base is named by digest


@dataclass(frozen=True)
class Work:
    """What one training needs to know."""

    objects: Objects
    key: str
    settings: RefineSettings
    base: Base
    rival: Base
    parts: Split
    tracking: Tracking
    registered_name: str
    champion: Champion | None

    @property
    def state_path(self) -> str:
        """Where what a killed run needs lies."""
        return f"{layout.progress_folder('segmenter', self.key)}/state.pt"

    def plan(self) -> RefinePlan:
        """Return how the weights are found."""
        settings = self.settings
        return RefinePlan(
            steps=settings.steps,
            batch_size=settings.batch_size,
            crop_px=settings.crop_px,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=min(50, settings.steps // 10),
            average_decay=settings.average_decay,
            report_every=min(settings.evaluate_every, settings.steps),
            seed=settings.seed,
        )


def registry_name(objects: Objects) -> str:
    """Return the name under which a store's segmenters are registered."""
    return f"chipcyte-segmenter-{objects.url.rstrip('/').rsplit('/', 1)[1]}".replace(":", "-")


@task(task_run_name="refine {tracking.experiment}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def refine_segmenter(
    *,
    store: str,
    pairs: str | None,
    settings: RefineSettings,
    tracking: Tracking,
    resources: Resources,
    champion: Champion | None = None,
) -> Handle:
    """Teach a network all annotations of a store, and those of a folder of pictures with masks."""
    objects = open_store(store)
    standing = list(standing_annotations(objects).values())
    check_stored(objects, standing, resources)
    annotations = annotations_of(objects, standing, Path(pairs) if pairs else None)
    base = open_base(objects, settings, champion)
    asked = Question(
        "segmenter",
        tracking.experiment,
        tuple(record.reference for record in standing),
        {name: value for name, value in question(settings).items() if name not in NOT_ASKED}
        | {"base": base.digest, "pictures": digest_of(annotations)},
        ALGORITHM,
    )

    def compute(key: str) -> Outcome:
        parts = split(annotations, settings)  # simulates and cleans pictures, for many seconds
        check_learning(parts.learning, [*parts.watched, *parts.held_out], base.net, settings, resources)
        rival = in_use(objects, champion) or base
        return _train(
            Work(objects, key, settings, base, rival, parts, tracking, registry_name(objects), champion)
        )

    return produce(objects, asked, compute)


def _train(work: Work) -> Outcome:
    with work.tracking.run(work.objects, "refine", work.key) as run:
        run.params({"refine": question(work.settings), "base": work.base.name, "data": work.parts.counts})
        run.dataset("annotations", work.key, work.objects.url, work.parts.counts)
        before = _judge(run, work, "before", work.base.net)
        rival = before if work.rival is work.base else _judge(run, work, "in_use", work.rival.net)
        net, history = _fit(work, run)
        after = _judge(run, work, "after", net)
        metrics = _verdict(run, work, before, rival, after)
        written = _keep(work, net, history, after)
        _show(run, work, after, history)
        version = log_network(run, net, work.registered_name, work.key)
    return Outcome(
        path=folder("segmenter", work.key, "network.pt"),
        written=written,
        counts=work.parts.counts | {"steps": int(history[-1]["step"])},
        metrics=metrics,
        details={
            "base": {"name": work.base.name, "digest": work.base.digest},
            "in_use": {"name": work.rival.name, "digest": work.rival.digest},
            "champion": work.champion.key if work.champion else None,
            "held_out_groups": sorted({plane.group for plane in work.parts.held_out}),
            "run_id": run.id,
            "run_url": run.url,
            "tracking_uri": work.tracking.uri,
            "model_version": version,
            "registered_name": work.registered_name,
        },
    )


def _verdict(
    run: Run, work: Work, before: Sequence[Score], rival: Sequence[Score], after: Sequence[Score]
) -> dict[str, Any]:
    """Say whether the network is better than what is in use, by the margin."""
    gain = _judged(after) - _judged(rival)
    better = bool(gain > work.settings.margin)
    run.metrics({"hold_out/gain": gain})
    run.tag("chipcyte.better", str(better))
    return {
        "before": precisions(before),
        "in_use": precisions(rival),
        "after": precisions(after),
        "gain": round(gain, 6),
        "margin": work.settings.margin,
        "better": better,
    }


def log_network(run: Run, net: CellposeNet, registered_name: str, key: str) -> int | None:
    """Store the network in the run, as a Cellpose file and as a model, and return the model's version.

    None while it waits for a lost server.
    """
    run.file("network.pt", save_cellpose(net))
    edge = EXAMPLE_PX * net.config.multiple_px
    example = np.zeros((2, net.config.in_channels, edge, edge), np.float32)
    logged = run.model(
        FlowMaps(net), example, name="segmenter", registered_name=registered_name, tags={KEY: key}
    )
    return logged.version


def register_again(objects: Objects, made: Handle, tracking: Tracking) -> int:
    """Register a network of the store with an MLflow that has lost it, or never knew it."""
    tags = tracking.tags | {KEY: made.key}
    name = f"refine {made.key[:8]} again"
    with tracked_run(tracking.experiment, name, tracking_uri=tracking.uri, tags=tags) as run:
        for which in ("before", "in_use", "after"):
            run.metrics({f"hold_out/{which}/{at}": value for at, value in made.metrics[which].items()})
        version = log_network(run, read_network(objects, made.key), registry_name(objects), made.key)
    assert version is not None  # without a spool a lost server is an error
    return version


def _judge(run: Run, work: Work, name: str, net: CellposeNet) -> list[Score]:
    """Segment the hold-out as users do, the diameter found in each picture, and log the AP."""
    found = scores(net, work.parts.held_out)
    run.metrics({f"hold_out/{name}/{key}": value for key, value in precisions(found).items()})
    return found


def precisions(found: Sequence[Score]) -> dict[str, float]:
    """Return the AP at each IoU, all nuclei pooled; 0 where there is neither a nucleus nor one found."""
    values = np.nan_to_num(
        precision_of(sum((one.counts for one in found), np.zeros((len(THRESHOLDS), 3), int)))
    )
    return {f"ap_{at:.2f}": round(float(value), 6) for at, value in zip(THRESHOLDS, values, strict=True)}


def _judged(found: Sequence[Score]) -> float:
    return float(np.mean(list(precisions(found).values())[:JUDGED_BY]))


def _fit(work: Work, run: Run) -> tuple[CellposeNet, list[dict[str, float]]]:
    """Learn, and after each look keep what a killed run needs to go on; return the best network."""
    watch = EarlyStop(lambda net: _watch_score(net, work.parts.watched), work.settings.patience)
    history: list[dict[str, float]] = []
    resume = None
    if work.objects.exists(work.state_path):
        resume = load_refining(work.objects.get(work.state_path))
        watch.resume(resume.pop("watch"))
        history += resume.pop("reports")
    latest: dict[str, Any] = {}
    tell = announce.listener("refine")

    def look(step: int, net: CellposeNet) -> bool:
        over = watch.look(step, net) if work.parts.watched else False
        if work.parts.watched:
            history[-1]["watched_ap"] = watch.history[-1][1]
        state = save_refining({**latest, "watch": watch.state(), "reports": history})
        work.objects.put(work.state_path, state)
        run.metrics({name: value for name, value in history[-1].items() if name != "step"}, step=step)
        tell(step, work.settings.steps)
        return over

    net = work.base.net
    if not watch.is_over:
        net = refine(
            net,
            work.parts.learning,
            work.plan(),
            resume=resume,
            on_report=lambda report: history.append(dict(report)),
            on_checkpoint=latest.update,
            stop=look,
        )
    return watch.best_of(net), history


def _watch_score(net: CellposeNet, planes: Sequence[LabelledPlane]) -> float:
    return _judged(scores(net, planes, diameter_is_known=True))


def _keep(work: Work, net: CellposeNet, history: list[dict[str, float]], after: Sequence[Score]) -> Digests:
    """Write the network, its history and its scores into the store, which needs no MLflow to be read."""
    rows = [
        {"picture": plane.name, "group": plane.group, "counts": score.counts.tolist()}
        for plane, score in zip(work.parts.held_out, after, strict=True)
    ]
    files = {
        "network.pt": save_cellpose(net),
        "history.json": json.dumps(history, indent=1).encode(),
        "scores.json": json.dumps({"iou": list(THRESHOLDS), "hold_out": rows}, indent=1).encode(),
    }
    for name, content in files.items():
        work.objects.put(folder("segmenter", work.key, name), content)
    return {folder("segmenter", work.key, name): digest(content) for name, content in files.items()}


def _show(run: Run, work: Work, after: Sequence[Score], history: list[dict[str, float]]) -> None:
    """Log the curves, and the pictures of the hold-out that came out worst beside what people drew."""
    run.picture("losses", loss_curves(_panels(history)))
    order = np.argsort(
        [np.nan_to_num(precision_of(score.counts)[0], nan=1.0) for score in after], kind="stable"
    )
    for rank, number in enumerate(order[:WORST], start=1):
        plane = work.parts.held_out[number]
        run.picture(f"worst-{rank}-found", labels_over_image(plane.yx, after[number].labels_yx))
        run.picture(f"worst-{rank}-drawn", labels_over_image(plane.yx, _uint32(plane.labels_yx)))


def _uint32(labels_yx: NDArray[np.integer]) -> NDArray[np.uint32]:
    return labels_yx.astype(np.uint32)


def _panels(history: list[dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    panels = {name: {"learning": [report[f"{name}_loss"] for report in history]} for name in ("flow", "cell")}
    if "watched_ap" in history[0]:
        panels["AP of watched pictures"] = {
            "watched": [report.get("watched_ap", np.nan) for report in history]
        }
    return panels

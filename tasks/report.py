"""report: everything a run found, as one page that needs nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import records
from storage.arrays import digest
from storage.objects import Objects, open_store
from storage.records import Record
from tasks import announce, report_pictures, report_populations
from tasks.kernels import page
from tasks.kernels.wording import PERCENT, for_people
from tasks.passing import may_pass
from tasks.settings import ReportSettings, Settings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tracking import TrackingError, log_to_run
from tasks.train import Tracking

ALGORITHM = 6
MOST_LISTED = 5
FITTED_CAUTION = (
    "Network and clusters were fitted to the cells learned from. Scores named held out are of cells that "
    "neither has seen."
)
TRUTH_CAUTION = "Accuracy and purity pair clusters with populations with the truth in hand."
SCORE_NAMES = {
    "silhouette": "Silhouette",
    "davies_bouldin": "Davies-Bouldin index",
    "calinski_harabasz": "Calinski-Harabasz index",
    "accuracy": "Accuracy (best one-to-one match)",
    "purity": "Purity",
    "nmi": "Normalised mutual information",
    "ari": "Adjusted Rand index",
}


@dataclass(frozen=True)
class Trail:
    """The artifacts of one acquisition, and what the lab says of it."""

    clean: Handle
    labels: Handle
    patches: Handle
    sample: Handle


@task(task_run_name="report {clusters.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def report(
    *,
    trails: Sequence[Trail],
    clusters: Handle,
    model: Handle,
    store: str,
    settings: ReportSettings,
    every: Settings,
    tracking: Tracking,
) -> Handle:
    """Write the page, and log it to the clustering's MLflow run."""
    objects = open_store(store)
    parents = (*references([clusters, model]), *references([trail.patches for trail in trails]))
    asked = Question("report", clusters.name, parents, question(settings), ALGORITHM)

    def compute(key: str) -> Outcome:
        content = _content(objects, list(trails), clusters, model, settings, every, tracking)
        html = page.render_page(content)
        path = folder("report", key, "report.html")
        objects.put(path, html.encode())
        shown = [one for group in content.pictures for one in group.pictures]
        shown += [content.headline] if content.headline else []
        _log(objects, records.read(objects, "clusters", clusters.key), html, shown, tracking)
        return Outcome(path=path, written={path: digest(html.encode())}, counts={"bytes": len(html.encode())})

    return produce(objects, asked, compute)


def _log(
    objects: Objects, found: Record, html: str, shown: Sequence[page.Picture], tracking: Tracking
) -> None:
    """Add the page to the training's and the clustering's runs; an MLflow set up later knows neither."""
    try:
        training = records.lineage(objects, found)
        trained = next(str(one.details["run_id"]) for one in training if one.kind == "model")
        log_to_run(tracking.uri, trained, objects).page("report", html)
        run = log_to_run(tracking.uri, str(found.details["run_id"]), objects)
        run.page("report", html)
        for one in shown:
            run.picture(re.sub(r"[^a-z0-9]+", "-", one.title.lower()).strip("-"), one.png)
    except TrackingError as error:
        announce.warn(f"the report is in the store but not in MLflow: {error}")


def _content(
    objects: Objects,
    trails: list[Trail],
    clusters: Handle,
    model: Handle,
    settings: ReportSettings,
    every: Settings,
    tracking: Tracking,
) -> page.ReportContent:
    found = records.read(objects, "clusters", clusters.key)
    cells = sum(trail.labels.counts["cells"] for trail in trails)
    view = report_pictures.read_view(objects, clusters)
    truth = "ari" in found.metrics
    return page.ReportContent(
        title="Nuclei on microgrooves: populations and conditions",
        data_set=tracking.experiment,
        made_on=f"{datetime.fromisoformat(found.created):%d %B %Y, %H:%M %Z}",
        sentences=_sentences(found, cells, len(trails)),
        findings=_findings(found, cells, len(trails)),
        provenance=_provenance(objects, found, every, tracking),
        headline=report_pictures.spread(view),
        composition=report_pictures.composition_of(view),
        pictures=(
            report_pictures.examples(objects, view, _chosen(objects, trails, settings.examples)),
            report_pictures.populations(objects, view, trails, settings.patches_per_cluster),
            report_populations.latent_space(view),
            report_populations.sizes(view),
            report_pictures.trends(objects, trails),
            report_pictures.learning(objects, view, model),
        ),
        acquisitions=tuple(_acquisition(objects, trail) for trail in trails),
        scores=_scores(found),
        cautions=(FITTED_CAUTION, TRUTH_CAUTION) if truth else (FITTED_CAUTION,),
    )


def _chosen(objects: Objects, trails: list[Trail], count: int) -> list[Trail]:
    """Return the acquisitions shown: of each condition one, then the next of each."""
    turns: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for number, trail in enumerate(trails):
        condition = str(records.read(objects, "sample", trail.sample.key).settings["condition"])
        turns[condition] = turns.get(condition, 0) + 1
        order.append((turns[condition], number))
    return [trails[number] for _, number in sorted(order)[:count]]


def _sentences(found: Record, cells: int, acquisitions: int) -> tuple[str, ...]:
    analysed = found.counts["cells"]
    first = (
        f"{for_people(cells)} cells were found in {acquisitions} acquisitions, counted once in each frame; "
        f"{for_people(analysed)} of them lie whole in the field and were analysed."
    )
    return (first, *_strongest(found.details["composition"]), *_differences(found.details["comparison"]))


def _strongest(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Name the cluster in which two conditions differ most."""
    shares: dict[Any, list[tuple[float, str]]] = {}
    for row in rows:
        shares.setdefault(row["cluster"], []).append((float(row["percent"]), str(row["condition"])))
    spread = {cluster: (min(found), max(found)) for cluster, found in shares.items() if len(found) > 1}
    if not spread:
        return ("All cells belong to one condition, so there is nothing to compare yet.",)
    cluster, (least, most) = max(spread.items(), key=lambda item: item[1][1][0] - item[1][0][0])
    return (
        f"The conditions differ most in cluster {cluster}: it holds {most[0]:.0f}{PERCENT} of the {most[1]} "
        f"cells and {least[0]:.0f}{PERCENT} of the {least[1]} cells.",
    )


def _differences(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Say in which clusters the conditions differ more than chips of one condition do."""
    tested = [row for row in rows if row["p_corrected"] is not None]
    if not tested:
        return ("Without two chips of each condition no difference can be tested.",) if rows else ()
    least = min(tested, key=lambda row: row["p_corrected"])
    how = {"permutation": "chips rearranged in every way", "t": "Student's t on chips"}[least["test"]]
    return (
        f"The clearest difference: the odds of cluster {least['cluster']} in {least['condition']} are "
        f"{for_people(least['odds_ratio'])} times those in {least['against']} (interval "
        f"{for_people(least['odds_ratio_low'])} to {for_people(least['odds_ratio_high'])}); corrected "
        f"p\N{NO-BREAK SPACE}{for_people(least['p_corrected'])} "
        f"({how}, Holm over {len(tested)} comparisons).",
    )


def _findings(found: Record, cells: int, acquisitions: int) -> tuple[page.Finding, ...]:
    conditions = {row["condition"] for row in found.details["composition"]}
    always = (
        page.Finding("Cells found", cells, "over all frames"),
        page.Finding("Acquisitions", acquisitions),
        page.Finding("Conditions", len(conditions)),
        page.Finding("Clusters", found.counts["clusters"]),
        page.Finding("Silhouette", found.metrics["silhouette"], "in the latent space"),
    )
    if "ari" not in found.metrics:
        return always
    return (
        *always,
        page.Finding("Adjusted Rand index", found.metrics["ari"], "against the known populations"),
    )


def _scores(found: Record) -> tuple[page.Score, ...]:
    parts = {"": "all analysed cells", "train_": "cells learned from", "held_out_": "held-out cells"}
    spaces = {"": "latent space", "clustered_": "the space clustered"}
    return tuple(
        page.Score(text, found.metrics[name], f"{cells}, {space}", _interval(found, name))
        for part, cells in parts.items()
        for prefix, space in spaces.items()
        for score, text in SCORE_NAMES.items()
        if (name := part + prefix + score) in found.metrics
    )


def _interval(found: Record, name: str) -> str:
    low, high = (found.metrics.get(f"{name}_{end}") for end in ("low", "high"))
    unit = found.details["interval_unit"]
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g} (95 %, {unit}s drawn anew)"


def _acquisition(objects: Objects, trail: Trail) -> page.Acquisition:
    sample = records.read(objects, "sample", trail.sample.key).settings
    flags = () if trail.clean.metrics["rotated"] else ("left unrotated",)
    unknown = () if trail.labels.metrics["pixel_size_um"] else ("pixel size not known",)
    flagged = records.read(objects, "clean", trail.clean.key).details["flagged"]
    frames = [
        f"{reason} frames: {_listed(flagged, reason)}"
        for reason in sorted({one["reason"] for one in flagged})
    ]
    return page.Acquisition(
        name=trail.sample.name,
        chip=sample["chip"] or None,
        position=sample["position"] or None,
        condition=sample["condition"],
        frames=trail.labels.counts["frames"],
        cells=trail.labels.counts["cells"],
        angle_deg=trail.clean.metrics["angle_deg"],
        confidence=trail.clean.metrics["confidence"],
        cells_per_mm2=trail.clean.metrics["cells_per_mm2"],
        profile=trail.clean.metrics["why"],
        flags=(*flags, *unknown, *frames),
    )


def _listed(flagged: Sequence[dict[str, Any]], reason: str) -> str:
    """Name the time points of frames that are out of range for one reason, no more than a few."""
    times = sorted({one["t"] for one in flagged if one["reason"] == reason})
    shown = ", ".join(str(t) for t in times[:MOST_LISTED])
    return shown if len(times) <= MOST_LISTED else f"{shown} and {len(times) - MOST_LISTED} more"


def _provenance(objects: Objects, found: Record, every: Settings, tracking: Tracking) -> page.Provenance:
    chain = records.lineage(objects, found)
    training = next(one for one in chain if one.kind == "model")
    links = [
        page.Link("The clustering in MLflow", str(found.details["run_url"])),
        page.Link("The training in MLflow", str(training.details["run_url"])),
    ]
    if tracking.flow_run_url:
        links.append(page.Link("The flow run in Prefect", tracking.flow_run_url))
    return page.Provenance(
        settings=every.model_dump(mode="json", exclude={"resources", "watch", "sweep", "compare"}),
        versions=found.versions,
        artifacts=tuple(
            page.Artifact(one.kind, one.key, tuple(f"{p.kind} {p.key}" for p in one.parents)) for one in chain
        ),
        links=tuple(links),
    )

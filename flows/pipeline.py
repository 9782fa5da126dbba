"""The main job: from files to a compared model, one Prefect task for each acquisition and stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect import flow

from flows.inputs import Found, find_inputs
from flows.refining import with_champion
from flows.several import each
from flows.summary import STAGES, Result, announce_histories, announce_result
from storage import records
from storage.errors import ChipcyteError, InputError, MissingInputError
from storage.objects import Objects, open_store
from tasks import announce
from tasks.cluster import cluster
from tasks.embed import embed
from tasks.extract import extract, sized
from tasks.illumination import estimate_illumination
from tasks.ingest import ingest
from tasks.preprocess import preprocess
from tasks.preprocess_settings import FlatField
from tasks.report import Trail, report
from tasks.samples import (
    Statements,
    attach_sample,
    attach_truth,
    sample_facts,
    standing_samples,
    standing_truths,
)
from tasks.segment import segment
from tasks.settings import ExtractSettings, Settings
from tasks.stage import Handle, handle
from tasks.tracking import deliver_if_any
from tasks.train import Tracking, train

Stage = Literal["ingest", "preprocess", "segment", "extract", "train", "embed", "cluster", "report"]


@dataclass(frozen=True)
class Job:
    """What every step of one run needs to know."""

    objects: Objects
    settings: Settings
    tracking: Tracking
    until: Stage

    def reaches(self, stage: Stage) -> bool:
        """Return whether the run goes as far as a stage."""
        return STAGES.index(stage) <= STAGES.index(self.until)

    @property
    def store(self) -> str:
        """The store's URL."""
        return self.objects.url


@dataclass(frozen=True)
class Start:
    """An acquisition that is in the store."""

    raw: Handle
    sample: Handle
    truth: Handle | None


@flow(name="run", flow_run_name="{name}")
def run(
    *,
    inputs: list[str],
    store: str,
    name: str,
    tracking_uri: str,
    settings: Settings,
    samples: str | None = None,
    until: Stage = "report",
) -> Result:
    """Ingest files and folders and carry them through every stage up to `until`.

    An acquisition that fails does not stop the others; the first failure is raised when all are through.
    """
    found = find_inputs(inputs, settings.ingest, Path(samples) if samples else None)
    job = _job(open_store(store, create=True), settings, name, tracking_uri, until)
    said = Statements(job.objects)
    starts = each(found, lambda one: _ingest(job, one, said), settings.resources)
    return _onward(job, _once(starts))


@flow(name="process", flow_run_name="{name}", timeout_seconds=7 * 86_400)
def process(
    *,
    store: str,
    name: str,
    tracking_uri: str,
    settings: Settings,
    acquisitions: list[str] | None = None,
    until: Stage = "report",
) -> Result:
    """Carry acquisitions of a store through every stage up to `until`; what is there already is reused.

    Args:
        store: Folder or s3:// of the store.
        name: What the run is called in Prefect and MLflow.
        tracking_uri: Address of the MLflow server.
        settings: As in a settings file; those left out keep their defaults.
        acquisitions: Keys of acquisitions, or their first digits; empty: all.
        until: The last stage.
    """
    job = _job(open_store(store), settings, name, tracking_uri, until)
    return _onward(job, _starts(job.objects, acquisitions))


def _job(objects: Objects, settings: Settings, name: str, tracking_uri: str, until: Stage) -> Job:
    deliver_if_any(objects, tracking_uri)
    if STAGES.index(until) >= STAGES.index("segment"):
        settings = with_champion(objects, settings, tracking_uri)
    return Job(objects, settings, Tracking(tracking_uri, name, announce.run_page()), until)


def _ingest(job: Job, found: Found, said: Statements) -> Start:
    raw = ingest(found.acquisition, job.store, job.settings.ingest, job.settings.resources)
    return Start(
        raw,
        attach_sample(job.objects, raw, found.sample, said.about(raw)),
        attach_truth(job.objects, raw, found.truth),
    )


def _once(starts: Sequence[Start]) -> list[Start]:
    """Leave out files that are copies of another: they are one acquisition."""
    first: dict[str, Start] = {}
    for start in starts:
        known = first.setdefault(start.raw.key, start)
        if known is not start:
            announce.warn(f"{start.raw.name} holds the same image as {known.raw.name}; it is taken once")
    return list(first.values())


def _starts(objects: Objects, wanted: list[str] | None) -> list[Start]:
    """Return acquisitions that earlier runs ingested."""
    named = (records.resolve(objects, key) for key in wanted or ())
    chosen = records.listing(objects, "raw") if wanted is None else list(named)
    strangers = [one for one in chosen if one.kind != "raw"]
    if strangers:
        raise InputError(f"expected keys of acquisitions, found {strangers[0].kind} {strangers[0].key}")
    if not chosen:
        raise MissingInputError(f"the store {objects.url} holds no acquisition; ingest some first")
    keys = {one.key for one in chosen}
    samples, truths = standing_samples(objects, keys), standing_truths(objects, keys)
    return [_start(objects, raw, samples, truths.get(raw.key)) for raw in chosen]


def _start(
    objects: Objects, raw: records.Record, samples: dict[str, records.Record], truth: records.Record | None
) -> Start:
    if raw.key not in samples:
        raise MissingInputError(f"{raw.name} was not ingested to the end; ingest it again")
    sample, known = samples[raw.key], handle(objects, truth) if truth else None
    return Start(handle(objects, raw, name=sample.name), handle(objects, sample), known)


def _onward(job: Job, starts: Sequence[Start]) -> Result:
    """Go on from the store to the stage that was asked for."""
    result = Result({"ingest": [start.raw for start in starts]}, flow_run_url=job.tracking.flow_run_url)
    if job.reaches("preprocess"):
        _nuclei(job, starts, result)
    if job.reaches("train"):
        _populations(job, starts, result)
    announce_result(job.objects, result)
    announce_histories(job.objects, result)
    return result


def _nuclei(job: Job, starts: Sequence[Start], result: Result) -> None:
    """Each acquisition alone: clean image, labels, patches."""
    lights = _illuminations(job, starts)
    carried = each(
        starts,
        lambda start: _carry(job, start, lights.get(start.raw.key)),
        job.settings.resources,
    )
    for stage in ("preprocess", "segment", "extract"):
        handles = [one[stage] for one in carried if stage in one]
        if handles:
            result.stages[stage] = handles
    if job.reaches("extract") and "extract" not in result.stages:
        result.stages["extract"] = _cut_alike(job, starts, carried)


def _illuminations(job: Job, starts: Sequence[Start]) -> dict[str, Handle | ChipcyteError]:
    """Return the flat-field of each acquisition's chip, or why there is none; nothing where it is off.

    The chip is that of the sample; an acquisition of no known chip is one of its own.
    """
    if not isinstance(job.settings.preprocess.illumination, FlatField):
        return {}
    chips: dict[tuple[str, str], list[Handle]] = {}
    for start in starts:
        chip = sample_facts(job.objects, start.sample).chip
        chips.setdefault(("chip", chip) if chip else (start.raw.key, start.raw.name), []).append(start.raw)
    lights = each(
        list(chips.items()),
        lambda one: _illumination(job, one[0][1], one[1]),
        job.settings.resources,
    )
    return {raw.key: light for raws, light in zip(chips.values(), lights, strict=True) for raw in raws}


def _illumination(job: Job, chip: str, raws: Sequence[Handle]) -> Handle | ChipcyteError:
    """Return a failure instead of raising it: it is that of this chip's acquisitions alone."""
    settings = job.settings
    try:
        return estimate_illumination(
            raws=raws, name=chip, store=job.store, settings=settings.preprocess, resources=settings.resources
        )
    except ChipcyteError as error:
        return error


def _carry(job: Job, start: Start, light: Handle | ChipcyteError | None) -> dict[str, Handle]:
    if isinstance(light, ChipcyteError):
        raise light
    settings, resources = job.settings, job.settings.resources
    made = {"preprocess": preprocess(start.raw, job.store, settings.preprocess, resources, light)}
    if job.reaches("segment"):
        made["segment"] = segment(made["preprocess"], job.store, settings.segment, resources, start.sample)
    if job.reaches("extract") and settings.extract.crop.is_sized:
        made["extract"] = _cut(job, start, made, settings.extract)
    return made


def _cut(job: Job, start: Start, made: dict[str, Handle], settings: ExtractSettings) -> Handle:
    return extract(
        clean=made["preprocess"],
        labels=made["segment"],
        sample=start.sample,
        truth=start.truth,
        store=job.store,
        settings=settings,
        resources=job.settings.resources,
    )


def _cut_alike(job: Job, starts: Sequence[Start], carried: Sequence[dict[str, Handle]]) -> list[Handle]:
    """Cut patches of the size that the nuclei of all acquisitions give."""
    wanted = sized(job.objects, job.settings.extract, [made["segment"] for made in carried])
    pairs = list(zip(starts, carried, strict=True))
    return each(pairs, lambda pair: _cut(job, *pair, wanted), job.settings.resources)


def _populations(job: Job, starts: Sequence[Start], result: Result) -> None:
    """All acquisitions together: model, embedding, clusters, report."""
    settings, resources, patches = job.settings, job.settings.resources, result.stages["extract"]
    model = train(
        patches=patches, store=job.store, settings=settings.train, resources=resources, tracking=job.tracking
    )
    result.stages["train"] = [model]
    if not job.reaches("embed"):
        return
    embedding = embed(
        patches=patches,
        model=model,
        store=job.store,
        settings=settings.embed,
        training=settings.train,
        resources=resources,
    )
    result.stages["embed"] = [embedding]
    if not job.reaches("cluster"):
        return
    clusters = cluster(embedding, job.store, settings.cluster, job.tracking)
    result.stages["cluster"] = [clusters]
    found = records.read(job.objects, "clusters", clusters.key).details
    result.composition, result.tracking_page = found["composition"], found["run_url"].partition("#")[2]
    if job.reaches("report"):
        page = report(
            trails=_trails(starts, result),
            clusters=clusters,
            model=model,
            store=job.store,
            settings=settings.report,
            every=settings,
            tracking=job.tracking,
        )
        result.stages["report"] = [page]


def _trails(starts: Sequence[Start], result: Result) -> list[Trail]:
    stages = [result.stages[name] for name in ("preprocess", "segment", "extract")]
    return [
        Trail(clean, labels, patches, start.sample)
        for start, clean, labels, patches in zip(starts, *stages, strict=True)
    ]

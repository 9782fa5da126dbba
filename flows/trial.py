"""How fast this machine is: the stages up to patches, timed on a small simulated recording."""

import tempfile
import time
from pathlib import Path
from typing import Any

from storage.objects import Objects, open_store
from storage.samples import Sample
from storage.sources.discovery import find_acquisitions
from tasks.extract import extract
from tasks.extract_settings import CropAndPad
from tasks.ingest import ingest
from tasks.kernels.simulation.design import WILD_TYPE, ExperimentDesign
from tasks.preprocess import preprocess
from tasks.samples import attach_sample
from tasks.segment import segment
from tasks.segment_settings import Threshold
from tasks.settings import Resources, Settings
from tasks.simulate import simulate_experiment

EDGE_PX, FRAMES = 512, 5
Seconds = dict[str, float]


def seconds_a_pixel(settings: Settings) -> Seconds:
    """Return the seconds that a stage takes for a pixel of one plane, in one process, by the stage's verb.

    Of the time of a short and that of a longer recording the difference is taken: what a stage costs
    whatever its length is not in it. A network's own time is not in it either; labels are those of a
    threshold. The first recording warms up.
    """
    alone = _serial(settings)
    with tempfile.TemporaryDirectory(prefix="chipcyte-trial-") as folder:
        objects = open_store(f"{folder}/store", create=True)
        paths = _recordings(Path(folder, "short"), 2, 1) + _recordings(Path(folder, "long"), 1, FRAMES)
        _, short, long = [_timed(objects, path, alone) for path in paths]
    return {verb: max(0.0, long[verb] - short[verb]) / ((FRAMES - 1) * EDGE_PX**2) for verb in long}


def _recordings(folder: Path, chips: int, frames: int) -> list[Path]:
    """Simulate a recording of so many frames for each chip."""
    design = ExperimentDesign(
        seed=frames,
        conditions=(WILD_TYPE,),
        chips=chips,
        positions=1,
        time_points=frames,
        height_px=EDGE_PX,
        width_px=EDGE_PX,
    )
    simulate_experiment(folder, design)
    return [folder / place.file for place in design.places()]


def _serial(settings: Settings) -> Settings:
    """Return the same settings for one process, without a network and with patches of a given size."""
    plain = {
        "segment": settings.segment.model_copy(update={"method": Threshold()}),
        "extract": settings.extract.model_copy(update={"crop": CropAndPad(size_px=48)}),
        "resources": Resources(compute="serial", workers=1, memory_bytes=settings.resources.memory_bytes),
    }
    return settings.model_copy(update=plain)


def _timed(objects: Objects, path: Path, settings: Settings) -> Seconds:
    """Carry one recording up to its patches; return the seconds of each stage."""
    store, resources = objects.url, settings.resources
    (acquisition,) = find_acquisitions([path])
    moments = [time.perf_counter()]

    def done(made: Any) -> Any:
        moments.append(time.perf_counter())
        return made

    raw = done(ingest.fn(acquisition, store, settings.ingest, resources))
    sample = attach_sample(objects, raw, Sample(file=raw.name), None)
    clean = done(preprocess.fn(raw, store, settings.preprocess, resources))
    labels = done(segment.fn(clean, store, settings.segment, resources, sample))
    done(
        extract.fn(
            clean=clean,
            labels=labels,
            sample=sample,
            truth=None,
            store=store,
            settings=settings.extract,
            resources=resources,
        )
    )
    verbs = ("ingest", "preprocess", "segment", "extract")
    return {verb: after - before for verb, before, after in zip(verbs, moments, moments[1:], strict=False)}

"""segment: a clean image to labels, tile by tile without seams, and a table of the cells found."""

from collections.abc import Iterable, Iterator
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import images, layout, records
from storage.arrays import Digests
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.samples import Sample
from tasks import announce, budget
from tasks.cells import Columns
from tasks.label_quality import odd_frames, picture_of, plane_numbers
from tasks.label_steps import Planes, Steps, run_steps
from tasks.label_table import taken_over, write_cells
from tasks.models.network import NetworkSegmenter
from tasks.passing import may_pass
from tasks.samples import sample_facts
from tasks.settings import Resources, SegmentSettings, question
from tasks.stage import Handle, Outcome, Question, produce, references
from tasks.tiles import AnySegmenter, LabelTask, make_segmenter

ALGORITHM = 3


@task(task_run_name="segment {clean.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def segment(
    clean: Handle,
    store: str,
    settings: SegmentSettings,
    resources: Resources,
    sample: Handle | None = None,
) -> Handle:
    """Find the nuclei of every plane, measure them, and say of each which chip and condition it comes from.

    Where only what the lab says of the acquisition is new, labels and measures are taken over.
    """
    objects = open_store(store)
    image = images.open_image(objects, layout.image_path("clean", clean.key))
    segmenter = make_segmenter(settings, image.metadata.pixel_size_um[1], objects)
    asked = Question(
        kind="labels",
        name=clean.name,
        parents=references([clean] + ([sample] if sample else [])),
        settings=_asked(settings, segmenter),
        algorithm=ALGORITHM,
    )
    said = sample_facts(objects, sample) if sample else Sample(file=clean.name)

    def compute(key: str) -> Outcome:
        known = taken_over(objects, asked, key, said)
        return known or _label(objects, clean, key, said, settings, resources)

    done = produce(objects, asked, compute)
    _list_labels(objects, clean.key)
    _announce(objects, clean, done)
    return done


def _asked(settings: SegmentSettings, segmenter: AnySegmenter) -> dict[str, Any]:
    """Return what the key is made of: of a network its weights, wherever they lie."""
    asked = question(settings)
    asked["method"] = {name: value for name, value in asked["method"].items() if name != "model"}
    return {**asked, "segmenter": segmenter.version}


def _list_labels(objects: Objects, clean_key: str) -> None:
    """Keep NGFF's list of label images true to the records."""
    images.list_labels(objects, clean_key, images.label_keys(objects, clean_key))


def _label(
    objects: Objects,
    clean: Handle,
    key: str,
    said: Sample,
    settings: SegmentSettings,
    resources: Resources,
) -> Outcome:
    image = images.open_image(objects, layout.image_path("clean", clean.key))
    segmenter = make_segmenter(settings, image.metadata.pixel_size_um[1], objects)
    _warn_of_unknown_size(clean.name, image, segmenter)
    _check_budget(clean.name, image, segmenter, settings, resources)
    written: Digests = {}
    t, _, z, height, width = image.shape
    labels = images.create_image(
        objects,
        layout.labels_path(clean.key, key),
        shape=(t, z, height, width),
        dtype="uint32",
        metadata=image.metadata,
        written=written,
        shard_px=settings.tile_px,
    )
    steps = Steps(objects, LabelTask(objects.url, clean.key, key, settings, resources), clean.name)
    quality: list[dict[str, Any]] = []
    write_cells(objects, key, _judged(run_steps(steps, image, labels), quality), said, written)
    return Outcome(
        path=labels.path,
        written=written | steps.written,
        counts={"cells": sum(row["cells"] for row in quality), "frames": t, "planes": t * z},
        metrics={
            "cells_by_frame": [
                sum(row["cells"] for row in quality if row["t"] == frame) for frame in range(t)
            ],
            "pixel_size_um": image.metadata.pixel_size_um[1],
            "diameter_px": _diameter_px(segmenter, steps.work),
        },
        details={"segmenter": segmenter.name, "quality": quality, "flagged": odd_frames(quality)},
        units_done=steps.computed,
        units_reused=steps.reused,
    )


def _diameter_px(segmenter: AnySegmenter, work: LabelTask) -> float:
    found = work.diameter_px or segmenter.diameter_px
    assert found is not None
    return round(float(found), 3)


def _judged(parts: Iterable[tuple[Planes, Columns]], quality: list[dict[str, Any]]) -> Iterator[Columns]:
    """Pass the cells of some planes after the other on; note the quality of each plane, t slowest."""
    for planes, columns in parts:
        quality += [plane_numbers(columns, t, z) for t, z in planes]
        yield columns


def _warn_of_unknown_size(name: str, image: OmeImage, segmenter: AnySegmenter) -> None:
    if image.metadata.pixel_size_um[1] is None:
        taken = segmenter.diameter_px
        wide = "of the width that is found" if taken is None else f"{taken:g} px wide"
        announce.warn(f"{name}: the pixel size is not known; nuclei are taken to be {wide}")


def _check_budget(
    name: str, image: OmeImage, segmenter: AnySegmenter, settings: SegmentSettings, resources: Resources
) -> None:
    """Patches are shown to the network, tiles are labelled and their cells measured."""
    edges = [min(edge, settings.tile_px) + 2 * segmenter.halo_px for edge in image.shape[-2:]]
    if not isinstance(segmenter, NetworkSegmenter):
        budget.check(f"segment {name}", budget.SEGMENT, edges, resources)
        return
    network = segmenter.network
    for per_px, shape_yx in ((budget.SEGMENT, edges), (network.bytes_a_px, [network.patch_px] * 2)):
        budget.check(f"segment {name}", per_px, shape_yx, resources, network=True)


def _announce(objects: Objects, clean: Handle, made: Handle) -> None:
    """Show in the Prefect UI how the segmentation went: numbers of each frame, what is odd, a picture."""
    found, key = records.read(objects, "labels", made.key), made.key[:12]
    announce.table(f"cells-{key}", found.details["quality"], f"{made.name}: cells of each frame")
    announce.table(f"odd-{key}", found.details["flagged"], f"{made.name}: frames whose cells are odd")
    announce.image(
        f"labels-{key}",
        lambda: picture_of(objects, clean.key, made.key),
        f"{made.name}: outlines of the cells",
    )

"""What a segmenter learns from, what only decides when to stop, and what nothing is learned from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import InputError
from storage.keys import canonical_json, digest_text
from storage.objects import Objects
from storage.records import Record
from tasks.annotations import Annotation, read_annotation
from tasks.cleaned_pictures import cleaned_planes
from tasks.models.refining_batches import LabelledPlane
from tasks.refine_import import Said, read_folder
from tasks.refine_settings import RefineSettings
from tasks.simulated_pictures import simulated_planes

MOST_WATCHED = 8


@dataclass(frozen=True)
class Split:
    """Labelled pictures, each in one of three parts; chips are held out whole."""

    learning: list[LabelledPlane]
    watched: list[LabelledPlane]
    held_out: list[LabelledPlane]

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures and nuclei each part has."""
        found = {}
        for name in ("learning", "watched", "held_out"):
            planes: list[LabelledPlane] = getattr(self, name)
            found[f"{name}_pictures"] = len(planes)
            found[f"{name}_nuclei"] = sum(int(plane.labels_yx.max(initial=0)) for plane in planes)
        return found


def annotations_of(objects: Objects, standing: Iterable[Record], pairs: Path | None) -> list[Annotation]:
    """Return the annotations of a store, and those of a folder of pictures with masks."""
    found = [read_annotation(objects, record) for record in standing]
    outside = read_folder(pairs, Said(untouched=True))[0] if pairs is not None else []
    known = {one.statement["picture"] for one in found}
    return found + [one.annotation for one in outside if one.annotation.statement["picture"] not in known]


def digest_of(annotations: Iterable[Annotation]) -> str:
    """Return one digest of all pictures, masks, names and groups."""
    return digest_text(canonical_json(sorted(canonical_json(one.statement) for one in annotations)))


def split(annotations: Sequence[Annotation], settings: RefineSettings) -> Split:
    """Hold out whole groups, and watch some pictures of the others.

    Each group has a place in an order that depends on the seed and its name alone, and the first are held
    out: a group that comes later changes the place of no other.

    Raises
    ------
    InputError
        There are not two groups with nuclei.
    """
    planes = [LabelledPlane(one.yx, one.labels_yx, one.group, one.name) for one in annotations]
    groups = sorted(
        {plane.group for plane in planes if plane.labels_yx.any()},
        key=lambda name: _place(settings.seed, name),
    )
    if len(groups) < 2:
        raise InputError(
            "expected masks with nuclei from two chips or fields of view, one to learn from and one to judge "
            f"by, found {len(groups)}; correct frames of another chip, or name the chips in samples.csv"
        )
    count = min(max(1, round(settings.hold_out_share * len(groups))), len(groups) - 1)
    held = set(groups[:count])
    rest = [plane for plane in planes if plane.group not in held]
    watched = _watched(rest, settings)
    learning = [plane for plane in rest if plane.name not in watched]
    learning += simulated_planes(settings.simulated, seed=settings.seed)
    return Split(
        learning + (cleaned_planes(learning, seed=settings.seed) if settings.cleaned else []),
        [plane for plane in rest if plane.name in watched],
        [plane for plane in planes if plane.group in held],
    )


def _watched(planes: Sequence[LabelledPlane], settings: RefineSettings) -> set[str]:
    """Return the names of the pictures that decide when to stop; none if there are too few to spare one."""
    with_nuclei = [plane.name for plane in planes if plane.labels_yx.any()]
    count = min(MOST_WATCHED, round(settings.watch_share * len(with_nuclei)))
    return set(sorted(with_nuclei, key=lambda name: _place(settings.seed, f"watch {name}"))[:count])


def _place(seed: int, name: str) -> str:
    return digest_text(f"{seed} {name}")

"""refine import: corrected masks back into the store, checked, with what was changed."""

import getpass
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import records
from storage.errors import FormatError, InputError, MissingInputError
from storage.objects import Objects
from storage.pairs import Form, Note, Origin, Pair, find_pairs, read_note
from storage.records import Record, Reference
from storage.samples import Samples, read_samples
from tasks.annotations import Annotation, keep_annotation, pixels_digest, standing_annotations
from tasks.kernels.annotation_checks import Checked, check_masks
from tasks.kernels.matching import changes
from tasks.refine_export import Frame
from tasks.stage import Handle

SAMPLES = "samples.csv"


@dataclass(frozen=True)
class Said:
    """What the person who imports says about all pictures of a folder.

    Attributes
    ----------
    by
        Who drew or corrected the masks; None: the user of this machine.
    part
        Whether each piece of a mask in several pieces is a cell.
    untouched
        Whether exported masks that nobody changed are right, too.
    """

    by: str | None = None
    part: bool = False
    untouched: bool = False


@dataclass(frozen=True)
class Corrected:
    """Masks that were read and checked."""

    annotation: Annotation
    checked: Checked
    origin: Origin | None
    before_yx: NDArray[np.uint32] | None
    file: Path


def import_folder(objects: Objects, folder: Path, said: Said) -> tuple[list[Handle], list[str]]:
    """Store the masks of all pictures of a folder.

    All files are read and checked before the first is stored. The folder is left as it is.

    Returns
    -------
    The annotations, and the names of exported frames that nobody changed.

    Raises
    ------
    InputError
        A picture or its masks cannot be read or learned from, two formats hold different corrections, or
        the folder was exported from another store.
    """
    read, untouched = read_folder(folder, said, objects)
    standing = standing_annotations(objects)
    who = said.by or _user()
    kept = [_keep(objects, one, who, standing.get(one.annotation.statement["picture"])) for one in read]
    return kept, untouched


def read_folder(
    folder: Path, said: Said, objects: Objects | None = None
) -> tuple[list[Corrected], list[str]]:
    """Read and check the masks of all pictures of a folder; `objects` is the store of exported ones."""
    found, note = find_pairs(folder), read_note(folder)
    origins = note.frames if note else {}
    if objects is not None:
        _check_store(objects, note, folder)
    samples = read_samples(folder / SAMPLES) if (folder / SAMPLES).is_file() else Samples()
    read, untouched = [], []
    for pair in found:
        origin = origins.get(pair.name)
        form, masks, is_new = _drawn(pair, origin)
        if not is_new and not said.untouched:
            untouched.append(pair.name)
            continue
        picture = None if origin is None or objects is None else _frame(objects, pair.name, origin)
        read.append(_read(pair, form, masks, origin, picture, samples, said))
    return read, untouched


def _check_store(objects: Objects, note: Note | None, folder: Path) -> None:
    if note is None:
        return
    for name, origin in note.frames.items():
        if records.find(objects, "clean", origin.clean) is None:
            raise InputError(
                f"{folder} was exported from {note.store}, and {name} is not in {objects.url}; name that "
                "store with --store"
            )


def _frame(objects: Objects, name: str, origin: Origin) -> Frame:
    """Return the exported frame; a lost or removed label image leaves masks that cannot be compared."""
    record = records.find(objects, "labels", origin.labels)
    if record is None:
        raise MissingInputError(
            f"{name}: expected labels {origin.labels} in {objects.url}, found none; make them again with "
            "`chipcyte segment` and the settings of then, and import once more"
        )
    return Frame(objects, record, origin.t, origin.z, origin.group)


def _drawn(pair: Pair, origin: Origin | None) -> tuple[Form, NDArray[Any], bool]:
    """Return the format in which masks were drawn or changed, the masks, and whether these are new."""
    masks = {form: pair.read_masks(form) for form in pair.masks}
    digests = {form: _masks_digest(yx) for form, yx in masks.items()}
    before = origin.masks if origin else None
    changed = [form for form in masks if digests.get(form) != before]
    if not changed:
        first = next(iter(masks))
        return first, masks[first], False
    if len({digests.get(form) for form in changed}) > 1:
        files = " and ".join(pair.masks[form].name for form in changed)
        raise InputError(
            f"{pair.folder}: {files} hold different masks of {pair.name}; keep the one that is right and "
            "remove the other"
        )
    return changed[0], masks[changed[0]], True


def _masks_digest(yx: NDArray[Any]) -> str:
    return pixels_digest(yx.astype(np.uint32) if yx.dtype.kind in "biu" else yx)


def _read(
    pair: Pair,
    form: Form,
    masks: NDArray[Any],
    origin: Origin | None,
    frame: Frame | None,
    samples: Samples,
    said: Said,
) -> Corrected:
    file = pair.masks[form]
    yx = frame.picture() if frame else pair.read_picture()
    if not np.isfinite(yx).all():
        raise FormatError(f"{pair.picture}: expected finite pixels, found NaN or infinity")
    try:
        checked = check_masks(masks, yx.shape, part=said.part)
    except ValueError as error:
        raise FormatError(f"{file}: {error}") from error
    group = origin.group if origin else _group(pair, samples)
    before = frame.labels() if frame else None
    return Corrected(Annotation(pair.name, group, yx, checked.labels_yx), checked, origin, before, file)


def _group(pair: Pair, samples: Samples) -> str:
    """Return the chip that samples.csv names, else the picture itself."""
    name = pair.picture.name if pair.picture else pair.name
    return (samples.of(name).chip if samples else "") or pair.name


def _keep(objects: Objects, one: Corrected, who: str, standing: Record | None) -> Handle:
    made_from = []
    if one.origin is not None:
        made_from = [
            Reference(kind="clean", key=one.origin.clean),
            Reference(kind="labels", key=one.origin.labels),
        ]
    changed = None if one.before_yx is None else asdict(changes(one.before_yx, one.annotation.labels_yx))
    iou = None if changed is None else changed.pop("mean_iou")
    drawn = datetime.fromtimestamp(one.file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return keep_annotation(
        objects,
        one.annotation,
        made_from=made_from,
        standing=standing,
        counts={"cells": int(one.annotation.labels_yx.max(initial=0))}
        | (changed or {})
        | {"specks": one.checked.specks, "parted": one.checked.parted},
        metrics={"iou_to_prediction": None if iou is None or np.isnan(iou) else round(iou, 6)},
        details={
            "by": who,
            "drawn": drawn,
            "file": one.file.name,
            "origin": one.origin.model_dump() if one.origin else None,
        },
    )


def _user() -> str:
    with suppress(KeyError, OSError):  # a container may run under a number without a name
        return getpass.getuser()
    return "unknown"

"""Folders of pictures with masks that people drew or corrected, in the formats they do that in.

For a picture NAME.tif or NAME.png the masks lie beside it: NAME_masks.tif or .png (any program), NAME_seg.npy
(Cellpose), or labels in NAME.ome.zarr (napari). The folder may hold a samples.csv that says which chip a
picture is of, and, if chipcyte exported it, a note about where each picture came from.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from storage import arrays, pictures, seg_files
from storage.errors import FormatError, InputError, MissingInputError

MASKS = "_masks"
ZARR = ".ome.zarr"
ZARR_MASKS = "labels/masks/0"
NOTE = "chipcyte-refine.json"
Form = Literal["seg", "tiff", "zarr"]


class Origin(BaseModel):
    """Where an exported frame came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clean: str
    labels: str
    t: int
    z: int
    group: str
    masks: str
    """Digest of the masks that were exported."""


class Note(BaseModel):
    """What an export says about its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["chipcyte refine export 1"] = "chipcyte refine export 1"
    store: str
    frames: dict[str, Origin]


@dataclass(frozen=True)
class Pair:
    """A picture and its masks, in one or several formats."""

    folder: Path
    name: str
    picture: Path | None
    masks: dict[Form, Path] = field(default_factory=dict)

    def read_picture(self) -> NDArray[Any]:
        """Return the picture, axes y x, from its file, or else from the `_seg.npy`."""
        if self.picture is not None:
            return pictures.read_picture(self.picture)
        inside = seg_files.read_seg(self.masks["seg"]).picture if "seg" in self.masks else None
        if inside is None:
            raise MissingInputError(
                f"{self.folder}: expected the picture {self.name}.tif or {self.name}.png beside its masks, "
                "found none"
            )
        return inside.mean(axis=-1) if inside.ndim == 3 and inside.shape[-1] in (3, 4) else inside.squeeze()

    def read_masks(self, form: Form) -> NDArray[Any]:
        """Return the masks of one format, singleton axes left out."""
        path = self.masks[form]
        if form == "tiff":
            return pictures.read_masks(path)
        if form == "seg":
            return seg_files.read_seg(path).masks.squeeze()
        return _read_zarr(path)


def find_pairs(folder: Path) -> list[Pair]:
    """Return all pictures of a folder that have masks, by name; pictures without are left out.

    Raises
    ------
    MissingInputError
        There is no such folder.
    InputError
        It holds no masks.
    """
    if not folder.is_dir():
        raise MissingInputError(f"expected a folder of pictures with masks at {folder}, found none")
    masks: dict[str, dict[Form, Path]] = {}
    for path in sorted(folder.iterdir()):
        for form, name in _masks_of(path):
            if form in masks.setdefault(name, {}):
                raise InputError(
                    f"{folder}: found {masks[name][form].name} and {path.name}; keep one of them"
                )
            masks[name][form] = path
    if not masks:
        raise InputError(
            f"{folder}: expected masks such as NAME{MASKS}.tif or NAME{seg_files.ENDING} beside NAME.tif, "
            "found none; `chipcyte refine export` writes such a folder"
        )
    return [Pair(folder, name, _picture_of(folder, name), found) for name, found in masks.items()]


def _masks_of(path: Path) -> Iterator[tuple[Form, str]]:
    if path.name.endswith(seg_files.ENDING):
        yield "seg", path.name.removesuffix(seg_files.ENDING)
    elif path.suffix.lower() in pictures.ENDINGS and path.stem.endswith(MASKS):
        yield "tiff", path.stem.removesuffix(MASKS)
    elif path.name.endswith(ZARR) and (path / ZARR_MASKS).is_dir():
        yield "zarr", path.name.removesuffix(ZARR)


def _picture_of(folder: Path, name: str) -> Path | None:
    found = [path for path in folder.glob(f"{_escaped(name)}.*") if path.suffix.lower() in pictures.ENDINGS]
    found = [path for path in found if path.stem == name]
    if len(found) > 1:
        raise InputError(
            f"{folder}: found several pictures of {name}: {found[0].name}, {found[1].name}; keep one"
        )
    return found[0] if found else None


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _read_zarr(path: Path) -> NDArray[Any]:
    try:
        found = arrays.open_outside(str(path / ZARR_MASKS))
        if int(np.prod(found.shape)) > pictures.MOST_PIXELS:
            raise ValueError(f"shape {found.shape}")
        return np.asarray(found[:]).squeeze()
    except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise FormatError(f"{path}: expected labels of one plane in {ZARR_MASKS}, found {error}") from error


def read_note(folder: Path) -> Note | None:
    """Return what an export said about its folder; None if no export made it."""
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        return Note.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise FormatError(
            f"{path}: expected what `chipcyte refine export` wrote, found something else "
            f"({error.errors()[0]['msg']}); export anew, or remove the file and import the pictures as such"
        ) from error


def write_note(folder: Path, note: Note) -> None:
    """Write what an export says about its folder."""
    text = json.dumps(note.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / NOTE).write_text(text + "\n", encoding="utf-8")

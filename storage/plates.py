"""Many images as one plate of OME-Zarr 0.5 (HCS): rows are chips, columns conditions, fields positions."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaozarrs import v05

from storage.errors import InputError
from storage.records import Record
from storage.samples import COLUMNS, Sample
from storage.sources.base import natural

VERSION = "0.5"


@dataclass(frozen=True)
class Field:
    """An image of a plate, and what the lab says of its recording."""

    image: Record
    sample: Sample


@dataclass(frozen=True)
class Plate:
    """The layout of a plate.

    Attributes
    ----------
    rows, columns
        The chip of each row and the condition of each column, by the row's or column's name in the plate.
    wells
        The fields of each well in their order, by the well's path ROW/COLUMN. Empty wells are left out.
    """

    rows: dict[str, str]
    columns: dict[str, str]
    wells: dict[str, tuple[Field, ...]]

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the validated attributes of the plate's group."""
        rows, columns = list(self.rows), list(self.columns)
        places = {path: path.split("/") for path in self.wells}
        plate = v05.Plate(
            plate=v05.PlateDef(
                name=name,
                rows=[v05.Row(name=row) for row in rows],
                columns=[v05.Column(name=column) for column in columns],
                wells=[
                    v05.PlateWell(path=path, rowIndex=rows.index(row), columnIndex=columns.index(column))
                    for path, (row, column) in places.items()
                ],
                field_count=max(len(fields) for fields in self.wells.values()),
            )
        )
        return _document(plate, "plate", {"rows": self.rows, "columns": self.columns})

    def well_attributes(self, path: str) -> dict[str, Any]:
        """Return the validated attributes of a well's group."""
        fields = self.wells[path]
        images = [v05.FieldOfView(path=str(number)) for number in range(len(fields))]
        well = v05.Well(well=v05.WellDef(images=images))
        row, column = path.split("/")
        ours = {
            "chip": self.rows[row],
            "condition": self.columns[column],
            "fields": {str(number): _facts(field) for number, field in enumerate(fields)},
        }
        return _document(well, "well", ours)


def plan_plate(fields: Iterable[Field]) -> Plate:
    """Lay images out as a plate, everything in natural order (chip 2 before chip 10).

    Raises
    ------
    InputError
        There is no image, or a recording of which the lab has not said on which chip it is.
    """
    given = list(fields)
    if not given:
        raise InputError("expected images for a plate, found none; preprocess some acquisitions first")
    _check_chips(given)
    rows = plain_names({field.sample.chip for field in given}, "row")
    columns = plain_names({field.sample.condition for field in given}, "column")
    wells: dict[str, tuple[Field, ...]] = {}
    for row, chip in rows.items():
        for column, condition in columns.items():
            here = [f for f in given if (f.sample.chip, f.sample.condition) == (chip, condition)]
            if here:
                wells[f"{row}/{column}"] = tuple(sorted(here, key=_order))
    return Plate(rows, columns, wells)


def plain_names(texts: Iterable[str], empty: str) -> dict[str, str]:
    """Return the texts, in natural order, by names that OME-Zarr allows: letters A-Z and digits only.

    A text keeps its letters and digits; accents go. Names that differ only in case or in zeros before a
    number are made to differ, since some file systems and readers take them for one. `empty` is the name
    of a text that has no such letter or digit.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for text in sorted(texts, key=_natural):
        ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9]", "", ascii_text) or empty
        name, number = stem, 1
        while _alike(name) in taken:
            number += 1
            name = f"{stem}n{number}"
        taken.add(_alike(name))
        found[name] = text
    return found


def repeated_recordings(fields: Iterable[Field]) -> list[str]:
    """Return the recordings of which a plate would hold several images, made with different settings."""
    seen: dict[tuple[str, str], int] = {}
    for field in fields:
        recording = (field.sample.file, raw_key(field.image))
        seen[recording] = seen.get(recording, 0) + 1
    return sorted(file for (file, _), times in seen.items() if times > 1)


def raw_key(image: Record) -> str:
    """Return the key of the acquisition that a raw or clean image shows."""
    return image.key if image.kind == "raw" else image.parents[0].key


def _check_chips(fields: Sequence[Field]) -> None:
    unsaid = list(dict.fromkeys(field.sample.file for field in fields if not field.sample.chip))
    if unsaid:
        named = ", ".join(unsaid[:3]) + (", ..." if len(unsaid) > 3 else "")
        raise InputError(
            f"a plate's rows are chips, and of {len(unsaid)} recordings the chip is not known ({named}); "
            f"write a samples.csv with the columns {','.join(COLUMNS)} beside the recordings and run "
            "`chipcyte ingest RECORDINGS --samples samples.csv`: it notes what is new, then export again"
        )


def _alike(name: str) -> str:
    return name.casefold().lstrip("0")


def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    return natural(Path(text.casefold())), text


def _order(field: Field) -> tuple[Any, ...]:
    sample, image = field.sample, field.image
    return _natural(sample.position), _natural(sample.file), image.kind, image.created, image.key


def _facts(field: Field) -> dict[str, Any]:
    facts = field.sample.model_dump(include={"file", "position", "replicate"})
    return facts | {"kind": field.image.kind, "key": field.image.key}


def _document(model: v05.Plate | v05.Well, part: str, ours: dict[str, Any]) -> dict[str, Any]:
    """Return a group's attributes; the specification asks for the version in the inner part, too."""
    described = model.model_dump(mode="json", exclude_none=True, by_alias=True)
    described[part]["version"] = VERSION
    return {"ome": described, "chipcyte": ours}

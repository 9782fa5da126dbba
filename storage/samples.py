"""samples.csv: what the lab knows of a file: chip, position, condition, replicate."""

import csv
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import FormatError, InputError, MissingInputError

UNLABELLED = "unlabelled"
COLUMNS = ("file", "chip", "position", "condition", "replicate")


class Sample(BaseModel):
    """One row: what holds for the files that match `file`, an exact name or a pattern with * and ?."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    file: str
    chip: str = ""
    position: str = ""
    condition: str = UNLABELLED
    replicate: str = ""


class Samples(tuple[Sample, ...]):
    """The rows of a table. A name is looked up, not searched for: a lab's table has a row for each file."""

    def of(self, name: str) -> Sample:
        """Return what the table says of a file; a file that no row matches is "unlabelled".

        Raises
        ------
        InputError
            Two rows match the file.
        """
        places = self._places.get(name, [])
        patterns = [place for place, matches in self._patterns if self[place].file != name and matches(name)]
        matching = [self[place] for place in sorted(places + patterns)]
        if len(matching) > 1:
            rows = " and ".join(repr(row.file) for row in matching)
            raise InputError(
                f"expected one row of samples.csv for {name}, found {rows}; make them exclude each other"
            )
        return matching[0].model_copy(update={"file": name}) if matching else Sample(file=name)

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place, row in enumerate(self):
            found.setdefault(row.file, []).append(place)
        return found

    @cached_property
    def _patterns(self) -> list[tuple[int, Callable[[str], object]]]:
        signs = re.compile(r"[*?[]")
        return [
            (place, re.compile(translate(row.file)).match)
            for place, row in enumerate(self)
            if signs.search(row.file)
        ]


def read_samples(path: Path) -> Samples:
    """Read samples.csv; an error names the file, the line and the column that is wrong."""
    if not path.is_file():
        raise MissingInputError(f"expected a samples table at {path}, found nothing there")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: expected a CSV table in UTF-8, found something else: {error}") from error
    if not rows:
        raise FormatError(f"{path}: expected a row for each file under {','.join(COLUMNS)}, found none")
    return Samples(_row(path, number, row) for number, row in enumerate(rows, start=2))


def _row(path: Path, line: int, row: dict[str, str | None]) -> Sample:
    if None in row or not (row.get("file") or "").strip():
        raise FormatError(f"{path}, line {line}: expected the columns {','.join(COLUMNS)}, found {list(row)}")
    given = {key: value for key, value in row.items() if value not in (None, "")}
    try:
        return Sample.model_validate(given)
    except ValidationError as error:
        column = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise FormatError(
            f"{path}, line {line}: unknown column {column!r}; expected {','.join(COLUMNS)}"
        ) from error


def samples_beside(inputs: Sequence[str | Path]) -> Path | None:
    """Return the samples.csv that lies in a given folder or beside a given file; None if there is none.

    Raises
    ------
    InputError
        Several different ones do, so that the user must choose.
    """
    folders = {path if path.is_dir() else path.parent for path in (Path(given) for given in inputs)}
    tables = sorted(folder / "samples.csv" for folder in folders if (folder / "samples.csv").is_file())
    if len(tables) > 1:
        raise InputError(f"found several samples.csv ({tables[0]}, {tables[1]}); name one with --samples")
    return tables[0] if tables else None

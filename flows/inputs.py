"""What a user names on the command line: acquisitions, their rows of samples.csv, and known truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import InputError
from storage.experiment import read_cells
from storage.samples import UNLABELLED, Sample, Samples, read_samples, samples_beside
from storage.sources.base import Acquisition
from storage.sources.discovery import find_acquisitions
from tasks import announce
from tasks.settings import IngestSettings

TRUTH = Path("truth") / "cells.csv"


@dataclass(frozen=True)
class Found:
    """An acquisition to ingest, what the lab says of it, and its known cells if it was simulated."""

    acquisition: Acquisition
    sample: Sample
    truth: tuple[dict[str, Any], ...] = ()


def find_inputs(
    inputs: Sequence[str], settings: IngestSettings, samples: Path | None = None, *, quietly: bool = False
) -> list[Found]:
    """Return the acquisitions that files and folders stand for, each with its sample and truth.

    Parameters
    ----------
    samples
        The samples table; None for the samples.csv that lies beside the inputs, if there is one.
    quietly
        Do not warn of files without a condition.

    Raises
    ------
    InputError
        A path or the table is wrong, two rows match one file, or two acquisitions bear one name.
    """
    acquisitions = find_acquisitions(
        inputs, folder_is=settings.folder_is, pages_are=settings.pages_are, pattern=settings.pattern
    )
    _check_names(acquisitions)
    path = samples or samples_beside(inputs)
    table = read_samples(path) if path else Samples()
    truth = _truth_by_file({one.location.parent for one in acquisitions})
    found = [
        Found(one, table.of(one.name), tuple(truth.get((one.location.parent, one.name), ())))
        for one in acquisitions
    ]
    unlabelled = [one.acquisition.name for one in found if one.sample.condition == UNLABELLED]
    if unlabelled and not quietly:
        named = ", ".join(unlabelled[:3]) + (", ..." if len(unlabelled) > 3 else "")
        announce.warn(
            f"{len(unlabelled)} of {len(found)} acquisitions have no condition in samples.csv ({named}); "
            f'they are called "{UNLABELLED}"'
        )
    return found


def _check_names(acquisitions: Sequence[Acquisition]) -> None:
    """Names are what samples.csv and the results speak of, so they must differ."""
    places: dict[str, Path] = {}
    for one in acquisitions:
        if one.name in places:
            raise InputError(
                f"expected acquisitions of different names, found {places[one.name]} and {one.location}; "
                "rename one or run them into different stores"
            )
        places[one.name] = one.location


def _truth_by_file(folders: set[Path]) -> dict[tuple[Path, str], list[dict[str, Any]]]:
    """Return the rows of each folder's truth/cells.csv by file."""
    rows: dict[tuple[Path, str], list[dict[str, Any]]] = {}
    for folder in sorted(folders):
        if (folder / TRUTH).is_file():
            for row in read_cells(folder):
                rows.setdefault((folder, str(row["file"])), []).append(row)
    return rows

"""From the paths a user gives to the acquisitions they mean."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tifffile

from storage.errors import FormatError, InputError, MissingInputError
from storage.sources.base import Acquisition, Source
from storage.sources.planes import PlanesSource, plane_places
from storage.sources.tiff import TiffSource

TIFF_NAMES = (".tif", ".tiff", ".stk", ".lsm")
FolderMeaning = Literal["auto", "planes", "files"]
Axis = Literal["t", "z"]


def find_acquisitions(
    inputs: Sequence[str | Path], *, folder_is: FolderMeaning = "auto", pages_are: Axis = "t"
) -> list[Acquisition]:
    """Return the acquisitions that files and folders stand for, in order, each once.

    Parameters
    ----------
    folder_is
        What the TIFFs of a folder are: `files`, each an acquisition; `planes`, together one; `auto`:
        planes if all are single planes of one shape whose names differ only in numbers and the folder
        has no samples.csv, else files.
    pages_are
        The axis of pages that nothing names.

    Raises
    ------
    MissingInputError
        A path does not exist, or a folder holds no TIFF.
    """
    found = [
        acquisition
        for given in inputs
        for acquisition in _from_path(Path(given).expanduser(), folder_is, pages_are)
    ]
    unique = {acquisition.location.resolve(): acquisition for acquisition in found}
    if not unique:
        raise InputError("expected at least one file or folder to ingest, found none")
    return list(unique.values())


def open_acquisition(acquisition: Acquisition) -> Source:
    """Open an acquisition with the reader that understands it."""
    if acquisition.reader == "planes":
        return PlanesSource(acquisition)
    return TiffSource(acquisition)


def _from_path(path: Path, folder_is: FolderMeaning, pages_are: Axis) -> list[Acquisition]:
    if path.is_dir():
        return _from_folder(path, folder_is, pages_are)
    if not path.is_file():
        raise MissingInputError(f"expected a file or folder to ingest, found nothing at {path}")
    if path.suffix.lower() not in TIFF_NAMES:
        raise FormatError(
            f"{path}: expected a TIFF ({', '.join(TIFF_NAMES)}), found {path.suffix or 'no suffix'}"
        )
    return [_single(path, pages_are)]


def _single(path: Path, pages_are: Axis) -> Acquisition:
    return Acquisition(path.name, path, companion_files(path), "tiff", pages_are)


def _from_folder(folder: Path, folder_is: FolderMeaning, pages_are: Axis) -> list[Acquisition]:
    files = sorted(
        (path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in TIFF_NAMES),
        key=_natural,
    )
    if not files:
        raise MissingInputError(
            f"expected TIFF files in the folder {folder}, found none; name the folder that holds them"
        )
    if folder_is == "planes" or (folder_is == "auto" and _are_planes(folder, files, pages_are)):
        return [Acquisition(folder.resolve().name, folder, tuple(files), "planes", pages_are)]
    acquisitions, taken = [], set[Path]()
    for path in files:
        if path not in taken:
            acquisitions.append(_single(path, pages_are))
            taken.update(acquisitions[-1].files)
    return acquisitions


def _are_planes(folder: Path, files: list[Path], pages_are: Axis) -> bool:
    if len(files) < 2 or (folder / "samples.csv").exists():
        return False
    try:
        places = plane_places(files, pages_are)
    except FormatError:
        return False
    kinds = {_plane_kind(path) for path in files}
    return len(set(places.values())) == len(files) and len(kinds) == 1 and None not in kinds


def _plane_kind(path: Path) -> tuple[tuple[int, ...], str] | None:
    """Return shape and type of a file that holds one plane, None for any other."""
    try:
        with tifffile.TiffFile(path) as file:
            first = file.pages.first
            alone = len(file.pages) == 1 and len(first.shape) == 2 and not file.is_ome
            return (first.shape, str(first.dtype)) if alone else None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the reader will say it
        return None


def companion_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a multi-file OME-TIFF, the one named first; a file that names no other is alone."""
    try:
        with tifffile.TiffFile(path) as file:
            text = str(file.ome_metadata or "") if file.is_ome else ""
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the reader will say it
        return (path,)
    names = sorted(set(re.findall(r'FileName="([^"]+)"', text)))
    siblings = [path.parent / name for name in names if Path(name).name == name]
    present = [sibling for sibling in siblings if sibling.is_file() and sibling.name != path.name]
    return (path, *present)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

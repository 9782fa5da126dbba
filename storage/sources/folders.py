"""What the files of a folder are: recordings each, planes of one recording, or a plate."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tifffile

from storage.errors import FormatError, MissingInputError
from storage.sources.base import Acquisition, Axis, natural
from storage.sources.bioio_formats import SUFFIXES, bioio_acquisitions
from storage.sources.nd2 import nd2_acquisitions
from storage.sources.ome_sets import COMPANION, OME_NAMES, ome_acquisitions
from storage.sources.ome_zarr import is_zarr, ome_zarr_acquisitions
from storage.sources.planes import plane_places, planes_acquisition
from storage.sources.plates import is_plate, plate_acquisitions

TIFF_NAMES = (".tif", ".tiff", ".stk", ".lsm")
FILE_NAMES = (*TIFF_NAMES, COMPANION, ".nd2", *SUFFIXES)
PLANE_NAMES = (*TIFF_NAMES, ".png")
FolderMeaning = Literal["auto", "planes", "files"]
Known = Callable[[Path], bool]


def _nothing(_path: Path) -> bool:
    """Know no file."""
    return False


def from_file(path: Path, pages_are: Axis) -> list[Acquisition]:
    """Return the acquisitions in one file, or that it is a part of; FormatError if its kind is unknown."""
    name = path.name.lower()
    if name.endswith((*TIFF_NAMES, COMPANION)):
        return ome_acquisitions(path, pages_are)
    if name.endswith(".nd2"):
        return nd2_acquisitions(path)
    if name.endswith(tuple(SUFFIXES)):
        return bioio_acquisitions(path)
    raise FormatError(
        f"{path}: expected a recording ({', '.join(FILE_NAMES)}, a .zarr folder or a folder of planes), "
        f"found {path.suffix or 'no suffix'}; export it as an OME-TIFF"
    )


def from_folder(
    folder: Path, folder_is: FolderMeaning, pages_are: Axis, known: Known = _nothing
) -> list[Acquisition]:
    """Return the acquisitions in a folder; MissingInputError if it holds none.

    A folder whose name ends in .zarr is an OME-Zarr; one with TimePoint or ZStep folders is a plate. In any
    other, each recording file and each .zarr or plate folder directly inside is an acquisition or several,
    unless its TIFFs or PNGs are planes of one acquisition. No other folder inside is looked into.

    Parameters
    ----------
    known
        Whether a recording file is dealt with: it is not opened, and is no acquisition here unless another
        file names it as a part of its set.
    """
    if is_zarr(folder):
        return ome_zarr_acquisitions(folder)
    if folder_is != "files" and is_plate(folder):
        return plate_acquisitions(folder)
    entries = sorted(folder.iterdir(), key=natural)
    files = [one for one in entries if one.name.lower().endswith((*FILE_NAMES, ".png")) and one.is_file()]
    planes = [one for one in files if one.name.lower().endswith(PLANE_NAMES)]
    if planes and (folder_is == "planes" or (folder_is == "auto" and _are_planes(folder, planes, pages_are))):
        return [planes_acquisition(folder, planes, pages_are)]
    fresh = [one for one in files if one.suffix.lower() != ".png" and not known(one)]
    found = _each_file(fresh, pages_are)
    for inside in (one for one in entries if one.is_dir()):
        if is_zarr(inside):
            found += ome_zarr_acquisitions(inside)
        elif is_plate(inside):
            found += plate_acquisitions(inside)
    if not found:
        raise MissingInputError(
            f"expected recordings in the folder {folder}, found none; name the folder that holds them"
            + (", or set ingest.folder_is to planes" if planes else "")
        )
    return found


def _each_file(files: list[Path], pages_are: Axis) -> list[Acquisition]:
    """Return each file's acquisitions; only OME-TIFFs, by their names, are opened to ask for their set."""
    acquisitions: list[Acquisition] = []
    taken: set[Path] = set()
    for path in files:
        if path in taken:
            continue
        plain = path.name.lower().endswith(TIFF_NAMES) and not path.name.lower().endswith(OME_NAMES)
        acquisitions += (
            [Acquisition(path.name, path, (path,), "tiff", pages_are)]
            if plain
            else from_file(path, pages_are)
        )
        taken.update(acquisitions[-1].files)
    return acquisitions


def _are_planes(folder: Path, files: list[Path], pages_are: Axis) -> bool:
    """Judge by all names and by the first, the middle and the last file; the reader checks each plane."""
    if len(files) < 2 or (folder / "samples.csv").exists():
        return False
    try:
        places = plane_places(files, pages_are)
    except FormatError:
        return False
    kinds = {_plane_kind(files[place]) for place in (0, len(files) // 2, -1)}
    return len(set(places)) == len(files) and len(kinds) == 1 and None not in kinds


def _plane_kind(path: Path) -> tuple[tuple[int, ...], str] | None:
    """Return shape and type of a TIFF that holds one plane, None for any other; PNGs are alike."""
    if path.suffix.lower() == ".png":
        return (), "png"
    try:
        with tifffile.TiffFile(path) as file:
            first = file.pages.first
            alone = len(file.pages) == 1 and len(first.shape) == 2 and not file.is_ome
            return (first.shape, str(first.dtype)) if alone else None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the reader will say it
        return None

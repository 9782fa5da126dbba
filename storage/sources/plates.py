"""Plate folders of ImageXpress microscopes: TimePoint_1/ZStep_2/NAME_B02_s1_w3.TIF, each level optional."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from storage.sources.base import Acquisition, ordinals

PLANE_NAME = re.compile(
    r".+_(?P<well>[A-Z]{1,2}\d{2})(?:_s(?P<site>\d+))?(?:_w(?P<wave>\d+))?"
    r"(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?\.tiff?",
    re.IGNORECASE,
)
TIME_FOLDER = re.compile(r"TimePoint_(\d+)", re.IGNORECASE)
Z_FOLDER = re.compile(r"ZStep_(\d+)", re.IGNORECASE)

Plane = tuple[tuple[int, int, int], Path]


def is_plate(folder: Path) -> bool:
    """Return whether a folder is a plate: it has time or z folders, or an .HTD file among planes of wells."""
    entries = list(folder.iterdir())
    if any(
        _number(rule, one) is not None and one.is_dir() for one in entries for rule in (TIME_FOLDER, Z_FOLDER)
    ):
        return next(_planes(folder), None) is not None
    described = any(one.suffix.lower() == ".htd" for one in entries)
    return described and any(PLANE_NAME.fullmatch(one.name) for one in entries)


def plate_acquisitions(folder: Path) -> list[Acquisition]:
    """Return the sites of a plate's wells, each an acquisition with time points, wavelengths and z planes.

    ZStep_0 holds projections made by the instrument; it is left aside where z planes lie beside it.
    No file is opened.
    """
    sites: dict[str, list[Plane]] = defaultdict(list)
    for scene, plane in _planes(folder):
        sites[scene].append(plane)
    name = folder.resolve().name
    return [
        Acquisition(
            name=f"{name}#{scene}",
            location=folder,
            files=tuple(path for _, path in planes),
            reader="planes",
            scene=scene,
            places=ordinals(place for place, _ in planes),
        )
        for scene, planes in sorted(sites.items())
    ]


def _planes(folder: Path) -> Iterator[tuple[str, Plane]]:
    """Yield the well and site, the numbers (t, c, z) and the file of each plane."""
    for t, at_time in _numbered(folder, TIME_FOLDER):
        for z, at_z in _without_projections(_numbered(at_time, Z_FOLDER)):
            for path in sorted(at_z.iterdir()):
                match = PLANE_NAME.fullmatch(path.name)
                if match and path.is_file():
                    site = f"_s{match['site']}" if match["site"] else ""
                    yield f"{match['well'].upper()}{site}", ((t, int(match["wave"] or 1), z), path)


def _without_projections(levels: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    return [level for level in levels if level[0] > 0] or levels


def _numbered(folder: Path, rule: re.Pattern[str]) -> list[tuple[int, Path]]:
    """Return the numbered folders inside, in order; the folder itself if there are none."""
    entries = [(number, one) for one in folder.iterdir() if (number := _number(rule, one)) is not None]
    return sorted(entry for entry in entries if entry[1].is_dir()) or [(0, folder)]


def _number(rule: re.Pattern[str], path: Path) -> int | None:
    match = rule.fullmatch(path.name)
    return None if match is None else int(match[1])

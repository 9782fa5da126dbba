"""Which files are one OME-TIFF acquisition, and which of its images are acquisitions of their own.

The rules, in order:

1. A file whose OME-XML names other files (by UUID) is one acquisition with those that lie beside it.
2. A file that only points to a metadata file belongs to what that file describes.
3. Where that metadata file is not there, the files that point to it are one acquisition, and the numbers in
   their names say which plane each is, as in a folder of planes.
4. Each image of the document is an acquisition of its own, called FILE#0, FILE#1 and so on.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import tifffile

from storage.errors import FormatError
from storage.sources.base import Acquisition, Axis, natural
from storage.sources.ome_xml import images, metadata_file, named_files, parse_ome
from storage.sources.planes import planes_acquisition

COMPANION = ".companion.ome"
OME_NAMES = (".ome.tif", ".ome.tiff")


def ome_acquisitions(path: Path, pages_are: Axis) -> list[Acquisition]:
    """Return the acquisitions that a TIFF or a companion file is part of; a plain TIFF is one alone."""
    root = _peek(path)
    if root is None:
        return [_alone(path, pages_are)]
    pointer = metadata_file(root)
    if pointer is None:
        return _scenes(path, root, pages_are)
    described_by = _sibling(path, pointer[0])
    description = _peek(described_by) if described_by is not None else None
    if described_by is None or description is None or metadata_file(description) is not None:
        return [_by_names(path, pointer, pages_are)]
    return _scenes(described_by, description, pages_are)


def _alone(path: Path, pages_are: Axis) -> Acquisition:
    companion = path.name.lower().endswith(COMPANION)
    return Acquisition(path.name, path, (path,), "companion" if companion else "tiff", pages_are)


def _scenes(path: Path, root: Element, pages_are: Axis) -> list[Acquisition]:
    first, files = _set(path, root)
    reader = _alone(path, pages_are).reader
    count = len(images(root))
    if count < 2:
        return [Acquisition(first.name, first, files, reader, pages_are)]
    return [
        Acquisition(f"{first.name}#{scene}", first, files, reader, pages_are, scene=scene)
        for scene in range(count)
    ]


def _set(path: Path, root: Element) -> tuple[Path, tuple[Path, ...]]:
    """Return the file to open and every file of the set: the same ones, whichever file was named."""
    present = [sibling for name in named_files(root) if (sibling := _sibling(path, name)) is not None]
    files = tuple(sorted({path, *present}, key=natural))
    if path.name.lower().endswith(COMPANION) or files[0] == path:
        return path, files
    other = _peek(files[0])
    names = {files[0].name, *(named_files(other) if other is not None else ())}
    return (files[0] if {one.name for one in files} <= names else path), files


def _by_names(path: Path, pointer: tuple[str, str], pages_are: Axis) -> Acquisition:
    beside = [one for one in path.parent.iterdir() if one.name.lower().endswith(OME_NAMES) and one.is_file()]
    members = [one for one in beside if one == path or _pointer(one) == pointer]
    together = planes_acquisition(path.parent, members, pages_are)
    first = together.files[0]
    return Acquisition(
        pointer[0] or first.name, first, together.files, "planes", pages_are, places=together.places
    )


def _pointer(path: Path) -> tuple[str, str] | None:
    root = _peek(path)
    return None if root is None else metadata_file(root)


def _peek(path: Path) -> Element | None:
    """Return a file's OME-XML; None if it has none or is damaged, which its reader will say."""
    try:
        if path.name.lower().endswith(COMPANION):
            return parse_ome(path.read_bytes(), path)
        with tifffile.TiffFile(path) as file:
            return parse_ome(str(file.ome_metadata), path) if file.is_ome else None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the reader will say it
        return None


def _sibling(path: Path, name: str) -> Path | None:
    """Return the file of that name beside `path`; None if there is none or the name leads elsewhere."""
    sibling = path.parent / name
    return sibling if name and Path(name).name == name and sibling.is_file() else None


def check_present(names: Sequence[str], path: Path) -> None:
    """FormatError if one of the files that a companion file names does not lie beside it."""
    missing = [name for name in names if _sibling(path, name) is None]
    if missing:
        raise FormatError(
            f"{path}: expected {missing[0]} beside it, found {len(missing)} of {len(names)} missing; "
            "copy the whole set into one folder"
        )

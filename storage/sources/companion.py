"""OME-TIFF planes in many files whose metadata lies in a companion file beside them."""

from typing import Any

from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, as_pixels, check_dtype, said_of
from storage.sources.ome_sets import check_present
from storage.sources.ome_xml import (
    check_promises,
    image_pixels,
    named_files,
    ome_facts,
    parse_ome,
    plane_pages,
    sizes,
)
from storage.sources.planes import read_plane_file
from storage.sources.tiff_metadata import metadata_of


class CompanionSource:
    """An open set of TIFF files: the companion file says which page of which file each plane is."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.path = acquisition.location
        try:
            root = parse_ome(self.path.read_bytes(), self.path)
        except FileNotFoundError as error:
            raise MissingInputError(f"expected the file {self.path}, found nothing there") from error
        scene = acquisition.scene if isinstance(acquisition.scene, int) else 0
        check_present(named_files(root), self.path)
        check_promises(root, self.path, sum(one.stat().st_size for one in acquisition.files))
        pixels = image_pixels(root, scene, self.path)
        size = sizes(pixels, self.path)
        self._pages = plane_pages(pixels, self.path)
        check_present(sorted({name for name, _ in self._pages.values()}), self.path)
        expected = size["T"] * size["C"] * size["Z"]
        if len(self._pages) != expected:
            raise FormatError(
                f"{self.path}: expected a page for each of {expected} planes, found {len(self._pages)}; "
                "export the recording again"
            )
        yx = self._read((0, 0, 0))
        self.dtype, self._stored = check_dtype(yx.dtype, self.path), yx.dtype.newbyteorder("=")
        self.shape = (size["T"], size["C"], size["Z"], size["Y"], size["X"])
        said = metadata_of(acquisition.name, size["C"], ome_facts(root, scene))
        self.metadata: ImageMetadata = said_of(said, self._stored)

    def _read(self, place: tuple[int, int, int]) -> NDArray[Any]:
        name, page = self._pages[place]
        return read_plane_file(self.path.parent / name, page)

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x); FormatError if its shape or type differs from what the set says."""
        yx = self._read((t, c, z))
        if yx.shape != self.shape[-2:] or yx.dtype.newbyteorder("=") != self._stored:
            raise FormatError(
                f"{self.path.parent / self._pages[t, c, z][0]}: expected a plane of {self.shape[-2:]} "
                f"{self._stored}, found {yx.shape} {yx.dtype}; export the recording again"
            )
        return as_pixels(yx, self.dtype, self.path)

    def close(self) -> None:
        """Nothing stays open between planes."""

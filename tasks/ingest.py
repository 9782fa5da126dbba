"""ingest: files of an instrument to a raw image in the store, a plane at a time."""

from dataclasses import replace
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import images, layout, progress
from storage.arrays import Digests
from storage.errors import FormatError
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.ome import ImageMetadata
from storage.progress import Ledger
from storage.sources.base import Acquisition, Source, content_digest, display_window, file_states
from storage.sources.discovery import open_acquisition
from tasks import announce, budget
from tasks.chunked import run_units
from tasks.copying import copy_unit
from tasks.passing import may_pass
from tasks.settings import IngestSettings, Resources
from tasks.stage import Handle, Outcome, Question, produce

ALGORITHM = 1


@task(task_run_name="ingest {acquisition.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def ingest(acquisition: Acquisition, store: str, settings: IngestSettings, resources: Resources) -> Handle:
    """Copy an acquisition into the store as sharded OME-Zarr; the same content is copied once.

    The user's files are read, never moved or changed.

    Raises
    ------
    FormatError
        The files cannot be read, or changed while they were read; nothing is committed.
    """
    objects = open_store(store)
    before = file_states(acquisition)
    asked = Question(
        kind="raw",
        name=acquisition.name,
        parents=(),
        settings={
            "content": content_digest(acquisition),
            "reader": acquisition.reader,
            "pages_are": acquisition.pages_are,
            "pixel_size_um": settings.pixel_size_um,
        },
        algorithm=ALGORITHM,
    )

    def copy(key: str) -> Outcome:
        outcome = _copy(objects, acquisition, key, settings, resources)
        if file_states(acquisition) != before:
            progress.clear(objects, "raw", key)  # some of these planes are not of the content that is the key
            raise FormatError(
                f"{acquisition.location}: its files changed while they were read; "
                "ingest it again when it is complete"
            )
        return outcome

    return produce(objects, asked, copy)


def _copy(
    objects: Objects,
    acquisition: Acquisition,
    key: str,
    settings: IngestSettings,
    resources: Resources,
) -> Outcome:
    source = open_acquisition(acquisition)
    try:
        budget.check(f"ingest {acquisition.name}", budget.INGEST, source.shape[-2:], resources)
        image, written = _create(objects, source, key, settings)
    finally:
        source.close()
    units = run_units(
        partial(copy_unit, acquisition=acquisition, store=objects.url, key=key),
        image.units(),
        ledger=Ledger(objects, "raw", key, "planes"),
        resources=resources,
        listener=announce.listener(f"ingest {acquisition.name}"),
    )
    t, c, z, y, x = image.shape
    return Outcome(
        path=image.path,
        written=written | units.written,
        counts={
            "frames": t,
            "channels": c,
            "planes": t * c * z,
            "bytes": t * c * z * y * x * image.dtype.itemsize,
        },
        details={
            "shape": list(image.shape),
            "dtype": image.dtype.name,
            "files": [path.name for path in acquisition.files],
            "unknown": image.metadata.unknown,
            "instrument": image.metadata.extra,
        },
        units_done=units.computed,
        units_reused=units.reused,
    )


def _create(objects: Objects, source: Source, key: str, settings: IngestSettings) -> tuple[OmeImage, Digests]:
    written: Digests = {}
    image = images.create_image(
        objects,
        layout.image_path("raw", key),
        shape=source.shape,
        dtype=source.dtype.name,
        metadata=_complete(source, settings),
        written=written,
    )
    return image, written


def _complete(source: Source, settings: IngestSettings) -> ImageMetadata:
    """Add display ranges, and what the user states where the file is silent."""
    stated = settings.pixel_size_um
    sizes = source.metadata.pixel_size_um
    return replace(
        source.metadata,
        pixel_size_um=(sizes[0], sizes[1] or stated, sizes[2] or stated),
        windows=tuple(display_window(source.read_plane(0, c, 0)) for c in range(source.shape[1])),
    )

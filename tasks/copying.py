"""What workers do for ingest: without Prefect, whose import takes two seconds."""

from typing import Any

from storage import images, layout
from storage.arrays import Digests
from storage.objects import open_store
from storage.progress import Done
from storage.regions import Region
from storage.sources.base import Acquisition
from storage.sources.discovery import opened
from tasks.kernels.pyramid import downsample_mean


def copy_unit(unit: Region, *, acquisition: Acquisition, store: str, key: str) -> Done:
    """Copy the part of one plane that one shard holds."""
    written: Digests = {}
    image = images.open_image(open_store(store), layout.image_path("raw", key), written)
    with opened(acquisition) as source:
        yx: Any = source.read_plane(*unit.start[:3])
    image.write(unit, yx[unit.slices[-2:]].reshape(unit.shape), downsample_mean)
    return Done(None, written)

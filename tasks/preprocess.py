"""preprocess: a raw image to a clean one, grooves vertical, values in [0, 1]."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import images, layout
from storage.arrays import Digests
from storage.errors import InputError
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.ome import ImageMetadata
from storage.progress import Done, Ledger
from storage.regions import Region
from tasks import announce, budget
from tasks.chunked import run_units
from tasks.kernels.orientation import (
    ANGLES_DEG,
    Orientation,
    estimate_rotation_deg,
    pool_orientations,
    rotated_shape,
)
from tasks.kernels.preprocessing import preprocess_frame
from tasks.kernels.pyramid import downsample_mean
from tasks.settings import (
    Clahe,
    Percentiles,
    PreprocessSettings,
    Resources,
    RotationEstimated,
    RotationFixed,
    TotalVariation,
    question,
)
from tasks.stage import Handle, Outcome, Question, produce, references

ALGORITHM = 1
LARGEST_SHARD_PX = 1 << 16  # a unit is a whole plane, so a plane is one shard whatever its size


@dataclass(frozen=True)
class _Frames:
    """Which planes of which raw image are read, and where the clean ones go."""

    store: str
    raw: str
    clean: str
    channel: int
    project: bool

    def raw_image(self) -> OmeImage:
        return images.open_image(open_store(self.store), layout.image_path("raw", self.raw))

    def frame(self, image: OmeImage, t: int, z: int) -> NDArray[Any]:
        """Return one raw frame (y, x): a plane, or the maximum over z."""
        _, _, depth, height, width = image.shape
        first, last = (0, depth) if self.project else (z, z + 1)
        region = Region((t, self.channel, first, 0, 0), (t + 1, self.channel + 1, last, height, width))
        yx: NDArray[Any] = image.read(region)[0, 0].max(axis=0)
        if not np.isfinite(yx).all():
            raise InputError(
                f"{image.metadata.name}: expected finite pixels, found NaN or infinity in time point {t}; "
                "export the recording without them"
            )
        return yx


@dataclass(frozen=True)
class _Moment:
    """The unit of the vote: one time point."""

    t: int

    @property
    def name(self) -> str:
        return f"{self.t:06d}"


@task(task_run_name="preprocess {raw.name}", cache_policy=NO_CACHE)
def preprocess(raw: Handle, store: str, settings: PreprocessSettings, resources: Resources) -> Handle:
    """Turn a raw image so that its grooves are vertical, and even out contrast and noise."""
    objects = open_store(store)
    asked = Question("clean", raw.name, references([raw]), question(settings), ALGORITHM)
    return produce(objects, asked, lambda key: _clean(objects, raw, key, settings, resources))


def _clean(
    objects: Objects, raw: Handle, key: str, settings: PreprocessSettings, resources: Resources
) -> Outcome:
    source = images.open_image(objects, layout.image_path("raw", raw.key))
    channel = choose_channel(source.metadata, source.shape[1], settings.channel)
    frames = _Frames(objects.url, raw.key, key, channel, settings.z == "max")
    budget.check(f"preprocess {raw.name}", budget.PREPROCESS, source.shape[-2:], resources)
    angle_deg, facts = _angle(objects, frames, source.shape[0], settings, resources)
    if angle_deg is None and isinstance(settings.rotation, RotationEstimated):
        announce.warn(
            f"{raw.name}: no groove direction found (confidence {facts['confidence']:.2f} is below "
            f"{settings.rotation.min_confidence}); the image is left as it is"
        )
    written: Digests = {}
    image = _create(objects, source, frames, angle_deg, written)
    units = run_units(
        partial(clean_unit, frames=frames, angle_deg=angle_deg, settings=settings),
        image.units(),
        ledger=Ledger(objects, "clean", key, "planes"),
        resources=resources,
        listener=announce.listener(f"preprocess {raw.name}"),
    )
    t, _, z, height, width = image.shape
    return Outcome(
        path=image.path,
        written=written | units.written,
        counts={"frames": t, "planes": t * z},
        metrics=facts,
        details={"shape": [t, 1, z, height, width], "raw_shape": list(source.shape), "channel": channel},
        units_done=units.computed,
        units_reused=units.reused,
    )


def _angle(
    objects: Objects, frames: _Frames, n_frames: int, settings: PreprocessSettings, resources: Resources
) -> tuple[float | None, dict[str, Any]]:
    """Return the rotation in degrees, None for none, and what is known about it."""
    rotation = settings.rotation
    if isinstance(rotation, RotationFixed):
        return rotation.angle_deg, {"angle_deg": rotation.angle_deg, "confidence": None, "rotated": True}
    if not isinstance(rotation, RotationEstimated):
        return None, {"angle_deg": 0.0, "confidence": None, "rotated": False}
    chosen = np.unique(np.linspace(0, n_frames - 1, min(n_frames, rotation.max_frames)).astype(int))
    units = run_units(
        partial(vote_unit, frames=frames),
        [_Moment(int(t)) for t in chosen],
        ledger=Ledger(objects, "clean", frames.clean, "angles"),
        resources=resources,
    )
    votes = [Orientation(0.0, 0.0, np.asarray(vote, dtype=np.float64)) for vote in units.results]
    pooled = pool_orientations(votes)
    sure = pooled.confidence >= rotation.min_confidence
    facts = {
        "angle_deg": round(pooled.angle_deg, 3) if sure else 0.0,
        "confidence": round(pooled.confidence, 4),
        "rotated": sure,
    }
    return (facts["angle_deg"] if sure else None), facts


def vote_unit(unit: _Moment, *, frames: _Frames) -> Done:
    """Return the Hough votes of one time point, one number for each of ANGLES_DEG."""
    image = frames.raw_image()
    votes = estimate_rotation_deg(frames.frame(image, unit.t, image.shape[2] // 2)).votes
    assert votes.shape == ANGLES_DEG.shape
    return Done([float(vote) for vote in votes], {})


def _create(
    objects: Objects, source: OmeImage, frames: _Frames, angle_deg: float | None, written: Digests
) -> OmeImage:
    t, _, z, height, width = source.shape
    if angle_deg is not None:
        height, width = rotated_shape((height, width), angle_deg)
    metadata = source.metadata
    names = metadata.channel_names[frames.channel : frames.channel + 1]
    return images.create_image(
        objects,
        layout.image_path("clean", frames.clean),
        shape=(t, 1, 1 if frames.project else z, height, width),
        dtype="float32",
        metadata=ImageMetadata(
            name=metadata.name,
            pixel_size_um=metadata.pixel_size_um,
            time_interval_s=metadata.time_interval_s,
            channel_names=names,
            windows=((0.0, 1.0),),
            acquired=metadata.acquired,
            extra={"rotation_deg": angle_deg, "raw_shape_yx": list(source.shape[-2:])},
        ),
        written=written,
        shard_px=LARGEST_SHARD_PX,
    )


def clean_unit(
    unit: Region, *, frames: _Frames, angle_deg: float | None, settings: PreprocessSettings
) -> Done:
    """Clean one frame and write it."""
    t, _, z = unit.start[:3]
    yx = frames.frame(frames.raw_image(), t, z)
    contrast, clip, denoise = settings.contrast, settings.clip, settings.denoise
    tv = denoise if isinstance(denoise, TotalVariation) else TotalVariation()
    clean = preprocess_frame(
        yx,
        angle_deg=angle_deg,
        clahe_kernel_px=contrast.kernel_px if isinstance(contrast, Clahe) else None,
        clahe_clip_limit=contrast.clip_limit if isinstance(contrast, Clahe) else 0.01,
        percentiles=(clip.low, clip.high) if isinstance(clip, Percentiles) else None,
        tv_weight=tv.weight if isinstance(denoise, TotalVariation) else None,
        tv_eps=tv.eps,
        tv_max_num_iter=tv.max_num_iter,
    )
    written: Digests = {}
    image = images.open_image(open_store(frames.store), layout.image_path("clean", frames.clean), written)
    image.write(unit, clean.reshape(unit.shape), downsample_mean)
    return Done(None, written)


def choose_channel(metadata: ImageMetadata, channels: int, wanted: int | str) -> int:
    """Return the index of a channel given by index or name; InputError naming those there are."""
    names = list(metadata.channel_names)
    if isinstance(wanted, int) and 0 <= wanted < channels:
        return wanted
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    raise InputError(
        f"{metadata.name}: expected preprocess.channel to be one of 0 to {channels - 1} or {names}, "
        f"found {wanted!r}"
    )

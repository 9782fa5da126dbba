"""preprocess: a raw image to a clean one, grooves vertical, values in [0, 1]."""

from dataclasses import asdict, replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import images, layout, records
from storage.arrays import Digests
from storage.errors import InputError
from storage.images import OmeImage
from storage.objects import Objects, open_store
from tasks import announce, budget, frames, parts
from tasks.channels import choose_channel
from tasks.illumination import read_flat
from tasks.kernels.density import Density, choose_profile
from tasks.kernels.geometry import affine_to_raw
from tasks.kernels.orientation import Orientation, pool_orientations
from tasks.kernels.preprocessing import Cleaner
from tasks.looking import look
from tasks.parts import Work, clean_all, largest_part
from tasks.passing import may_pass
from tasks.preprocess_settings import PreprocessSettings, RotationEstimated, RotationFixed, TimePoints
from tasks.reading import RawFrames
from tasks.recipes import recipe_of
from tasks.settings import Resources, question
from tasks.stage import Handle, Outcome, Question, produce, references

ALGORITHM = 3
SHOWN = ("angle_deg", "confidence", "direction_of", "cells_per_mm2", "covered", "profile", "why")


@task(task_run_name="preprocess {raw.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def preprocess(
    raw: Handle,
    store: str,
    settings: PreprocessSettings,
    resources: Resources,
    illumination: Handle | None = None,
) -> Handle:
    """Turn a raw image so that its grooves are vertical, and even out contrast and noise.

    `illumination` is the flat-field of its chip that `settings.illumination` asks for; None: not corrected.
    """
    objects = open_store(store)
    parents = [raw] if illumination is None else [raw, illumination]
    # Whether and how the light is evened out is said by the parent, which answers a question of its own.
    chosen = {name: value for name, value in question(settings).items() if name != "illumination"}
    asked = Question("clean", raw.name, references(parents), chosen, ALGORITHM)
    made = produce(objects, asked, lambda key: _clean(objects, raw, key, settings, resources, illumination))
    _announce(objects, made)
    return made


def _clean(
    objects: Objects,
    raw: Handle,
    key: str,
    settings: PreprocessSettings,
    resources: Resources,
    illumination: Handle | None,
) -> Outcome:
    image = images.open_image(objects, layout.image_path("raw", raw.key))
    source = RawFrames(
        store=objects.url,
        raw=raw.key,
        channel=choose_channel(image.metadata, image.shape[1], settings.channel),
        project=settings.z == "max",
        times=chosen_times(image, settings.time_points),
        flat=None if illumination is None else read_flat(objects, illumination),
    )
    largest = largest_part(image.shape[-2:], settings)
    budget.check(f"preprocess {raw.name}", budget.PREPROCESS, largest, resources)
    seen = look(objects, source, key, settings.looked_at, resources)
    angle_deg, facts = _turn(raw.name, seen.orientations, settings)
    chosen = _profile(seen.density, settings)
    recipe = recipe_of(settings, angle_deg, getattr(settings.profiles, chosen["profile"]), seen.density)
    work = Work(source, Cleaner(recipe, (image.shape[-2], image.shape[-1])), key)
    written: Digests = {}
    clean = _create(objects, image, work, written)
    units = clean_all(work, resources, f"preprocess {raw.name}")
    t, _, z, height, width = clean.shape
    return Outcome(
        path=clean.path,
        written=written | units.written,
        counts={"frames": t, "planes": t * z},
        metrics=facts | chosen,
        details={
            "shape": [t, 1, z, height, width],
            "raw_shape": list(image.shape),
            "channel": source.channel,
            "time_points": list(source.times),
            "recipe": asdict(recipe),
        }
        | frames.summary(clean.units(), units.results),
        units_done=seen.computed + units.computed,
        units_reused=seen.reused + units.reused,
    )


def chosen_times(image: OmeImage, wanted: TimePoints) -> tuple[int, ...]:
    """Return the time points that are cleaned; InputError if the recording has none of them."""
    chosen = wanted.of(image.shape[0])
    if not chosen:
        raise InputError(
            f"{image.metadata.name}: expected preprocess.time_points to choose some of 0 to "
            f"{image.shape[0] - 1}, found first = {wanted.first}, last = {wanted.last}"
        )
    return chosen


def _turn(
    name: str, orientations: list[Orientation], settings: PreprocessSettings
) -> tuple[float | None, dict[str, Any]]:
    """Return the rotation in degrees, None for none, and what is known about it."""
    rotation = settings.rotation
    if isinstance(rotation, RotationFixed):
        return rotation.angle_deg, _direction(rotation.angle_deg, None, "settings")
    if not isinstance(rotation, RotationEstimated):
        return None, _direction(0.0, None, "settings", rotated=False)
    pooled = pool_orientations(orientations, min_confidence=rotation.min_confidence)
    if pooled.confidence < rotation.min_confidence:
        announce.warn(
            f"{name}: no direction found, neither of grooves nor of nuclei (confidence "
            f"{pooled.confidence:.2f} is below {rotation.min_confidence}); the image is left as it is"
        )
        return None, _direction(0.0, pooled.confidence, pooled.source, rotated=False)
    angle_deg = round(pooled.angle_deg, 3)
    return angle_deg, _direction(angle_deg, pooled.confidence, pooled.source)


def _direction(
    angle_deg: float, confidence: float | None, source: str, *, rotated: bool = True
) -> dict[str, Any]:
    return {
        "angle_deg": angle_deg,
        "confidence": None if confidence is None else round(confidence, 4),
        "direction_of": source,
        "rotated": rotated,
    }


def _profile(density: Density, settings: PreprocessSettings) -> dict[str, Any]:
    """Return the profile, why it is that, and the numbers behind it."""
    choice = choose_profile(density)
    fixed = settings.profile != "auto"
    return {
        "cells_per_mm2": None if density.per_mm2 is None else round(density.per_mm2, 1),
        "covered": round(density.covered, 4),
        "profile": settings.profile if fixed else choice.name,
        "why": f"{settings.profile}, fixed by the settings" if fixed else choice.reason,
    }


def _create(objects: Objects, raw: OmeImage, work: Work, written: Digests) -> OmeImage:
    """Create the clean image, whose metadata says how to come back to raw pixels."""
    source, cleaner = work.source, work.cleaner
    metadata, angle_deg, grow = raw.metadata, cleaner.recipe.angle_deg, cleaner.recipe.grow
    turned = angle_deg is not None
    interval_s, step = metadata.time_interval_s, source.times[1] - source.times[0] if source.times[1:] else 1
    return images.create_image(
        objects,
        layout.image_path("clean", work.clean),
        shape=(len(source.times), 1, 1 if source.project else raw.shape[2], *cleaner.shape_yx),
        dtype="float32",
        metadata=replace(
            metadata,
            time_interval_s=None if interval_s is None else interval_s * step,
            channel_names=metadata.channel_names[source.channel : source.channel + 1],
            windows=((0.0, 1.0),),
            extra={
                **metadata.extra,
                "rotation_deg": angle_deg,
                "raw_shape_yx": list(cleaner.raw_shape_yx),
                "clean_to_raw": affine_to_raw(cleaner.raw_shape_yx, angle_deg or 0.0, grow and turned),
            },
        ),
        written=written,
        shard_px=parts.LARGEST_SHARD_PX,
    )


def _announce(objects: Objects, made: Handle) -> None:
    """Show in the Prefect UI how the recording was taken, and which of its frames are out of range."""
    found = records.read(objects, "clean", made.key)
    announce.table(
        f"density-{made.key[:12]}",
        [{name: found.metrics[name] for name in SHOWN}],
        f"{made.name}: how it lies, how dense the cells are, and the profile that follows",
    )
    announce.table(
        f"flagged-{made.key[:12]}", found.details["flagged"], f"{made.name}: frames that are out of range"
    )

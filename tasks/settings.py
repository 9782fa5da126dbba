"""Settings: one model a stage, unknown keys forbidden, a sentence with unit and effect for each field."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from storage.errors import InputError, MissingInputError
from tasks import machine
from tasks.cluster_settings import ClusterSettings as ClusterSettings
from tasks.compare_settings import CompareSettings as CompareSettings
from tasks.extract_settings import CropAndPad as CropAndPad
from tasks.extract_settings import CropAndResize as CropAndResize
from tasks.extract_settings import ExtractSettings as ExtractSettings
from tasks.preprocess_settings import PreprocessSettings as PreprocessSettings
from tasks.refine_settings import RefineSettings as RefineSettings
from tasks.sections import Section as Section
from tasks.sections import WatchSettings as WatchSettings
from tasks.segment_settings import SegmentSettings as SegmentSettings
from tasks.sweep_settings import SweepSettings as SweepSettings
from tasks.train_settings import TrainSettings as TrainSettings


class IngestSettings(Section):
    """How files become raw images."""

    folder_is: Literal["auto", "planes", "files"] = Field(
        "auto",
        description="What the TIFFs of a folder are: planes of one acquisition, or one acquisition each.",
    )
    pages_are: Literal["t", "z"] = Field(
        "t", description="Axis of the pages of a TIFF that does not name them: time points or z planes."
    )
    pattern: str | None = Field(None, description="Names of planes, as {position}_{t}_{c}_{z}.tif.")
    pixel_size_um: float | None = Field(
        None, gt=0, description="Pixel edge in um, used only for files that do not say it themselves."
    )


class EmbedSettings(Section):
    """From patches to latent means."""

    batch_size: int = Field(256, ge=1, description="Patches encoded at a time; changes speed only.")


class ReportSettings(Section):
    """The page."""

    examples: int = Field(2, ge=1, le=20, description="Acquisitions shown in pictures.")
    patches_per_cluster: int = Field(16, ge=1, le=100, description="Patches shown of each cluster.")


ROOM_OF_A_WORKER = 3 * 2**29  # bytes: what the hungriest stage takes with its default settings


def _usable_bytes() -> int:
    return machine.memory_bytes() * 3 // 4


class Resources(Section):
    """What the machine gives. Never part of a key: results do not depend on it."""

    compute: str = Field(
        "local",
        description="`local`: a Dask cluster of its own; `serial`: this process; a scheduler's address; or a "
        "cluster class of the site by its name, such as dask_jobqueue.SLURMCluster.",
    )
    cluster: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of that class, such as queue and walltime; it is asked for `workers` workers.",
    )
    workers: int = Field(
        default_factory=lambda: max(1, min(machine.cores(), _usable_bytes() // ROOM_OF_A_WORKER)),
        ge=1,
        description="Processes of the local cluster; unless told, one a core that has 1.5 GiB to work in.",
    )
    memory_bytes: int = Field(
        default_factory=_usable_bytes,
        ge=2**28,
        description="Memory that all workers together may use, in bytes; unless told, three quarters of it.",
    )
    acquisitions_at_once: int = Field(
        4, ge=1, description="Acquisitions whose stages are in progress together."
    )


class Settings(Section):
    """All settings of a run."""

    ingest: IngestSettings = IngestSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    segment: SegmentSettings = SegmentSettings()
    extract: ExtractSettings = ExtractSettings()
    train: TrainSettings = TrainSettings()
    embed: EmbedSettings = EmbedSettings()
    cluster: ClusterSettings = ClusterSettings()
    report: ReportSettings = ReportSettings()
    refine: RefineSettings = RefineSettings()
    sweep: SweepSettings = SweepSettings()
    compare: CompareSettings = CompareSettings()
    watch: WatchSettings = WatchSettings()
    resources: Resources = Field(default_factory=Resources)


def question(section: Section) -> dict[str, Any]:
    """Return a section as the plain JSON values that go into a key."""
    return section.model_dump(mode="json")


def load_settings(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    under: Mapping[str, Any] | None = None,
) -> Settings:
    """Read settings from a TOML file.

    Parameters
    ----------
    path
        The file; None for the defaults.
    overrides
        Values by dotted name, such as `{"train.epochs": 5}`, that win over the file.
    under
        What a file may hold; the file wins over it.

    Raises
    ------
    InputError
        The file is not TOML, names an unknown setting, or a value is out of its range.
    """
    content = merged(under or {}, {} if path is None else read_toml(path))
    for name, value in (overrides or {}).items():
        _override(content, name, value)
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(_explain(error, path)) from error


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return two sets of settings as one; where both say something, `over` wins."""
    both = {
        name for name in under if isinstance(under[name], Mapping) and isinstance(over.get(name), Mapping)
    }
    return {**under, **over, **{name: merged(under[name], over[name]) for name in both}}


def _override(content: dict[str, Any], name: str, value: Any) -> None:
    *places, last = name.split(".")
    for place in places:
        content = content.setdefault(place, {})
        if not isinstance(content, dict):
            raise InputError(f"{name}: expected {place!r} to hold settings by name, found {content!r}")
    content[last] = value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        There is none, or it is not TOML.
    """
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError as error:
        raise MissingInputError(f"expected a settings file at {path}, found nothing there") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected TOML, found something else: {error}") from error


def _explain(error: ValidationError, path: Path | None) -> str:
    """Return one sentence about the first thing that is wrong."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    where = "settings" if path is None else str(path)
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known(first["loc"][:-1]))
        return f"{where}: unknown setting {name!r}; known here: {known}"
    return f"{where}: {name} = {first['input']!r} is not accepted: {first['msg']}"


def _known(place: tuple[int | str, ...]) -> list[str]:
    """Return the names known at the place of an error; of alternatives the place names one."""
    models: Any = (Settings,)
    for part in place:
        kinds = [one for one in models if part in (one.__name__, _kind(one))]
        inner = None if kinds else models[0].model_fields[part].annotation
        bare = [getattr(one, "__origin__", one) for one in get_args(inner) or (inner,)]
        models = kinds or [one for one in bare if hasattr(one, "model_fields")]
    return list(models[0].model_fields)


def _kind(model: Any) -> Any:
    return getattr(model.model_fields.get("kind"), "default", None)

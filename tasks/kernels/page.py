"""The report: its content as plain values, and the one self-contained HTML page that is made of it.

The page runs no script and loads nothing: styles are inside, pictures are data URIs, and a content security
policy forbids the rest. Every text is escaped, for names of files may be hostile.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from tasks.kernels.wording import for_people, is_number, percent

if TYPE_CHECKING:
    from jinja2 import Template

Cell: TypeAlias = str | int | float | bool | None
"""What a table holds; None and what is not a number read "not known"."""

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Finding:
    """A big number: what it counts, the value, and a remark such as what it was measured on."""

    label: str
    value: Cell
    note: str = ""


@dataclass(frozen=True)
class Composition:
    """Cells of each cluster (rows) in each condition (columns)."""

    clusters: tuple[str, ...]
    conditions: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A PNG with its title, what to see in it, and what it shows to those who cannot see it."""

    title: str
    png: bytes
    caption: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class PictureGroup:
    """Pictures under one heading, in order."""

    title: str
    pictures: tuple[Picture, ...]
    text: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def number_columns(self) -> frozenset[int]:
        """Columns that hold numbers, besides what is not known: they are set flush right, heading and all."""
        columns = enumerate(zip(*self.rows, strict=True))
        return frozenset(
            place
            for place, values in columns
            if any(map(is_number, values)) and all(value is None or is_number(value) for value in values)
        )


@dataclass(frozen=True)
class Acquisition:
    """One recording: where it is from, what was found in it, and what deserves a look."""

    name: str
    chip: str | None = None
    position: str | None = None
    condition: str | None = None
    frames: int | None = None
    cells: int | None = None
    angle_deg: float | None = None
    confidence: float | None = None
    flags: tuple[str, ...] = ()
    cells_per_mm2: float | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Score:
    """A measured quality, the cells that it was measured on, and how to read it."""

    name: str
    value: Cell
    measured_on: str
    note: str = ""


@dataclass(frozen=True)
class Artifact:
    """A stored result and the keys of those it was made of."""

    kind: str
    key: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """A link; only http and https are made clickable, anything else is shown as text."""

    text: str
    address: str


@dataclass(frozen=True)
class Provenance:
    """Where the report comes from: settings of each stage (nested ones get flat), versions, keys, links."""

    settings: Mapping[str, Mapping[str, object]]
    versions: Mapping[str, str]
    artifacts: tuple[Artifact, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page, in the order of the page."""

    title: str
    data_set: str
    made_on: str
    sentences: tuple[str, ...]
    findings: tuple[Finding, ...]
    provenance: Provenance
    headline: Picture | None = None
    composition: Composition | None = None
    pictures: tuple[PictureGroup, ...] = ()
    acquisitions: tuple[Acquisition, ...] = ()
    scores: tuple[Score, ...] = ()
    cautions: tuple[str, ...] = ()


def render_page(report: ReportContent) -> str:
    """Write the report as one HTML page that needs nothing beside itself.

    Parameters
    ----------
    report
        The content.

    Returns
    -------
    str
        HTML that can be written as UTF-8; equal content gives equal text.

    Raises
    ------
    ValueError
        The composition's counts do not fit its names, or a picture is not a PNG.
    """
    html = _template().render(
        report=report,
        composition=report.composition and _checked(report.composition),
        acquisitions=_acquisition_table(report.acquisitions),
        scores=_score_table(report.scores),
        settings=[_settings_table(stage, values) for stage, values in report.provenance.settings.items()],
        versions=Table("Versions", ("Software", "Version"), tuple(report.provenance.versions.items())),
        artifacts=_artifact_table(report.provenance.artifacts),
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # names of files may hold stray surrogates


@cache
def _template() -> Template:
    """Load the page's template, which lies beside this file in the wheel."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    environment.filters.update(number=for_people, data_uri=data_uri, percent=percent, clickable=is_clickable)
    return environment.from_string(files("tasks.kernels").joinpath("page.html.j2").read_text("utf-8"))


def is_clickable(address: str) -> bool:
    """Say whether an address may become a link: ``javascript:`` and the like may not."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def data_uri(png: bytes) -> str:
    """Turn a PNG into an address that holds the picture itself.

    Raises
    ------
    ValueError
        The bytes are not a PNG.
    """
    if not png.startswith(PNG_SIGNATURE):
        raise ValueError(
            f"picture: expected the bytes of a PNG, found {png[:8]!r}; draw it with tasks.kernels.pictures"
        )
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _checked(composition: Composition) -> Composition:
    """Check that a composition has a number for each cluster and condition."""
    expected = (len(composition.clusters), len(composition.conditions))
    widths = {len(row) for row in composition.cells}
    if len(composition.cells) != expected[0] or widths - {expected[1]}:
        raise ValueError(
            f"composition: expected clusters x conditions {expected}, found {len(composition.cells)} rows "
            f"of lengths {sorted(widths)}; give a count for each"
        )
    return composition


def _acquisition_table(acquisitions: tuple[Acquisition, ...]) -> Table:
    """Lay acquisitions out as a table."""
    described = ("Name", "Chip", "Position", "Condition", "Frames", "Cells")
    found = ("Angle (°)", "Confidence", "Cells per mm²", "Profile", "Flags")
    rows = tuple(
        (
            one.name,
            one.chip,
            one.position,
            one.condition,
            one.frames,
            one.cells,
            one.angle_deg,
            one.confidence,
            one.cells_per_mm2,
            one.profile,
            ", ".join(one.flags) or "none",
        )
        for one in acquisitions
    )
    note = "Angle: the rotation that makes the grooves vertical."
    return Table("Acquisitions", (*described, *found), rows, note)


def _score_table(scores: tuple[Score, ...]) -> Table:
    """Lay scores out as a table."""
    rows = tuple((score.name, score.value, score.measured_on, score.note or "none") for score in scores)
    return Table("Scores", ("Score", "Value", "Measured on", "How to read it"), rows)


def _artifact_table(artifacts: tuple[Artifact, ...]) -> Table:
    """Lay keys and their parents out as a table."""
    rows = tuple((one.kind, one.key, ", ".join(one.parents) or "none") for one in artifacts)
    return Table("Keys and lineage", ("Kind", "Key", "Made of"), rows)


def _settings_table(stage: str, values: Mapping[str, object]) -> Table:
    """Lay a stage's settings out as a table, exactly as they were: nothing is rounded."""
    return Table(stage, ("Setting", "Value"), tuple(_flat("", values)))


def _flat(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Flatten nested settings: ``{"a": {"b": 1}}`` becomes ``a.b`` with 1."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{prefix}{name}.", value)
        else:
            exact = json.dumps(value, default=str, ensure_ascii=False)
            yield f"{prefix}{name}", value if isinstance(value, str) and value else exact

"""One simulated stack: nuclei placed, moved, lit and recorded, with the truth beside the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.simulation.design import POPULATIONS, Condition, ExperimentDesign, StackPlace
from tasks.kernels.simulation.field import Field, make_field
from tasks.kernels.simulation.optics import (
    GROOVE_PERIOD_UM,
    draw_optics,
    groove_profile,
    record_frame,
)
from tasks.kernels.simulation.placement import Track, place_tracks, turned
from tasks.kernels.simulation.shapes import draw_shape

Array = NDArray[np.float64]

_MARGIN_UM = 8.0
_TOUCH_PX = 0.7
_DIMMED_IN_GROOVE = {"round": 0.04, "elongated": 0.04, "bent": 0.3, "lobed": 0.04}
_CHIP_STREAM, _STACK_STREAM = 0, 1


@dataclass(frozen=True)
class CellTruth:
    """One nucleus in one frame, measured on its label.

    `orientation_deg`, in (-90, 90], is defined as the chip's angle is: the counter-clockwise rotation on the
    screen that makes the long axis vertical.
    """

    t: int
    label: int
    population: str
    centroid_y_px: float
    centroid_x_px: float
    orientation_deg: float


@dataclass(frozen=True)
class SimulatedStack:
    """A recorded stack and its truth.

    Attributes
    ----------
    tyx : (t, y, x) uint16
        What the camera recorded.
    labels_tyx : (t, y, x) uint32
        0 is background; a nucleus keeps its label over time.
    cells : list of CellTruth
        One for every label in every frame.
    angle_deg : float
        The counter-clockwise rotation that makes the grooves vertical.
    place : StackPlace
        File, chip, position, condition, replicate.
    """

    tyx: NDArray[np.uint16]
    labels_tyx: NDArray[np.uint32]
    cells: list[CellTruth]
    angle_deg: float
    place: StackPlace


@dataclass(frozen=True)
class _Chip:
    angle_deg: float
    groove_contrast: float


@dataclass(frozen=True)
class _Nucleus:
    track: Track
    photons: float


def simulate_stack(design: ExperimentDesign, chip_index: int, position_index: int) -> SimulatedStack:
    """Simulate one stack; it depends on the design and these two numbers alone, not on other stacks.

    A nucleus is drawn in the frames in which its centre lies inside the field, and in no other, so about half
    or more of each listed nucleus is visible; one that leaves may come back and keeps its label. Labels run
    from 1 without a gap.

    Noise, blur and light differ by position, angle and groove contrast by chip; nothing but the proportions
    of the populations differs by condition.

    Parameters
    ----------
    design : ExperimentDesign
        The experiment.
    chip_index, position_index : int
        Chip, numbered through all conditions, and position in it; both from 0.

    Returns
    -------
    SimulatedStack
        Image, labels, table and angle.

    Raises
    ------
    ValueError
        If an index is outside the design, or the nuclei are too dense to be placed.
    """
    place = design.place(chip_index, position_index)
    chip_rng = _stream(design.seed, _CHIP_STREAM, chip_index)
    limit_deg = design.largest_angle_deg
    chip = _Chip(chip_rng.uniform(-limit_deg, limit_deg), chip_rng.uniform(0.06, 0.10))
    return _simulate(design, place, chip, _stream(design.seed, _STACK_STREAM, chip_index, position_index))


def simulate_field(
    *,
    seed: int,
    proportions: tuple[float, float, float, float],
    nuclei_per_mm2: float = 900.0,
    height_px: int = 256,
    width_px: int = 256,
    pixel_size_um: float = 0.5,
    touching_share: float = 0.0,
    angle_deg: float = 0.0,
    time_points: int = 1,
) -> SimulatedStack:
    """Simulate one stack, by default of one frame, with a chosen angle, density and mixture of populations.

    Parameters
    ----------
    seed : int
        Start of the random numbers.
    proportions : 4 floats
        Share of round, elongated, bent and lobed nuclei.
    nuclei_per_mm2, height_px, width_px, pixel_size_um, touching_share, time_points
        As in ExperimentDesign.
    angle_deg : float
        The counter-clockwise rotation that makes the grooves vertical.

    Returns
    -------
    SimulatedStack
        As of `simulate_stack`; its place is chip "field-1", position "p1".

    Raises
    ------
    ValueError
        As ExperimentDesign and `simulate_stack`.
    """
    design = ExperimentDesign(
        seed=seed,
        conditions=(Condition("field", "field", proportions),),
        chips=1,
        positions=1,
        time_points=time_points,
        height_px=height_px,
        width_px=width_px,
        pixel_size_um=pixel_size_um,
        nuclei_per_mm2=(nuclei_per_mm2, nuclei_per_mm2),
        touching_share=touching_share,
    )
    return _simulate(design, design.place(0, 0), _Chip(angle_deg, 0.08), _stream(seed, _STACK_STREAM, 0, 0))


def _stream(seed: int, *spawn_key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def _simulate(
    design: ExperimentDesign, place: StackPlace, chip: _Chip, rng: np.random.Generator
) -> SimulatedStack:
    field = make_field(
        design.height_px,
        design.width_px,
        pixel_size_um=design.pixel_size_um,
        angle_deg=chip.angle_deg,
        phase_um=rng.uniform(0.0, GROOVE_PERIOD_UM),
    )
    optics = draw_optics(chip.groove_contrast, rng)
    nuclei = _populate(design, design.proportions_of(place.chip_index // design.chips), field, rng)
    groove_yx = groove_profile(field.u_yx)
    shape_tyx = (design.time_points, design.height_px, design.width_px)
    tyx, labels_tyx = np.empty(shape_tyx, np.uint16), np.zeros(shape_tyx, np.uint32)
    for t in range(design.time_points):
        light_yx = _draw_nuclei(nuclei, t, field, groove_yx, labels_tyx[t])
        tyx[t] = record_frame(
            light_yx, groove_yx, optics=optics, pixel_size_um=design.pixel_size_um, frame=t, rng=rng
        )
    cells = [
        cell
        for t in range(design.time_points)
        for cell in _measure(labels_tyx[t], t, [nucleus.track.population for nucleus in nuclei])
    ]
    return SimulatedStack(tyx, labels_tyx, cells, chip.angle_deg, place)


def _populate(
    design: ExperimentDesign, proportions: Sequence[float], field: Field, rng: np.random.Generator
) -> list[_Nucleus]:
    """Nuclei whose centre is in the field at some time; some come in from a margin around it."""
    corners_uv = field.widened(_MARGIN_UM / design.pixel_size_um)
    area_mm2 = float(np.prod(np.linalg.norm(corners_uv[1:] - corners_uv[0], axis=1))) / 1e6
    count = round(rng.uniform(*design.nuclei_per_mm2) * area_mm2)
    drawn = rng.choice(len(POPULATIONS), size=count, p=np.divide(proportions, np.sum(proportions)))
    tracks = place_tracks(
        [(POPULATIONS[index], draw_shape(POPULATIONS[index], rng)) for index in drawn],
        corners_uv=corners_uv,
        touching_share=design.touching_share,
        time_points=design.time_points,
        touch_um=_TOUCH_PX * design.pixel_size_um,
        rng=rng,
    )
    photons = np.clip(400.0 * np.exp(0.25 * rng.standard_normal(count)), 250.0, 750.0)
    return [
        _Nucleus(track, float(light))
        for track, light in zip(tracks, photons, strict=True)
        if field.contains(track.centre_tuv).any()
    ]


def _draw_nuclei(
    nuclei: Sequence[_Nucleus], t: int, field: Field, groove_yx: Array, labels_yx: NDArray[np.uint32]
) -> Array:
    """Photons (y, x) of all nuclei in a frame; fills `labels_yx`, a shared pixel goes to the deeper nucleus.

    The light falls off towards the edge as sqrt(1 - depth^6): a flat nucleus with a rounded rim.
    """
    light_yx, depth_yx = np.zeros(groove_yx.shape), np.ones(groove_yx.shape)
    for label, nucleus in enumerate(nuclei, start=1):
        track = nucleus.track
        centre_uv, turn = track.centre_tuv[t], track.turn_t[t]
        if not field.contains(centre_uv):
            continue
        window = field.window(turned(track.shape.outline_uv(), turn) + centre_uv)
        points_uv = np.stack([field.u_yx[window], field.v_yx[window]], axis=-1) - centre_uv
        own_uv = turned(points_uv, -turn)
        depth = track.shape.depth(own_uv[..., 0], own_uv[..., 1])
        dimming = 1.0 - _DIMMED_IN_GROOVE[track.population] * groove_yx[window]
        light = nucleus.photons * dimming * np.sqrt(np.clip(1.0 - depth**6, 0.0, None))
        light *= track.shape.texture(own_uv[..., 0], own_uv[..., 1])
        light_yx[window] = np.maximum(light_yx[window], light)
        labels_yx[window][depth < depth_yx[window]] = label
        depth_yx[window] = np.minimum(depth_yx[window], depth)
    return light_yx


def _measure(labels_yx: NDArray[np.uint32], t: int, populations: Sequence[str]) -> list[CellTruth]:
    """Centroid and orientation of each label in a frame, from the label's first and second moments."""
    rows, columns = np.nonzero(labels_yx)
    label_n = labels_yx[rows, columns]
    area = np.bincount(label_n)
    present = np.flatnonzero(area)

    def mean(values_n: Array) -> Array:
        return np.asarray(np.bincount(label_n, weights=values_n)[present] / area[present])

    y, x = mean(rows.astype(float)), mean(columns.astype(float))
    yy, xx = mean(rows.astype(float) ** 2), mean(columns.astype(float) ** 2)
    xy = mean(rows * columns.astype(float))
    from_x_deg = np.rad2deg(0.5 * np.arctan2(2 * (xy - x * y), (xx - x**2) - (yy - y**2)))
    orientation_deg = 90.0 - (-from_x_deg) % 180.0
    return [
        CellTruth(t, label, populations[label - 1], *numbers)
        for label, *numbers in zip(
            present.tolist(), y.tolist(), x.tolist(), orientation_deg.tolist(), strict=True
        )
    ]

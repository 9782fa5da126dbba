"""Where nuclei lie, how they drift and turn, and which ones touch.

All coordinates here are u (across the grooves) and v (along them), in um. Nuclei are placed one group after
another (random sequential addition, Widom 1966): a group is a single nucleus or a touching pair, which moves
as one body. A candidate is kept if it stays clear of all earlier ones at every time point, so the share of
touching nuclei is the stated one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.simulation.optics import GROOVE_WIDTH_UM
from tasks.kernels.simulation.shapes import LARGEST_REACH_UM, NucleusShape

Array = NDArray[np.float64]

_GAP_UM = 1.6
_CLOSEST_CENTRES_UM = 8.0
_ATTEMPTS = 400
_MEMORY = 0.8
# A bent nucleus lies on a wall (u = 0, 5, 10 ...), an elongated one on the middle of a groove or a ridge.
_NICHE_UM = {"bent": 0.0, "elongated": GROOVE_WIDTH_UM / 2}


@dataclass(frozen=True)
class Track:
    """One nucleus over time: centre (t, 2) as u, v in um; turn (t,) in radians, clockwise on the screen."""

    shape: NucleusShape
    population: str
    centre_tuv: Array
    turn_t: Array

    def outline_tkuv(self) -> Array:
        """The outline's points at each time, (t, 60, 2), in um."""
        return turned(self.shape.outline_uv()[None], self.turn_t[:, None]) + self.centre_tuv[:, None]


def turned(points_uv: Array, angle_rad: Array | float) -> Array:
    """Turn points (..., 2) about the origin from u towards v."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    u, v = points_uv[..., 0], points_uv[..., 1]
    return np.stack(np.broadcast_arrays(u * cosine - v * sine, u * sine + v * cosine), axis=-1)


def place_tracks(
    nuclei: Sequence[tuple[str, NucleusShape]],
    *,
    corners_uv: Array,
    touching_share: float,
    time_points: int,
    touch_um: float,
    rng: np.random.Generator,
) -> list[Track]:
    """Place nuclei so that the stated share touches one neighbour and no others come closer than 1.6 um.

    Parameters
    ----------
    nuclei : sequence of (population, shape)
        What to place; neighbours in the sequence become pairs.
    corners_uv : (3, 2) float64
        A corner of the region and the two corners next to it, in um.
    touching_share : float
        Share of the nuclei that come in touching pairs.
    time_points : int
        Length of the tracks.
    touch_um : float
        How far a pair is pushed into each other, so that its labels meet on any pixel grid.
    rng : numpy.random.Generator
        Where the numbers come from.

    Returns
    -------
    list of Track
        One for each nucleus, in the order of `nuclei`.

    Raises
    ------
    ValueError
        If a group finds no free place in 400 attempts.
    """
    paired = 2 * round(touching_share * len(nuclei) / 2)
    crowd = _Crowd(len(nuclei), time_points)
    for start in [*range(0, paired, 2), *range(paired, len(nuclei))]:
        members = nuclei[start : start + 2] if start < paired else nuclei[start : start + 1]
        for _ in range(_ATTEMPTS):
            near_uv = _point_within(corners_uv, rng)
            group = _candidate(members, near_uv, time_points=time_points, touch_um=touch_um, rng=rng)
            if group and all(crowd.leaves_room_for(track) for track in group):
                crowd.add(group)
                break
        else:
            raise ValueError(
                f"expected room for {len(nuclei)} nuclei, found none for number {start + 1} in {_ATTEMPTS} "
                "attempts; lower nuclei_per_mm2"
            )
    return crowd.tracks


class _Crowd:
    """The nuclei that are placed already, and whether a new one stays clear of them."""

    def __init__(self, room: int, time_points: int) -> None:
        self.tracks: list[Track] = []
        self._outlines_tkuv: list[Array] = []
        self._centres_ntuv = np.empty((room, time_points, 2))

    def add(self, group: Sequence[Track]) -> None:
        for track in group:
            self._centres_ntuv[len(self.tracks)] = track.centre_tuv
            self._outlines_tkuv.append(track.outline_tkuv())
            self.tracks.append(track)

    def leaves_room_for(self, track: Track) -> bool:
        """Whether the track stays farther than the gap from all placed ones at all times."""
        apart_ntuv = self._centres_ntuv[: len(self.tracks)] - track.centre_tuv
        nearest_n = np.sqrt((apart_ntuv**2).sum(axis=-1)).min(axis=1)
        if (nearest_n < _CLOSEST_CENTRES_UM).any():
            return False
        outline_tkuv = track.outline_tkuv()
        near = np.flatnonzero(nearest_n < 2 * LARGEST_REACH_UM + _GAP_UM).tolist()
        return all(_closest_um(outline_tkuv, self._outlines_tkuv[index]) >= _GAP_UM for index in near)


def _closest_um(first_tkuv: Array, second_tkuv: Array) -> float:
    difference_tkluv = first_tkuv[:, :, None] - second_tkuv[:, None]
    return float(np.sqrt((difference_tkluv**2).sum(axis=-1).min()))


def _point_within(corners_uv: Array, rng: np.random.Generator) -> Array:
    return np.asarray(corners_uv[0] + rng.uniform(size=2) @ (corners_uv[1:] - corners_uv[0]))


def _candidate(
    members: Sequence[tuple[str, NucleusShape]],
    near_uv: Array,
    *,
    time_points: int,
    touch_um: float,
    rng: np.random.Generator,
) -> list[Track]:
    """A single nucleus, a pair in contact, or nothing if the drawn pair cannot touch."""
    anchor_uv = _settled(members[0][0], near_uv, rng)
    turns = [_rest_turn(population, rng) for population, _ in members]
    offsets_uv = [np.zeros(2)]
    if len(members) == 2:
        offset_uv = _touching_offset(members, anchor_uv, turns=turns, touch_um=touch_um, rng=rng)
        if offset_uv is None:
            return []
        offsets_uv.append(offset_uv)
    guided = any(population in _NICHE_UM for population, _ in members)
    drift_tuv, turn_t = _wander(time_points, guided, rng)
    return [
        Track(shape, population, anchor_uv + drift_tuv + turned(offset_uv[None], turn_t), turn + turn_t)
        for (population, shape), offset_uv, turn in zip(members, offsets_uv, turns, strict=True)
    ]


def _settled(population: str, near_uv: Array, rng: np.random.Generator) -> Array:
    """Move a point across the grooves to the nearest place where this population lies."""
    if population not in _NICHE_UM:
        return near_uv
    niche_um = _NICHE_UM[population]
    u_um = np.rint((near_uv[0] - niche_um) / GROOVE_WIDTH_UM) * GROOVE_WIDTH_UM + niche_um
    return np.array([u_um + rng.normal(0.0, 0.3), near_uv[1]])


def _rest_turn(population: str, rng: np.random.Generator) -> float:
    if population in _NICHE_UM:
        return float(rng.normal(0.0, np.deg2rad(5.0)))
    return float(rng.uniform(-np.pi, np.pi))


def _touching_offset(
    members: Sequence[tuple[str, NucleusShape]],
    anchor_uv: Array,
    *,
    turns: Sequence[float],
    touch_um: float,
    rng: np.random.Generator,
) -> Array | None:
    """Slide the second nucleus along the groove until it meets the first; by bisection."""
    (_, first), (population, second) = members
    beside_uv = anchor_uv + np.array([rng.uniform(-5.0, 5.0), 0.0])
    aside_uv = _settled(population, beside_uv, rng) - anchor_uv
    along_uv = np.array([0.0, rng.choice([-1.0, 1.0])])
    first_kuv, second_kuv = (
        turned(shape.outline_uv(), turn) for shape, turn in zip((first, second), turns, strict=True)
    )

    def overlap(slide_um: float) -> bool:
        offset_uv = aside_uv + slide_um * along_uv
        return _reaches(first, turns[0], second_kuv + offset_uv) or _reaches(
            second, turns[1], first_kuv - offset_uv
        )

    touching_um, free_um = 0.0, 4 * LARGEST_REACH_UM
    if abs(aside_uv[0]) > 5.5 or not overlap(touching_um):
        return None
    while free_um - touching_um > 0.02:
        middle_um = (free_um + touching_um) / 2
        touching_um, free_um = (middle_um, free_um) if overlap(middle_um) else (touching_um, middle_um)
    return np.asarray(aside_uv + (free_um - touch_um) * along_uv)


def _reaches(shape: NucleusShape, turn: float, points_kuv: Array) -> bool:
    own_kuv = turned(points_kuv, -turn)
    return bool((shape.depth(own_kuv[:, 0], own_kuv[:, 1]) < 1.0).any())


def _wander(time_points: int, guided: bool, rng: np.random.Generator) -> tuple[Array, Array]:
    """Drift (t, 2) in um and turn (t,) in radians: free along the groove, else pulled back."""
    across_um, along_um, turn_deg = (0.15, 0.8, 1.0) if guided else (0.5, 0.6, 4.0)
    steps = rng.standard_normal((time_points, 3)) * [across_um, along_um, np.deg2rad(turn_deg)]
    steps[0] = 0.0
    path = np.array(list(_pulled_back(steps)))
    return path[:, :2], path[:, 2]


def _pulled_back(steps: Array) -> Iterator[Array]:
    state = np.zeros(3)
    for step in steps:
        state = state * [_MEMORY, 1.0, _MEMORY] + step
        yield state

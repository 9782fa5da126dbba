"""What a simulated experiment is: conditions, chips, positions, field, time, populations."""

import math
import re
from dataclasses import dataclass

import numpy as np

POPULATIONS = ("round", "elongated", "bent", "lobed")
SIMULATOR_VERSION = 1
DENSEST_PER_MM2 = 1600.0
_CODE = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Condition:
    """A biological condition.

    Attributes
    ----------
    name : str
        As written in samples.csv, such as "wild type".
    code : str
        Lower-case letters and digits that begin the chips' names: "wt" gives "wt-1", "wt-2".
    proportions : tuple of 4 floats
        Share of round, elongated, bent and lobed nuclei; the sum is 1.

    Raises
    ------
    ValueError
        If the name is empty, the code has other characters, or the shares are not four with sum 1.
    """

    name: str
    code: str
    proportions: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("expected a condition with a name, found an empty name; write one")
        if not _CODE.fullmatch(self.code):
            raise ValueError(
                f"expected a code of lower-case letters and digits for {self.name!r}, found {self.code!r}; "
                "it becomes part of file names, choose one such as 'wt'"
            )
        shares = np.asarray(self.proportions, dtype=float)
        if shares.shape != (len(POPULATIONS),) or not (np.isfinite(shares).all() and (shares >= 0).all()):
            raise ValueError(
                f"expected {len(POPULATIONS)} shares of at least 0 for {', '.join(POPULATIONS)}, "
                f"found {self.proportions} in {self.name!r}; give one share for each population"
            )
        if not math.isclose(float(shares.sum()), 1.0, abs_tol=1e-6):
            raise ValueError(
                f"expected proportions with sum 1 for {self.name!r}, found sum {shares.sum():g}; "
                "divide each share by that sum"
            )


WILD_TYPE = Condition("wild type", "wt", (0.15, 0.45, 0.30, 0.10))
BRAF = Condition("BRAF", "braf", (0.40, 0.10, 0.10, 0.40))


@dataclass(frozen=True)
class StackPlace:
    """Where one stack stands in the experiment; `replicate` counts the chips of a condition from 1."""

    file: str
    chip: str
    position: str
    condition: str
    replicate: int
    chip_index: int
    position_index: int


@dataclass(frozen=True)
class ExperimentDesign:
    """Everything that decides a simulated experiment; the same design gives the same bytes.

    Attributes
    ----------
    seed : int
        Start of every random number, 0 or more.
    conditions : tuple of Condition
        A chip carries one of them.
    null : bool
        True: every condition gets the mean of all conditions' proportions, so there is no difference to find.
    chips : int
        Chips for each condition.
    positions : int
        Positions, that is stacks, for each chip.
    time_points : int
        Frames of each stack.
    height_px, width_px : int
        Size of the field.
    pixel_size_um : float
        Edge of a pixel.
    time_interval_s : float
        Time between frames.
    nuclei_per_mm2 : tuple of 2 floats
        Each position's density is drawn uniformly between these.
    touching_share : float
        Share of nuclei that touch a neighbour; they come in pairs.
    largest_angle_deg : float
        Each chip's angle is drawn uniformly between minus and plus this.

    Raises
    ------
    ValueError
        If a value is outside what the simulator can draw.
    """

    seed: int = 0
    conditions: tuple[Condition, ...] = (WILD_TYPE, BRAF)
    null: bool = False
    chips: int = 2
    positions: int = 2
    time_points: int = 4
    height_px: int = 512
    width_px: int = 512
    pixel_size_um: float = 0.5
    time_interval_s: float = 600.0
    nuclei_per_mm2: tuple[float, float] = (600.0, 1200.0)
    touching_share: float = 0.2
    largest_angle_deg: float = 30.0

    def __post_init__(self) -> None:
        for name, low, high in _LIMITS:
            _require_within(name, getattr(self, name), low, high)
        sparsest, densest = self.nuclei_per_mm2
        _require_within("nuclei_per_mm2[0]", sparsest, 1.0, DENSEST_PER_MM2)
        _require_within("nuclei_per_mm2[1]", densest, sparsest, DENSEST_PER_MM2)
        for what in ("name", "code"):
            found = [getattr(condition, what) for condition in self.conditions]
            if not found or len(set(found)) != len(found):
                raise ValueError(
                    f"expected at least one condition, each with its own {what}, found {found}; "
                    "rename the repeated one"
                )

    @property
    def stack_count(self) -> int:
        """Number of stacks: conditions times chips times positions."""
        return len(self.conditions) * self.chips * self.positions

    def proportions_of(self, condition_index: int) -> tuple[float, ...]:
        """Shares of the four populations among a condition's nuclei; the mean of all conditions if null."""
        if not self.null:
            return self.conditions[condition_index].proportions
        shares = np.mean([condition.proportions for condition in self.conditions], axis=0)
        return tuple(float(share) for share in shares)

    def places(self) -> list[StackPlace]:
        """Every stack, ordered by condition, chip and position."""
        chip_count = len(self.conditions) * self.chips
        return [
            self.place(chip, position) for chip in range(chip_count) for position in range(self.positions)
        ]

    def place(self, chip_index: int, position_index: int) -> StackPlace:
        """Name one stack; chips are numbered through all conditions from 0, positions in a chip from 0."""
        _require_within("chip_index", chip_index, 0, len(self.conditions) * self.chips - 1)
        _require_within("position_index", position_index, 0, self.positions - 1)
        condition = self.conditions[chip_index // self.chips]
        replicate = chip_index % self.chips + 1
        chip, position = f"{condition.code}-{replicate}", f"p{position_index + 1}"
        return StackPlace(
            f"{chip}_{position}.ome.tif",
            chip,
            position,
            condition.name,
            replicate,
            chip_index,
            position_index,
        )


_LIMITS = (
    ("seed", 0, 2**63 - 1),
    ("chips", 1, 1000),
    ("positions", 1, 1000),
    ("time_points", 1, 1000),
    ("height_px", 64, 8192),
    ("width_px", 64, 8192),
    ("pixel_size_um", 0.1, 1.0),
    ("time_interval_s", 0.001, 1e6),
    ("touching_share", 0.0, 0.8),
    ("largest_angle_deg", 0.0, 80.0),
)


def _require_within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(
            f"expected {name} between {low:g} and {high:g}, found {value!r}; choose one in that range"
        )

"""simulate: write an experiment with known truth, one stack in memory at a time."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from storage.experiment import Row, begin_experiment, finish_experiment, read_cells, write_stack
from tasks.kernels.simulation.design import SIMULATOR_VERSION, ExperimentDesign
from tasks.kernels.simulation.scene import SimulatedStack, simulate_stack

CHANNELS = ("nuclei",)


def simulate_experiment(out: Path, design: ExperimentDesign) -> dict[str, int]:
    """Write the experiment into a folder, unless the folder holds it already.

    Parameters
    ----------
    out : Path
        An empty or missing folder, or one that holds this very design, complete or not.
    design : ExperimentDesign
        What to simulate.

    Returns
    -------
    dict of int
        `frames`; `cells`, a nucleus counted once a frame; `units_done` and `units_reused`, in stacks.

    Raises
    ------
    storage.errors.InputError
        If the folder holds anything else.
    ValueError
        If the nuclei are too dense to be placed.
    """
    places = design.places()
    frames = design.stack_count * design.time_points
    record = {"simulator": SIMULATOR_VERSION, **asdict(design)}
    if begin_experiment(out, record, [place.file for place in places]):
        return _counts(frames, len(read_cells(out)), done=0, reused=len(places))
    samples: list[Row] = []
    cells: list[Row] = []
    angles: list[Row] = []
    for place in places:
        stack = simulate_stack(design, place.chip_index, place.position_index)
        write_stack(
            out,
            place.file,
            tczyx=stack.tyx[:, None, None],
            labels_tyx=stack.labels_tyx,
            pixel_size_um=design.pixel_size_um,
            time_interval_s=design.time_interval_s,
            channels=CHANNELS,
        )
        samples.append(asdict(place))
        cells += list(_cell_rows(stack))
        angles.append({"file": place.file, "angle_deg": stack.angle_deg})
    finish_experiment(out, samples=samples, cells=cells, angles=angles)
    return _counts(frames, len(cells), done=len(places), reused=0)


def _cell_rows(stack: SimulatedStack) -> Iterator[Row]:
    place = stack.place
    for cell in stack.cells:
        where = {
            "file": place.file,
            "condition": place.condition,
            "chip": place.chip,
            "position": place.position,
        }
        yield {**where, **asdict(cell)}


def _counts(frames: int, cells: int, *, done: int, reused: int) -> dict[str, int]:
    return {"frames": frames, "cells": cells, "units_done": done, "units_reused": reused}

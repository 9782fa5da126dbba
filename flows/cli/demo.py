"""demo: simulate a small experiment, run everything on it, say what was found and where to look."""

import time
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import Common, command, err, out
from flows.cli.results import print_result
from flows.cli.stages import run_inputs, simulate_into

SEED = 1


@command
def demo(
    common: Common,
    folder: Annotated[Path, typer.Option(help="Folder for the simulated recordings and the store.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = SEED,
) -> None:
    """Simulate a small experiment and run the whole pipeline on it.

    Run it again: it computes nothing twice.

    Example: chipcyte demo --folder demo
    """
    began = time.monotonic()
    recordings = folder / f"recordings-{seed}"
    counts = simulate_into(recordings, seed=seed, chips=2, positions=2, time_points=3)
    state = "simulated" if counts["units_done"] else "found"
    err.print(
        f"{state} {counts['frames']} frames with {counts['cells']} cells in {recordings}", soft_wrap=True
    )
    found = run_inputs(common.at(str(folder / "store")), [str(recordings)], None, f"demo-{seed}")
    found["truth_cells"] = counts["cells"]

    def people() -> None:
        print_result(found)
        share = found["counts"]["cells"] / counts["cells"]
        out.print(f"{found['counts']['cells']} cells found, {counts['cells']} are there ({share:.1%})")
        out.print(f"done in {time.monotonic() - began:.0f} s; stop the servers with `make down`")

    common.show(found, people)

"""The commands that compute: run, the verbs of the stages, simulate and demo."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import progress
from flows.cli.common import Common, command, err, out
from flows.cli.results import print_result
from flows.environment import home_folder

InputsArgument = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Files and folders of an instrument.")
]
SamplesOption = Annotated[
    Path | None,
    typer.Option("--samples", metavar="FILE.csv", help="Chip, position, condition, replicate of each file."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the experiment in Prefect and MLflow.")
]
AcquisitionsOption = Annotated[
    list[str] | None,
    typer.Option("--acquisition", metavar="KEY", help="Only this one; may be given several times."),
]


def start_servers() -> Any:
    """Start or reuse the two servers and point Prefect and MLflow at them."""
    from flows.services import connect, up
    from tasks.tracking import front_page

    with err.status("looking for the Prefect and MLflow servers") if err.is_terminal else _nothing():
        servers = up(home_folder())
    connect(servers)
    for note in servers.notes:
        err.print(note, soft_wrap=True)
    for name, started in servers.started.items():
        address = servers.prefect_ui_url if name == "prefect" else front_page(servers.mlflow_url)
        err.print(f"{name}: {address} ({'started' if started else 'already running'})", soft_wrap=True)
    return servers


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _compute(common: Common, flow: str, name: str, **parameters: Any) -> dict[str, Any]:
    """Run one of the two flows and show what it found."""
    settings = common.settings()
    servers = start_servers()
    from flows import pipeline
    from tasks import chunked

    chosen: Any = {"run": pipeline.run, "process": pipeline.process}[flow]
    try:
        with progress.shown():
            result = chosen(
                store=common.store,
                name=name,
                tracking_uri=servers.mlflow_url,
                settings=settings,
                **parameters,
            )
    finally:
        chunked.close()
    found: dict[str, Any] = result.as_json()
    found |= {"prefect_url": result.flow_run_url or servers.prefect_ui_url, "mlflow_url": servers.mlflow_url}
    found["mlflow_run_url"] = f"{servers.mlflow_url}/#{result.tracking_page}" if result.tracking_page else ""
    found |= {"composition": result.composition} if result.composition else {}
    return found


def _check_inputs(common: Common, inputs: list[str], samples: Path | None) -> None:
    """Find wrong input before servers are started."""
    from flows.inputs import find_inputs
    from storage.objects import normal_url, open_store
    from tasks.settings import Settings

    settings: Settings = common.settings()
    find_inputs(inputs, settings.ingest, samples, quietly=True)
    open_store(normal_url(common.store), create=True)


def experiment_name(inputs: list[str]) -> str:
    """Return what a run is called unless `--name` says it: the first input's folder or file."""
    first = Path(inputs[0]).expanduser().resolve()
    return first.name if first.is_dir() else first.name.split(".")[0]


def run_inputs(
    common: Common, inputs: list[str], samples: Path | None, name: str | None, **parameters: Any
) -> dict[str, Any]:
    """Carry files through the stages and return what was found."""
    _check_inputs(common, inputs, samples)
    return _compute(
        common,
        "run",
        name or experiment_name(inputs),
        inputs=[str(Path(one).expanduser().absolute()) for one in inputs],
        samples=None if samples is None else str(samples.absolute()),
        **parameters,
    )


@command
def run(
    inputs: InputsArgument, common: Common, samples: SamplesOption = None, name: NameOption = None
) -> None:
    """Carry files through the whole way: from recordings to compared populations and a report.

    Example: chipcyte run recordings/ --samples samples.csv --store /data/store
    """
    found = run_inputs(common, inputs, samples, name)
    common.show(found, lambda: print_result(found))


@command
def ingest(
    inputs: InputsArgument, common: Common, samples: SamplesOption = None, name: NameOption = None
) -> None:
    """Copy recordings into the store. The files themselves are never moved or changed.

    Example: chipcyte ingest recordings/*.tif --store /data/store
    """
    found = run_inputs(common, inputs, samples, name, until="ingest")
    common.show(found, lambda: print_result(found))


HELP = {
    "preprocess": "Turn raw images so that grooves stand vertical; even out contrast and noise.",
    "segment": "Find the nuclei and measure them.",
    "extract": "Cut a patch for each nucleus.",
    "train": "Train a variational autoencoder on the patches.",
    "embed": "Encode every patch in the latent space.",
    "cluster": "Find populations in the latent space and compare conditions.",
    "report": "Write the report.",
}


def run_stage(stage: str, common: Common, acquisition: list[str] | None, name: str | None) -> None:
    """Go from the store's acquisitions as far as a stage, and show what was found."""
    from storage.objects import normal_url, open_store

    open_store(normal_url(common.store))
    called = name or Path(common.store.rstrip("/")).name
    found = _compute(common, "process", called, acquisitions=acquisition, until=stage)
    common.show(found, lambda: print_result(found))


def stage_command(stage: str) -> Any:
    """Return the command of one stage: it goes from the store's acquisitions as far as that stage."""

    def body(common: Common, acquisition: AcquisitionsOption = None, name: NameOption = None) -> None:
        run_stage(stage, common, acquisition, name)

    body.__name__ = stage
    body.__doc__ = (
        f"{HELP[stage]}\n\nWorks on all acquisitions of the store, or on those given; earlier stages that "
        f"are missing are computed first.\n\nExample: chipcyte {stage} --store /data/store"
    )
    return command(body)


@command
def simulate(
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the experiment into.")],
    common: Common,
    seed: Annotated[int, typer.Option(help="Seed: the same seed gives the same bytes.")] = 0,
    chips: Annotated[int, typer.Option(help="Chips of each condition.")] = 2,
    positions: Annotated[int, typer.Option(help="Positions on each chip.")] = 2,
    time_points: Annotated[int, typer.Option(help="Frames of each position.")] = 3,
    size: Annotated[int, typer.Option(help="Edge of a frame in px.")] = 512,
    null: Annotated[bool, typer.Option("--null", help="Conditions that do not differ.")] = False,
) -> None:
    """Simulate recordings of nuclei on microgrooves, with samples.csv and the exact truth.

    Example: chipcyte simulate /tmp/experiment --seed 7
    """
    counts = simulate_into(
        out_folder,
        seed=seed,
        chips=chips,
        positions=positions,
        time_points=time_points,
        height_px=size,
        width_px=size,
        null=null,
    )
    found = {
        "key": f"seed-{seed}",
        "uri": str(out_folder.absolute()),
        "counts": counts,
        "metrics": {},
        "reused": counts["units_done"] == 0,
    }
    common.show(found, lambda: _print_simulation(found))


def simulate_into(out_folder: Path, **design: Any) -> dict[str, int]:
    """Write a simulated experiment and return its counts."""
    from storage.errors import InputError
    from tasks.kernels.simulation.design import ExperimentDesign
    from tasks.simulate import simulate_experiment

    try:
        checked = ExperimentDesign(**design)
    except ValueError as error:
        raise InputError(str(error)) from error
    return simulate_experiment(out_folder, checked)


def _print_simulation(found: dict[str, Any]) -> None:
    counts = found["counts"]
    state = "was there already" if found["reused"] else "written"
    out.print(
        f"{counts['frames']} frames with {counts['cells']} cells {state}: {found['uri']}", soft_wrap=True
    )

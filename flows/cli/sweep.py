"""sweep: many trainings side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli import progress
from flows.cli.common import Common, command, out
from flows.cli.stages import AcquisitionsOption, NameOption, start_servers

SHOWN = 20


@command
def sweep(
    common: Common,
    latent: Annotated[str | None, typer.Option("--latent", help="Latent sizes, as 8,16,32.")] = None,
    beta: Annotated[
        str | None, typer.Option("--beta", help="Weights of the divergence, as 0.1,1,10.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Of given, conv, dense, conditional, refined, vade; as conv,vade."),
    ] = None,
    seed: Annotated[str | None, typer.Option("--seed", help="Seeds of weights and order, as 0,1,2.")] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=0, help="Search between these with so many points; 0: all of them."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Score that ranks, as ari or silhouette.")] = None,
    acquisition: AcquisitionsOption = None,
    name: NameOption = None,
) -> None:
    """Train the patches of a store in many ways, cluster each, and rank them: one MLflow run above all.

    Several points train at once, one a worker. A sweep that was killed goes on where it was.

    Example: chipcyte sweep --latent 8,16 --beta 0.5,1,2 --seed 0,1 --store /data/store
    """
    lists = {"latents": latent, "betas": beta, "models": model, "seeds": seed}
    given: dict[str, Any] = {f"sweep.{key}": text.split(",") for key, text in lists.items() if text}
    given |= {f"sweep.{key}": value for key, value in (("trials", trials), ("by", by)) if value is not None}
    settings = common.settings(given)
    servers = start_servers()
    from flows import sweeping
    from tasks import chunked

    try:
        with progress.shown():
            found = sweeping.sweep(
                store=common.store,
                name=name or Path(common.store.rstrip("/")).name,
                tracking_uri=servers.mlflow_url,
                settings=settings,
                acquisitions=acquisition,
            )
    finally:
        chunked.close()
    common.show(sweeping.swept_json(found), lambda: _print(found))


def _print(found: Any) -> None:
    from tasks.kernels.pictures.parallel import parallel_text
    from tasks.sweep import sweep_axes

    score = found.sweep.metrics["by"]
    table = Table(title=f"Points by {score.replace('_', ' ')}", title_justify="left")
    for column in ("", "latent", "beta", "model", "seed", score, "validation reconstruction", "why not"):
        table.add_column(column)
    for number, row in enumerate(found.rows[:SHOWN], start=1):
        texts = [f"{row['latent']}", f"{row['beta']:g}", row["model"], f"{row['seed']}"]
        numbers = [_number(row["score"]), _number(row["validation_reconstruction"])]
        table.add_row(str(number), *texts, *numbers, row["failed"])
    out.print(table)
    rows = found.rows[:SHOWN]
    names = [
        f"latent {row['latent']}, beta {row['beta']:g}, {row['model']}, seed {row['seed']}" for row in rows
    ]
    out.print(parallel_text(sweep_axes(rows, score), names))
    out.print(f"MLflow   {found.run_url}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

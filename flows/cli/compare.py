"""compare: models ranked on the same held-out cells, and the champion among them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli import progress
from flows.cli.common import Common, command, out
from flows.cli.stages import NameOption, start_servers
from storage.errors import InputError


@command
def compare(
    common: Common,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Keys, versions or aliases; all of the experiment."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Score that ranks, as ari or silhouette.")] = None,
    promote: Annotated[
        bool,
        typer.Option("--promote", help="Make the best champion if it is surely better, else challenger."),
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Compare nothing; return to the champion before.")
    ] = False,
    name: NameOption = None,
) -> None:
    """Rank trained models on the cells that none of them learned from.

    A model is promoted if its score is better than the champion's beyond the bootstrap interval of the
    difference, and neither its latents have collapsed nor its divergence has run away.

    Example: chipcyte compare --by ari --promote --store /data/store
    """
    if rollback and (promote or models):
        raise InputError("expected --rollback alone, found more; roll back first, then compare")
    called = name or Path(common.store.rstrip("/")).name
    settings = common.settings({"compare.by": by} if by else None)
    servers = start_servers()
    if rollback:
        _roll_back(common, called, servers.mlflow_url)
        return
    from flows import comparing
    from tasks import chunked

    try:
        with progress.shown():
            found = comparing.compare_models(
                store=common.store,
                name=called,
                tracking_uri=servers.mlflow_url,
                settings=settings,
                models=models,
                promotes=promote,
            )
    finally:
        chunked.close()
    result = _json(found, common.store)
    common.show(result, lambda: _print(found, result))


def _json(found: Any, store: str) -> dict[str, Any]:
    ranking = found.found
    return {
        "key": ranking.rows[0]["key"],
        "uri": store,
        "counts": {"models": len(ranking.rows), "cells": ranking.cells},
        "metrics": {
            "by": ranking.score,
            **{name: ranking.rows[0][name] for name in ("score", "low", "high")},
        },
        "reused": False,
        "ranking": ranking.rows,
        "champion": asdict(found.champion) if found.champion else None,
        "promoted": found.promoted,
        "challenger": found.challenger,
        "mlflow_run_url": ranking.run_url,
        "prefect_url": found.flow_run_url,
    }


def _print(found: Any, result: dict[str, Any]) -> None:
    from tasks.compare import comparison_axes
    from tasks.kernels.pictures.parallel import parallel_text

    rows, score = result["ranking"], result["metrics"]["by"]
    table = Table(
        title=f"Models by {score} on {result['counts']['cells']} held-out cells", title_justify="left"
    )
    for column in (
        "",
        "model",
        "latent",
        "beta",
        "kind",
        "seed",
        score,
        "interval",
        "over champion",
        "alarm",
    ):
        table.add_column(column)
    for number, row in enumerate(rows, start=1):
        words = [
            str(number),
            row["name"],
            f"{row['latent']}",
            f"{row['beta']:g}",
            row["model"],
            f"{row['seed']}",
        ]
        gains = _between(row["gain_low"], row["gain_high"])
        table.add_row(*words, _number(row["score"]), _between(row["low"], row["high"]), gains, row["alarms"])
    out.print(table)
    out.print(parallel_text(comparison_axes(rows, score), [row["name"] for row in rows]))
    stands = result["champion"]
    out.print(
        f"Champion: version {stands['version']}{' (promoted now)' if found.promoted else ''}."
        if stands
        else "There is no champion; --promote makes one.",
    )
    if found.challenger:
        out.print(f"Challenger: version {found.challenger}, better but not beyond the interval.")
    out.print(f"MLflow   {result['mlflow_run_url']}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _roll_back(common: Common, name: str, tracking_uri: str) -> None:
    from flows import comparing

    left, now = comparing.roll_back(name, tracking_uri)
    result = {
        "key": now.key if now else None,
        "uri": common.store,
        "counts": {},
        "metrics": {},
        "reused": True,
        "left": asdict(left),
        "champion": asdict(now) if now else None,
    }
    stands = f"version {now.version}" if now else "no version"
    common.show(result, lambda: out.print(f"Champion of {left.name} is {stands}.", soft_wrap=True))

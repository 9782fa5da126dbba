"""deliver: what a lost MLflow has not heard."""

from typing import Any

import typer

from flows.cli.common import Common, command, err, out
from flows.cli.stages import start_servers


@command
def deliver(common: Common) -> None:
    """Tell MLflow what it could not take while it was lost. Exit 1 if something still waits.

    Every command that computes does so first; this one does nothing else.

    Example: chipcyte deliver --store /data/store
    """
    from storage.objects import open_store

    objects = open_store(common.store)
    servers = start_servers()
    from tasks import tracking

    done = tracking.deliver(objects, servers.mlflow_url)
    result = {
        "key": done.runs,
        "uri": objects.url,
        "counts": {"entries": done.entries, "runs": len(done.runs), "waiting": done.waiting},
        "metrics": {},
        "reused": done.entries == 0,
        "problems": done.problems,
    }
    common.show(result, lambda: _print(result))
    for problem in done.problems:
        err.print(problem, soft_wrap=True)
    if done.waiting:
        raise typer.Exit(1)


def _print(result: dict[str, Any]) -> None:
    counts = result["counts"]
    out.print(
        f"MLflow took {counts['entries']} entries of {counts['runs']} runs; {counts['waiting']} wait.",
        soft_wrap=True,
    )

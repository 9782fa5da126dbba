"""sweep as a flow: patches of a store, then many trainings of them."""

from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows.pipeline import process
from storage import records
from storage.objects import open_store
from tasks import announce
from tasks.settings import Settings
from tasks.stage import Handle, folder
from tasks.sweep import read_points
from tasks.sweep import sweep as sweep_task
from tasks.tracking import Tracking


@dataclass(frozen=True)
class Swept:
    """What a sweep found: its artifact, its rows with the best first, and where to look."""

    sweep: Handle
    rows: list[dict[str, Any]]
    run_url: str
    flow_run_url: str = ""


@flow(name="sweep", flow_run_name="{name}")
def sweep(
    *,
    store: str,
    name: str,
    tracking_uri: str,
    settings: Settings,
    acquisitions: list[str] | None = None,
) -> Swept:
    """Cut the patches of a store's acquisitions where they are missing, and train them at every point."""
    found = process(
        store=store,
        name=name,
        tracking_uri=tracking_uri,
        settings=settings,
        acquisitions=acquisitions,
        until="extract",
    )
    page = announce.run_page()
    made = sweep_task(
        patches=found.stages["extract"],
        store=store,
        settings=settings,
        tracking=Tracking(tracking_uri, name, page),
    )
    objects = open_store(store)
    rows, details = read_points(objects, made), records.read(objects, "sweep", made.key).details
    announce.table("sweep", rows, f"Points of the sweep by {made.metrics['by']}, the best first")
    announce.image(
        "sweep", lambda: objects.get(folder("sweep", made.key, "parallel.png")), "Points of the sweep"
    )
    announce.link("mlflow-sweep", str(details["run_url"]), "The sweep in MLflow")
    return Swept(made, rows, str(details["run_url"]), page)


def swept_json(found: Swept) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    made = found.sweep
    return {
        "key": made.key,
        "uri": made.uri,
        "counts": made.counts | {"units_done": made.units_done, "units_reused": made.units_reused},
        "metrics": made.metrics,
        "reused": made.reused,
        "points": found.rows,
        "mlflow_run_url": found.run_url,
        "prefect_url": found.flow_run_url,
    }

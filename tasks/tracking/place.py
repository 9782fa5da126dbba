"""Where runs are remembered, and the one way in which a stage opens its run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.objects import Objects
from tasks.tracking.entries import PARENT
from tasks.tracking.machine import machine_sampled
from tasks.tracking.runs import Run, tracked_run

KEY = "chipcyte.key"  # a tag of runs and versions: the artifact they made, or whose weights they are


@dataclass(frozen=True)
class Tracking:
    """Where runs are remembered: MLflow's address, the experiment, and the page of the Prefect flow run.

    `parent` is the id of the run below which MLflow shows them, such as a sweep's.
    """

    uri: str
    experiment: str
    flow_run_url: str = ""
    parent: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """Words every run bears, the way back to Prefect among them."""
        note = f"Started by [this Prefect flow run]({self.flow_run_url})." if self.flow_run_url else ""
        tags = {"prefect.flow_run_url": self.flow_run_url, "mlflow.note.content": note}
        return tags | ({PARENT: self.parent} if self.parent else {})

    @contextmanager
    def run(self, objects: Objects, stage: str, key: str, **tags: str) -> Iterator[Run]:
        """Open the run of a stage's artifact for the length of a block; a lost server does not end it.

        Parameters
        ----------
        objects
            The store, in which what a lost server cannot take waits.
        stage, key
            What is done, and the key of what it makes.
        tags
            More words to find the run by.
        """
        about = self.tags | {KEY: key, "chipcyte.stage": stage} | tags
        name = f"{stage} {key[:8]}"
        with (
            tracked_run(self.experiment, name, tracking_uri=self.uri, tags=about, spool=objects) as run,
            machine_sampled(run),
        ):
            yield run

"""What the machine does while a run is open: MLflow's system metrics, told like all else of the run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.tracking.server import TrackingError
from tasks.tracking.spool import log

if TYPE_CHECKING:
    from tasks.tracking.runs import Run

PREFIX = "system/"  # where MLflow's pages look for them
SAMPLE_EVERY_S = 10.0


@contextmanager
def machine_sampled(run: "Run", every_s: float = SAMPLE_EVERY_S) -> Iterator[None]:
    """Tell a run load, memory, disk, network and GPU of the machine every few seconds, and at last.

    Not by MLflow's own thread: it asks the server before each sample, and ends with the first lost answer.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor, over = SystemMetricsMonitor(run.id, tracking_uri=run.client.tracking_uri), threading.Event()
    thread = threading.Thread(target=_sample, args=(monitor, run, over, every_s), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sample(monitor: Any, run: "Run", over: threading.Event, every_s: float) -> None:
    step, ends = 0, False
    while not ends:
        ends = over.wait(every_s)
        monitor.collect_metrics()
        numbers = {PREFIX + name: value for name, value in monitor.aggregate_metrics().items()}
        for one in monitor.monitors:
            one.clear_metrics()
        try:
            run.metrics(numbers, step)
        except TrackingError as error:
            log.warning(f"the machine is not watched any more: {error}")
            return
        step += 1

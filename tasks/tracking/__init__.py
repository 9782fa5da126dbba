"""What MLflow remembers: runs with their settings, numbers, pictures, data and models. The home of mlflow.

Every call names its server; nothing is set for the process, so stages in several threads may each have a run.
MLflow is imported inside the functions, because that takes two seconds (six with torch).
"""

from tasks.tracking.models import ModelReference
from tasks.tracking.place import KEY, Tracking
from tasks.tracking.runs import Run, log_to_run, tracked_run
from tasks.tracking.server import TrackingError, artifact_page, front_page
from tasks.tracking.spool import Delivered, deliver, deliver_if_any

__all__ = [
    "KEY",
    "Delivered",
    "ModelReference",
    "Run",
    "Tracking",
    "TrackingError",
    "artifact_page",
    "deliver",
    "deliver_if_any",
    "front_page",
    "log_to_run",
    "tracked_run",
]

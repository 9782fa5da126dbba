"""What MLflow remembers: runs with their settings, numbers, pictures, data and models. The home of mlflow.

Every call names its server; nothing is set for the process, so stages in several threads may each have a run.
MLflow is imported inside the functions, because that takes two seconds (six with torch).
"""

from tasks.tracking.models import ModelReference
from tasks.tracking.runs import Run, TrackingError, log_to_run, tracked_run

__all__ = ["ModelReference", "Run", "TrackingError", "log_to_run", "tracked_run"]

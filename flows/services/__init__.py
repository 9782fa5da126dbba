"""The group on this machine: Prefect's and MLflow's servers, a worker, and the supervisor that keeps them."""

from flows.services.addresses import Servers, connect
from flows.services.lifecycle import PartStatus, become_supervisor, down, start_worker, status, up

__all__ = [
    "PartStatus",
    "Servers",
    "become_supervisor",
    "connect",
    "down",
    "start_worker",
    "status",
    "stay",
    "up",
]

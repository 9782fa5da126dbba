"""Which failures may pass by themselves and are worth another try. How often is a setting of Prefect.

`PREFECT_TASKS_DEFAULT_RETRIES` and `PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS` are set for what runs by
itself (deployments/prefect.yaml). Where somebody sits before the terminal an error is shown at once.
"""

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from storage.errors import BusyError, ChipcyteError, DamagedStoreError, StoreError


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed for a store or server that was away, or for another process at the same work.

    Bad input, damage and whatever chipcyte did not foresee stay as they are.
    """
    error = state.data if isinstance(state.data, BaseException) else None
    if isinstance(error, ChipcyteError):
        return isinstance(error, BusyError | StoreError) and not isinstance(error, DamagedStoreError)
    return isinstance(error, ConnectionError | TimeoutError)

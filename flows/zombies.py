"""Runs that say they are at work although nothing is: left by machines that died while nobody listened."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Crashed

AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
HEARTBEAT = "prefect.flow-run.heartbeat"
MOST = 200  # a page; the oldest come first, and the rest next time


def mark_dead_runs(silent_for: timedelta, *, but: UUID | None = None) -> list[str]:
    """Mark runs as crashed that are at work by their state and gave no sign of life for so long.

    Parameters
    ----------
    but
        A run to leave alone: that which asks.

    Returns
    -------
    list of str
        Names of the runs that were marked.
    """
    since = datetime.now(UTC) - silent_for
    with get_client(sync_client=True) as client:
        dead = [run for run in _at_work(client) if run.id != but and not _lives(client, run, since)]
        for run in dead:
            message = f"No sign of life since {since:%Y-%m-%d %H:%M} UTC."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return [run.name for run in dead]


def _at_work(client: SyncPrefectClient) -> list[FlowRun]:
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK))
    chosen = FlowRunFilter(state=state)
    return client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.START_TIME_ASC, limit=MOST)


def _lives(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    if run.state is None or run.state.timestamp > since:
        return True
    asked = EventFilter(
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        occurred=EventOccurredFilter(since=since),
    )
    return bool(client.read_events(filter=asked, limit=1).events)

"""What killed runs left behind in a server's database, put right before it answers anybody."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from prefect.server import models
from prefect.server.database import provide_database_interface
from prefect.server.schemas.actions import ConcurrencyLimitV2Update
from prefect.server.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.server.schemas.states import Crashed, StateType
from sqlalchemy.ext.asyncio import AsyncSession

KILLED = "its process was gone when the next server of the project started"
UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def recovering(lifespan: Lifespan) -> Lifespan:
    """A server's lifespan that first puts right what killed runs left behind.

    It runs after the migrations and before the port is open, so no client can be disturbed.
    """

    @asynccontextmanager
    async def recovered(app: object) -> AsyncGenerator[Any]:
        async with lifespan(app) as state:
            database = provide_database_interface()
            # at once for update: a transaction that read first, and finds then that another process
            # has written in between, is refused by SQLite without waiting
            async with database.session_context(True, with_for_update=True) as session:
                await free_slots(session)
                await mark_crashed(session)
            yield state

    return recovered


async def free_slots(session: AsyncSession) -> None:
    """Give every concurrency limit all its slots: leases live in the memory of the server."""
    limits = models.concurrency_limits_v2
    for limit in await limits.read_all_concurrency_limits(session, limit=200, offset=0):
        free = ConcurrencyLimitV2Update.model_validate({"active_slots": 0})
        await limits.update_concurrency_limit(session, free, concurrency_limit_id=limit.id)


async def mark_crashed(session: AsyncSession) -> None:
    """End the runs that still count as running: one server serves a project at a time."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    unfinished = FlowRunFilter(state=state)
    for run in await models.flow_runs.read_flow_runs(session, flow_run_filter=unfinished):
        await models.flow_runs.set_flow_run_state(
            session, run.id, Crashed(message=KILLED), force=True
        )

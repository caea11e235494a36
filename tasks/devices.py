"""Which device a stage computes on, and the limit that lets one stage at a time have it."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from stylealign.models import device
from stylealign.models.allocator import keep_freed_memory
from tasks.saying import tell

LIMIT = "gpu"
LEASE_SEC = 60.0
"""How long a killed run keeps the device from others."""
WAITING = (
    "waiting: another stage of this project computes, and they take turns "
    f"(one that was killed lets go within {LEASE_SEC:g} s)"
)


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`; `auto` takes the first CUDA device where there is one.

    Raises: ParamsError if `cuda` is wanted and torch finds none.
    """
    return device.choose_device(wanted, "project.device")


def count_threads() -> int:
    """CPU threads that torch takes unless told otherwise."""
    return torch.get_num_threads()


def list_cuda_devices() -> list[str]:
    """Names of the GPUs that torch sees."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def one_by_one() -> TaskRunner[PrefectFuture[Any]]:
    """Mapped tasks of a flow run one after the other: they share one device."""
    return cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=1))


@contextmanager
def compute(num_threads: int) -> Generator[None]:
    """Hold the one compute device of the project, with so many CPU threads.

    Who has to wait for it is told so. The limit is named and strict: if the server does not know
    it, that is an error, where Prefect's default would be a warning and two networks on one GPU. A
    process that was suspended for longer than its lease goes on without one, and another stage may
    take the device beside it; Prefect would end it, and lose what it had computed.
    """
    keep_freed_memory()
    torch.set_num_threads(num_threads)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(LIMIT, 1)
        limit = client.read_global_concurrency_limit_by_name(LIMIT)
    if limit.active_slots >= limit.limit:
        tell(WAITING)
    with concurrency(
        LIMIT,
        occupy=1,
        strict=True,
        lease_duration=LEASE_SEC,
        raise_on_lease_renewal_failure=False,
    ):
        yield

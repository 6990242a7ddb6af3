"""A service without a worker, and workers to serve it: real compute processes, database, queue."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import psutil
from attrs import define
from table_queue import Dead, Message, TableQueue
from waiting import answer_that, until

from prover_framework.app import Runtime, make_worker, open_runtime
from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds, Clock
from prover_framework.database.opening import open_database
from prover_framework.errors import GroupNotFound
from prover_framework.jobs.records import StoredJob, Taken
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.logs import Trouble
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.model.proofs import GroupRequest, JobRequest
from prover_framework.plugins import loading as plugin_loading
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import Queue
from prover_framework.settings import Settings
from prover_framework.worker.executor import MeanDuration
from prover_framework.worker.incapable import OtherWorkers
from prover_framework.worker.intake import Claim
from prover_framework.worker.messages import MessageIntake
from prover_framework.worker.room import Room
from prover_framework.worker.timings import USUAL_TIMINGS, Timings
from prover_framework.worker.worker import Worker

# Longer than any test should take; a test that gets this far has failed.
HANG_SECONDS = 120.0


HOURS = 30
END = HOURS * 3600


PLUGIN = """
import os, time
from pathlib import Path

from attrs import frozen

from prover_framework import Problem, ProofError, ProofType, RangeParameters, hookimpl
PROVER_API = 1


class LabClosed(ProofError):
    code = "lab_closed"


@frozen(kw_only=True)
class Parameters(RangeParameters):
    action: str = "answer"
    path: str = ""


@frozen(kw_only=True)
class Result:
    lab: float


@hookimpl
def proof_type():
    return ProofType(
        name="lab", title="Lab", version="1", parameters=Parameters, result=Result
    )


@hookimpl
def validate(parameters):
    if parameters.start_timestamp == 13:
        return [Problem("start_timestamp", "brings bad luck")]
    if parameters.start_timestamp == 14:
        raise ValueError("out of luck")


@hookimpl
def compute(parameters, inputs, seed):
    path = Path(parameters.path)
    if parameters.action == "refuse":
        raise LabClosed("closed on Sundays")
    if parameters.action == "raise":
        raise ValueError("no such luck")
    if parameters.action == "raise once" and not path.exists():
        path.touch()
        raise ValueError("not at first")
    if parameters.action in ("hold", "hold and raise"):
        Path(parameters.path + ".part").write_text(str(os.getpid()))
        os.rename(parameters.path + ".part", path)
        while not Path(parameters.path + ".go").exists():
            time.sleep(0.005)
        if parameters.action == "hold and raise":
            raise ValueError("after all")
    return Result(lab=float(sum(inputs["hourly_base_fee"].sums_wei)))
"""


LAB = Candidate("lab", "prover_test_worker_lab", "prover-lab", "1")
TWAP = Candidate("twap", "prover_twap", "prover-twap", "1")


@define
class Bench:
    """A service without a worker, and the means to start some."""

    directory: Path
    runtime: Runtime
    timings: Timings
    sent: TableQueue | None

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    @property
    def database(self) -> Database:
        return self.runtime.database

    @property
    def jobs(self) -> JobStore:
        return self.runtime.jobs

    @property
    def headers(self) -> HeaderStore:
        return self.runtime.headers

    @property
    def queue(self) -> TableQueue:
        assert self.sent, "the table of jobs is the queue"
        return self.sent

    @property
    def service(self) -> ProvingService:
        return self.runtime.service

    @asynccontextmanager
    async def worker(self, plugins: Plugins | None = None, **changes: Any) -> AsyncIterator[Worker]:
        async with self.stopped_worker(plugins, **changes) as worker:
            running = asyncio.create_task(worker.run())
            try:
                yield worker
            finally:
                worker.stop()
                await running

    @asynccontextmanager
    async def stopped_worker(
        self, plugins: Plugins | None = None, **changes: Any
    ) -> AsyncIterator[Worker]:
        """Make a worker, by messages with a queue of its own: one that was interrupted stays so.

        Args:
            plugins: Those that it has, where not the bench's.
            changes: Settings that are not the bench's.
        """
        queue = await TableQueue.open(self.database) if self.sent else None
        plugins = plugins or self.runtime.plugins
        settings = attrs.evolve(self.settings, **changes)
        runtime = attrs.evolve(self.runtime, queue=queue, plugins=plugins, settings=settings)
        yield make_worker(runtime, timings=self.timings)
        if queue:
            await queue.close()

    async def submit(
        self, group: str, action: str = "answer", *, start: int = 0, end: int = END
    ) -> str:
        """Submit a job of the lab; return its id."""
        parameters = self.runtime.plugins.for_type("lab").proof_type.parameters(
            start_timestamp=start, end_timestamp=end, action=action, path=str(self.note(group))
        )
        await self.service.submit(GroupRequest(group, [JobRequest("lab", parameters)]))
        return (await self.jobs.group(group))[0].id

    async def claim(self, group: str, action: str = "answer", *, worker: str = "test") -> Claim:
        """Submit a job and take its lease, and its message if it has one."""
        job_id = await self.submit(group, action)
        lease_seconds = self.settings.lease_seconds
        if self.sent is None:
            (ready,) = await self.jobs.take_ready(
                "default", ["lab"], limit=1, worker=worker, lease_seconds=lease_seconds
            )
            return Claim(ready.lease, ready.job)
        (message,) = await self.queue.receive(
            "default", limit=1, wait_seconds=HANG_SECONDS, visibility_seconds=lease_seconds
        )
        taken = await self.jobs.take(job_id, worker=worker, lease_seconds=lease_seconds)
        assert isinstance(taken, Taken)
        return Claim(taken.lease, taken.job, message=message)

    def intake(self, queue: Queue | None = None) -> MessageIntake:
        """Make an intake by messages, to be asked what it does with them."""
        queue = queue or self.queue
        return MessageIntake(
            queue,
            self.jobs,
            lambda *_: None,
            OtherWorkers(self.jobs, queue, self.timings),
            self.service,
            Room(1, MeanDuration(), 1.0),
            Trouble("handling", logging.getLogger(__name__)),
            asyncio.Event(),
            queue_name="default",
            worker_name="test",
            lease_seconds=self.settings.lease_seconds,
            other_senders=False,
            timings=self.timings,
        )

    def note(self, group: str) -> Path:
        return self.directory / f"note-{group}"

    async def holding(self, group: str) -> int:
        """Wait until the job of a group is being computed; return the process's id."""
        await until(self.note(group).exists)
        return int(await asyncio.to_thread(self.note(group).read_text))

    def let_go(self, group: str) -> None:
        self.note(group).with_name(f"note-{group}.go").touch()

    async def job(self, group: str) -> StoredJob:
        (job,) = await self.jobs.group(group)
        return job

    async def reaches(self, group: str, *states: JobState) -> StoredJob:
        """Wait until the job of a group is in one of some states."""
        return await answer_that(lambda job: job.state in states, lambda: self.job(group))

    async def ends(self, group: str) -> StoredJob:
        return await self.reaches(group, *FINAL)

    async def now_ms(self) -> int:
        return await self.database.now_ms()

    async def messages(self) -> list[Message]:
        return await self.queue.messages()

    async def dead(self) -> list[Dead]:
        return await self.queue.dead()

    async def queue_is_empty(self) -> None:
        """Wait until no message is left; or no job that may begin or has begun."""
        if self.sent:
            await answer_that(lambda messages: not messages, self.messages)
        else:
            counts = partial(self.jobs.queue_status, "default")
            await answer_that(lambda count: not count.visible and not count.in_flight, counts)

    async def import_headers(self, hours: int = HOURS) -> None:
        """One block for each hour, and the first of the next."""
        await self.headers.import_headers(
            [Header(n, n * 3600, 10**9 + n) for n in range(hours + 1)],
            ChainFacts(1, simulated=True, source="a test"),
        )


@asynccontextmanager
async def open_bench(
    directory: Path,
    *,
    headers: bool = True,
    clock: Clock | None = None,
    timings: Timings = USUAL_TIMINGS,
    by_messages: bool = False,
    **changes: Any,
) -> AsyncIterator[Bench]:
    """Open a service for a test; at its end no process that it started may be left.

    Args:
        directory: Where the service has its data.
        headers: Whether it has headers for `HOURS`.
        clock: The database's clock, where the test owns it.
        timings: Those of its workers.
        by_messages: Whether its workers are woken by messages; else the table is the queue.
        changes: Settings that are not as usual.
    """
    settings = attrs.evolve(
        Settings(
            data_dir=directory,
            worker_slots=1,
            lease_seconds=20.0,
            retry_seconds=0.05,
            data_poll_seconds=0.2,
            sweep_seconds=0.1,
            stop_seconds=HANG_SECONDS,
        ),
        **changes,
    )
    before = _children()
    plugins = plugin_loading.load([LAB, TWAP], strict=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(HANG_SECONDS))
        sent = None
        if by_messages:
            bounds = Bounds.below(settings.lease_seconds)
            database = open_database(settings, bounds, clock)
            sent = await TableQueue.open(await stack.enter_async_context(database))
        runtime = await stack.enter_async_context(open_runtime(settings, plugins, clock, sent))
        bench = Bench(directory, runtime, timings, sent)
        if headers:
            await bench.import_headers()
        yield bench
    assert _children() <= before, "a process is left"


message_bench = partial(open_bench, by_messages=True)


def _children() -> set[psutil.Process]:
    """Return the processes that this one has started, without those of a server's connections."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() != "postgres":
                found.add(child)
    return found


def refusing(error: Exception, times: int) -> Callable[..., Awaitable[Any]]:
    """Make a function that fails some times and returns nothing after that."""
    left = [error] * times

    async def fail(*_: object, **__: object) -> list[Any]:
        if left:
            raise left.pop()
        return []

    return fail


async def failures(bench: Bench) -> int:
    return (await bench.job("g")).failures


async def hidden(bench: Bench, until: int) -> int:
    """Count the messages that are hidden until about then."""
    return sum(abs(message.visible_at - until) < 5000 for message in await bench.messages())


async def comes_to(wanted: int, count: Callable[[], Awaitable[int]]) -> None:
    """Wait until so many are counted."""
    await answer_that(lambda counted: counted == wanted, count)


async def members(bench: Bench, group: str) -> int:
    try:
        return len(await bench.jobs.group(group))
    except GroupNotFound:
        return 0


async def dead(bench: Bench) -> int:
    return len(await bench.dead())

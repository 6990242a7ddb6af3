"""What the service asks of store and queue."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import attrs

from prover_framework.jobs import JobState, RetryPolicy
from prover_framework.plugins import Plugins
from prover_framework.queues.base import Outgoing, SendFailure
from prover_framework.queues.embedded import EmbeddedQueue
from prover_framework.service import ProvingService
from prover_framework.store.database import Database
from prover_framework.store.jobs import JobStore, NewGroup, NewJob


class RecordingQueue(EmbeddedQueue):
    """The embedded queue, which remembers what was sent."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.sent: list[Outgoing] = []

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        self.sent.extend(messages)
        return await super().send(messages)


def test_a_delay_holds_for_the_first_message_and_not_for_one_that_is_overdue(
    tmp_path: Path,
) -> None:
    async def send_twice() -> list[Outgoing]:
        async with Database(tmp_path / "prover.sqlite3") as database:
            await database.migrate()
            jobs = JobStore(database, RetryPolicy())
            queue = RecordingQueue(database)
            service = ProvingService(Plugins(found=(), hooks={}), jobs, queue)
            parameters = '{"start_timestamp":0,"end_timestamp":3600}'
            held_back = NewJob("j", "proof", parameters, "default", delay_seconds=600)
            (job,) = (await jobs.submit(NewGroup("g", (held_back,)))).jobs
            await service.send([job])
            await service.send([attrs.evolve(job, sends=1)])
            return queue.sent

    first, again = asyncio.run(send_twice())
    assert (first.delay_seconds, first.sends) == (600, 0)
    assert (again.delay_seconds, again.sends) == (0, 1)


class RefusingQueue(EmbeddedQueue):
    """A queue that takes no message."""

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        return [SendFailure(message.job_id, "it is full") for message in messages]


def test_a_redrive_names_the_jobs_whose_message_was_not_sent(tmp_path: Path) -> None:
    async def redrive() -> None:
        async with Database(tmp_path / "prover.sqlite3") as database:
            await database.migrate()
            jobs = JobStore(database, RetryPolicy())
            service = ProvingService(Plugins(found=(), hooks={}), jobs, RefusingQueue(database))
            parameters = '{"start_timestamp":0,"end_timestamp":3600}'
            await jobs.submit(NewGroup("g", (NewJob("j", "proof", parameters, "default"),)))
            assert (await service.cancel("g")).status is JobState.CANCELLED
            acceptance = await service.redrive("g")
            assert acceptance.unsent == (("proof", "it is full"),)
            assert (await service.status("g")).status is JobState.PENDING

    asyncio.run(redrive())

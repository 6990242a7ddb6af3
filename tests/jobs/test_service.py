"""What the service asks of store and queue."""

from collections.abc import Sequence
from pathlib import Path

import attrs
from table_queue import TableQueue

from prover_framework.database.database import Database
from prover_framework.jobs.records import Failure, NewGroup, NewJob, Taken
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import Outgoing, SendFailure
from prover_framework.testing import ManualClock


class RecordingQueue(TableQueue):
    """A queue that remembers what was sent."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.sent: list[Outgoing] = []

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        self.sent.extend(messages)
        return await super().send(messages)


async def test_a_delay_holds_for_the_first_message_and_not_for_one_that_is_overdue(
    tmp_path: Path,
) -> None:
    async with Database(tmp_path / "prover.sqlite3") as database:
        await database.migrate()
        jobs = JobStore(database, RetryPolicy())
        queue = await RecordingQueue.open(database)
        service = ProvingService(Plugins(found=(), hooks={}), jobs, queue)
        parameters = '{"start_timestamp":0,"end_timestamp":3600}'
        held_back = NewJob("j", "proof", parameters, "default", delay_seconds=600)
        (job,) = (await jobs.submit(NewGroup("g", (held_back,)))).jobs
        await service.send([job])
        await service.send([attrs.evolve(job, sends=1)])
        first, again = queue.sent
    assert (first.delay_seconds, first.sends) == (600, 0)
    assert (again.delay_seconds, again.sends) == (0, 1)


class HastyQueue(RecordingQueue):
    """A queue whose worker has a job fail before the sender notes that its message was sent."""

    jobs: JobStore

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        failures = await super().send(messages)
        for message in messages:
            taken = await self.jobs.take(message.job_id, worker="w", lease_seconds=60)
            assert isinstance(taken, Taken)
            await self.jobs.fail(taken.lease, Failure("boom", "boom"))
        return failures


async def test_no_intent_has_the_number_of_another(database_url: str) -> None:
    """Of messages with one number a FIFO queue delivers the first and swallows the others."""
    clock = ManualClock()

    async with Database(database_url, clock) as database:
        jobs = JobStore(database, RetryPolicy())
        usual, hasty = await RecordingQueue.open(database), await HastyQueue.open(database)
        hasty.jobs, hasty.sent = jobs, usual.sent
        slow_noting = ProvingService(Plugins(found=(), hooks={}), jobs, hasty)
        service = ProvingService(Plugins(found=(), hooks={}), jobs, usual)
        parameters = '{"start_timestamp":0,"end_timestamp":3600}'
        new = NewGroup("g", (NewJob("j", "proof", parameters, "default"),))
        await slow_noting.send((await jobs.submit(new)).jobs)
        await slow_noting.redrive("g")
        await service.redrive("g")
        # Nobody answers that message, and a sweep sends another.
        clock.ms += 3_600_000
        await service.send(await jobs.sweep(10))
        await service.cancel("g")
        await service.redrive("g")
    numbers = [message.sends for message in usual.sent]
    assert len(set(numbers)) == len(numbers) == 5


class RefusingQueue(TableQueue):
    """A queue that takes no message."""

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        return [SendFailure(message.job_id, "it is full") for message in messages]


async def test_a_redrive_names_the_jobs_whose_message_was_not_sent(tmp_path: Path) -> None:
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

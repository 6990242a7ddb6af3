"""Attachments in the database of each engine: whole, or not there at all."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from prover_framework.database.database import Database
from prover_framework.errors import LeaseLost
from prover_framework.jobs.attachments import REMOVED_CHUNKS, AttachmentStore
from prover_framework.jobs.records import Failure, Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.attachments import CHUNK_BYTES
from prover_framework.model.jobs import RetryPolicy
from prover_framework.testing import ManualClock

CHUNKS = [bytes([n]) * CHUNK_BYTES for n in range(REMOVED_CHUNKS + 3)] + [b"end"]


class Bench:
    """A job, and a worker that has its lease."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.jobs = JobStore(database, RetryPolicy())
        self.store = AttachmentStore(database)

    async def take(self) -> Lease:
        await self.jobs.submit(NewGroup("g", (NewJob("job", "lab", "{}", "default"),)))
        taken = await self.jobs.take("job", worker="w", lease_seconds=10)
        assert isinstance(taken, Taken), taken
        return taken.lease

    async def draft(self, lease: Lease, name: str = "file") -> str:
        draft = await self.store.begin(lease, name)
        for number, chunk in enumerate(CHUNKS):
            await self.store.add(lease, draft, number, chunk)
        return draft

    async def rows(self) -> tuple[int, int]:
        counts = [
            await self.database.read(f"SELECT COUNT(*) AS count FROM {table}")
            for table in ("attachment", "attachment_chunk")
        ]
        return counts[0][0]["count"], counts[1][0]["count"]


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    clock = ManualClock()
    async with Database(database_url, clock=clock) as database:
        yield Bench(database, clock)


async def test_a_draft_is_an_attachment_once_the_result_is_stored(bench: Bench) -> None:
    lease = await bench.take()
    drafts = [await bench.draft(lease), await bench.draft(lease, "other")]
    assert await bench.store.find("job", "file") is None
    await bench.jobs.succeed(lease, "{}", attachments=drafts)
    assert await bench.store.find("job", "file") == drafts[0]
    assert await bench.store.find("job", "third") is None
    assert [chunk async for chunk in bench.store.chunks(drafts[0])] == CHUNKS
    await bench.store.remove_left()
    assert await bench.rows() == (2, 2 * len(CHUNKS)), "what is stored stays"


async def test_a_chunk_that_comes_again_is_there_once(bench: Bench) -> None:
    """The answer to a commit can be lost."""
    lease = await bench.take()
    draft = await bench.draft(lease)
    await bench.store.add(lease, draft, 0, CHUNKS[0])
    await bench.jobs.succeed(lease, "{}", attachments=[draft])
    assert [chunk async for chunk in bench.store.chunks(draft)] == CHUNKS


@pytest.mark.parametrize("how", ["cancelled", "failed", "retried", "released", "expired"])
async def test_drafts_of_an_attempt_that_came_to_nothing_are_removed(
    bench: Bench, how: str
) -> None:
    lease = await bench.take()
    draft = await bench.draft(lease)
    await bench.store.remove_left()
    assert await bench.rows() == (1, len(CHUNKS)), "its lease is held"
    match how:
        case "cancelled":
            await bench.jobs.cancel("g")
        case "failed":
            await bench.jobs.fail(lease, Failure("code", "why"))
        case "retried":
            await bench.jobs.retry(lease, Failure("code", "why"), jitter=0.0)
        case "released":
            await bench.jobs.release(lease)
        case _:
            bench.clock.advance(11)
            await bench.jobs.sweep(10)
    with pytest.raises(LeaseLost):
        await bench.store.add(lease, draft, len(CHUNKS), b"more")
    with pytest.raises(LeaseLost):
        await bench.store.begin(lease, "another")
    await bench.store.remove_left()
    assert await bench.rows() == (0, 0)


async def test_the_next_attempt_stores_its_own_beside_what_is_left_of_the_last(
    bench: Bench,
) -> None:
    first = await bench.take()
    await bench.draft(first)
    await bench.jobs.release(first)
    second = await bench.take()
    draft = await bench.draft(second)
    await bench.jobs.succeed(second, "{}", attachments=[draft])
    await bench.store.remove_left()
    assert await bench.store.find("job", "file") == draft
    assert await bench.rows() == (1, len(CHUNKS))


async def test_a_result_without_its_lease_stores_no_attachment(bench: Bench) -> None:
    lease = await bench.take()
    draft = await bench.draft(lease)
    await bench.jobs.release(lease)
    with pytest.raises(LeaseLost):
        await bench.jobs.succeed(lease, "{}", attachments=[draft])
    assert await bench.store.find("job", "file") is None


async def test_a_draft_that_is_gone_lets_no_result_be_stored(bench: Bench) -> None:
    lease = await bench.take()
    with pytest.raises(RuntimeError, match="a draft of an attachment is gone"):
        await bench.jobs.succeed(lease, "{}", attachments=["0" * 32])
    assert (await bench.jobs.group("g"))[0].result is None


async def test_signs_of_life_are_heard_while_a_large_file_is_stored(bench: Bench) -> None:
    lease = await bench.take()
    heard = asyncio.Event()

    async def store() -> None:
        draft = await bench.store.begin(lease, "file")
        for number in range(200):
            if heard.is_set():
                break
            await bench.store.add(lease, draft, number, CHUNKS[0])

    storing = asyncio.create_task(store())
    for _ in range(3):
        assert await bench.jobs.extend([lease], lease_seconds=10) == []
    assert not storing.done()
    heard.set()
    await storing

"""A receipt and its seals are stored with the result or not at all, on each engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from prover_framework.database.database import Database
from prover_framework.errors import LeaseLost
from prover_framework.jobs.records import Failure, GroupStage, Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.seals import StoredSeal
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.binding import GroupBinding
from prover_framework.proofs.store import ReceiptStore
from prover_framework.receipts.canonical import digest_of
from prover_framework.receipts.documents import read_bound
from prover_framework.settings import Settings
from prover_framework.testing import ManualClock

# Text of any kind comes back as it was.
RECEIPT = '{"text":"é \\u0000 \\" \\\\ \U0001f512"}'
WAX, INK = StoredSeal("wax", '{"colour":"red"}'), StoredSeal("ink", RECEIPT)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[JobStore, ReceiptStore, ManualClock]]:
    clock = ManualClock()
    async with Database(url, clock=clock) as database:
        yield JobStore(database, RetryPolicy()), ReceiptStore(database), clock


def bound_store(receipts: ReceiptStore, settings: Settings) -> JobStore:
    """Return a store that makes the receipts of groups as they end."""
    binding = GroupBinding(settings, Plugins(found=(), hooks={}))
    return JobStore(receipts._database, RetryPolicy(), bind=binding)


async def taken(jobs: JobStore, *ids: str, group: str = "g") -> list[Lease]:
    await jobs.submit(NewGroup(group, tuple(NewJob(i, f"p{i}", "{}", "default") for i in ids)))
    leases = []
    for job_id in ids:
        answer = await jobs.take(job_id, worker="w", lease_seconds=10)
        assert isinstance(answer, Taken)
        leases.append(answer.lease)
    return leases


@pytest.mark.parametrize("watched", [False, True], ids=["", "watched"])
async def test_result_receipt_and_seals_are_stored_together(
    database_url: str, *, watched: bool
) -> None:
    async with opened(database_url) as (jobs, receipts, _):
        told: list[str] = []
        jobs = JobStore(
            receipts._database,
            RetryPolicy(),
            (lambda changes: told.extend(c.job.id for c in changes)) if watched else None,
        )
        one, two, three = await taken(jobs, "1", "2", "3")
        told.clear()
        await asyncio.gather(
            jobs.succeed(one, "1", RECEIPT, [WAX, INK]),
            jobs.succeed(two, "2", RECEIPT),
            jobs.succeed(three, "3", RECEIPT, [WAX]),
        )
        stored = {job.id: (job.result, job.receipt) for job in await jobs.group("g")}
        assert stored == {"1": ("1", RECEIPT), "2": ("2", RECEIPT), "3": ("3", RECEIPT)}
        assert await receipts.seals(["1", "2", "3"]) == {"1": (WAX, INK), "2": (), "3": (WAX,)}
        assert await receipts.seals([]) == {}
        assert sorted(told) == (["1", "2", "3"] if watched else [])


async def test_the_end_of_a_group_and_its_receipt_are_stored_together(
    database_url: str, tmp_path: Path
) -> None:
    unsigned = Settings(data_dir=tmp_path)
    async with opened(database_url) as (_, receipts, _):
        jobs = bound_store(receipts, unsigned)
        one, two, three = await taken(jobs, "1", "2", "3")
        assert await jobs.succeed(one, "1", RECEIPT) is GroupStage.OPEN
        await jobs.fail(two, Failure("e", "no"))
        assert await receipts.composed("g") is None
        stages = await asyncio.gather(
            jobs.succeed(three, "3", RECEIPT),
            *(jobs.succeed(lease, "4", RECEIPT) for lease in await taken(jobs, "4", group="h")),
        )
        assert stages == [GroupStage.BOUND, GroupStage.BOUND]
        bound = digest_of(RECEIPT.encode()).hex()
        for group, members in (
            ("g", [("succeeded", bound), ("failed", None), ("succeeded", bound)]),
            ("h", [("succeeded", bound)]),
        ):
            kept = read_bound(await receipts.composed(group) or "", ())
            assert kept.statement.group_id == group
            assert [(each.state, each.digest) for each in kept.statement.members] == members


async def test_a_receipt_that_cannot_be_made_keeps_no_result_from_being_stored(
    database_url: str, tmp_path: Path
) -> None:
    """It has to be signed, and there is no key."""
    async with opened(database_url) as (_, receipts, _):
        jobs = bound_store(receipts, Settings(data_dir=tmp_path, require_signature=True))
        (lease,) = await taken(jobs, "1")
        assert await jobs.succeed(lease, "1", RECEIPT) is GroupStage.ENDED
        assert (await jobs.group("g"))[0].result == "1"
        assert await receipts.composed("g") is None


async def test_a_group_with_a_new_life_keeps_its_receipt_until_that_is_read(
    database_url: str, tmp_path: Path
) -> None:
    async with opened(database_url) as (_, receipts, _):
        jobs = bound_store(receipts, Settings(data_dir=tmp_path))
        one, two = await taken(jobs, "1", "2")
        await jobs.fail(one, Failure("e", "no"))
        assert await jobs.succeed(two, "2", RECEIPT) is GroupStage.BOUND
        first = await receipts.composed("g")
        await jobs.redrive("g")
        answer = await jobs.take("1", worker="w", lease_seconds=10)
        assert isinstance(answer, Taken)
        assert await jobs.succeed(answer.lease, "1", RECEIPT) is GroupStage.ENDED
        assert await receipts.composed("g") == first


async def test_what_comes_too_late_leaves_neither_receipt_nor_seal(database_url: str) -> None:
    async with opened(database_url) as (jobs, receipts, clock):
        late, _ = await taken(jobs, "1", "2")
        clock.ms += 10_000
        again = await jobs.take("2", worker="w", lease_seconds=10)
        assert isinstance(again, Taken)
        outcomes = await asyncio.gather(
            jobs.succeed(late, "1", RECEIPT, [WAX]),
            jobs.succeed(again.lease, "2", RECEIPT, [INK]),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [LeaseLost, GroupStage]
        assert await receipts.seals(["1", "2"]) == {"1": (), "2": (INK,)}
        assert [job.receipt for job in await jobs.group("g")] == [None, RECEIPT]


async def test_a_group_has_ended_when_each_of_its_jobs_has(database_url: str) -> None:
    async with opened(database_url) as (jobs, receipts, _):
        one, two = await taken(jobs, "1", "2")
        assert not await receipts.has_ended("g")
        await jobs.succeed(one, "1")
        assert not await receipts.has_ended("g")
        await jobs.fail(two, Failure("code", "why"))
        assert await receipts.has_ended("g")


async def test_a_group_keeps_the_first_receipt_until_another_takes_its_place(
    database_url: str,
) -> None:
    async with opened(database_url) as (jobs, receipts, _):
        await taken(jobs, "1", group="g")
        await taken(jobs, "2", group="h")
        assert await receipts.composed("g") is None
        assert await receipts.composed("nowhere") is None
        await asyncio.gather(
            receipts.keep("g", RECEIPT), receipts.keep("g", "late"), receipts.keep("h", "other")
        )
        assert await receipts.composed("g") == RECEIPT
        assert await receipts.composed("h") == "other"
        await receipts.keep("g", "late")
        await receipts.keep("g", "not in its place", instead_of="late")
        assert await receipts.composed("g") == RECEIPT
        await receipts.keep("g", "new", instead_of=RECEIPT)
        assert await receipts.composed("g") == "new"
        assert await receipts.composed("h") == "other"

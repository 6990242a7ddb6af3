"""Seals that are made after their receipts, in the database: each is queued once, and made once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.errors import LeaseLost
from prover_framework.jobs.outbox import Outbox
from prover_framework.jobs.records import NewGroup, NewJob, Taken
from prover_framework.jobs.seals import (
    TOO_LARGE,
    WORKER_LOST,
    NewSeal,
    SealJobStore,
    SealLease,
    StoredSeal,
    StoredSealJob,
)
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.seals import OF_GROUP, SealState
from prover_framework.proofs.store import ReceiptStore, WantedSeals
from prover_framework.testing import ManualClock

DIGEST, ANOTHER = b"\1" * 32, b"\2" * 32
WAX = '{"colour":"red"}'
LEASE_SECONDS = 10.0


@frozen
class Lab:
    """A database with a job that has a result, and a clock."""

    jobs: JobStore
    receipts: ReceiptStore
    outbox: Outbox
    clock: ManualClock

    @property
    def seals(self) -> SealJobStore:
        return self.jobs.seals

    async def prove(self, *kinds: str, group: str = "g") -> None:
        """Store a job's result, and that it is to have seals of some kinds."""
        await self.jobs.submit(NewGroup(group, (NewJob(f"{group}-1", "twap", "{}", "default"),)))
        taken = await self.jobs.take(f"{group}-1", worker="w", lease_seconds=10)
        assert isinstance(taken, Taken)
        later = [NewSeal(kind, DIGEST.hex()) for kind in kinds]
        await self.jobs.succeed(taken.lease, "1", "{}", later=later)

    async def take(self, kind: str = "wax") -> SealLease:
        lease = await self.seals.take(kind, worker="w", lease_seconds=LEASE_SECONDS)
        assert lease is not None
        return lease

    async def events(self) -> list[tuple[str, str | None, str | None]]:
        """Return what others are told of so far."""
        await self.outbox.publish()
        return [
            (event.kind.value, event.job_id, event.seal_kind)
            for event in await self.outbox.events_after(0, 100)
        ]

    async def is_left(self, kind: str = "wax") -> bool:
        """Tell whether there is nothing of a kind to be made now."""
        return await self.seals.take(kind, worker="w", lease_seconds=LEASE_SECONDS) is None

    async def seal(self, kind: str = "wax", group: str = "g") -> StoredSealJob:
        (found,) = [s for s in await self.seals.of_groups([group]) if s.kind == kind]
        return found


def fits(_: Sequence[StoredSeal]) -> None:
    """Find no reason why a seal does not go onto its receipt."""


@asynccontextmanager
async def opened(url: str, *, max_losses: int = 10) -> AsyncIterator[Lab]:
    clock = ManualClock()
    async with Database(url, clock=clock) as database:
        policy = RetryPolicy(max_attempts=2, max_losses=max_losses)
        jobs = JobStore(database, policy)
        yield Lab(jobs, ReceiptStore(database), Outbox(database), clock)


async def test_a_seal_is_queued_with_the_result_and_made_once(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax", "ink")
        assert {s.kind: s.state for s in await lab.seals.of_groups(["g"])} == {
            "wax": SealState.QUEUED,
            "ink": SealState.QUEUED,
        }
        lease = await lab.take()
        assert await lab.is_left(), "it is being made"
        assert (await lab.seal()).state is SealState.MAKING
        assert await lab.seals.made(lease, WAX, fits) is None
        (made,) = await lab.seals.made_of("g")
        assert (made.job_name, made.seal) == ("twap", StoredSeal("wax", WAX))
        assert made.receipt_digest == DIGEST.hex()
        assert await lab.events() == [("group_ended", None, None), ("seal_made", "g-1", "wax")]
        with pytest.raises(LeaseLost):
            await lab.seals.made(lease, '{"colour":"blue"}', fits)
        lab.clock.advance(1000)
        assert await lab.is_left()
        assert (await lab.seal("ink")).state is SealState.QUEUED, "nobody here makes this kind"


async def test_what_is_not_stored_has_no_seal(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.jobs.submit(NewGroup("g", (NewJob("1", "twap", "{}", "default"),)))
        taken = await lab.jobs.take("1", worker="w", lease_seconds=10)
        assert isinstance(taken, Taken)
        lab.clock.advance(11)
        with pytest.raises(LeaseLost):
            await lab.jobs.succeed(taken.lease, "1", "{}", later=[NewSeal("wax", DIGEST.hex())])
        assert await lab.seals.of_groups(["g"]) == []


async def test_a_lost_worker_gives_way_to_one_that_stores_it_alone(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax")
        lost = await lab.take()
        lab.clock.advance(LEASE_SECONDS / 2)
        assert await lab.seals.extend(lost, lease_seconds=LEASE_SECONDS)
        lab.clock.advance(LEASE_SECONDS * 0.9)
        assert await lab.is_left(), "a sign of life has extended the lease"
        lab.clock.advance(LEASE_SECONDS)
        second = await lab.take()
        assert not await lab.seals.extend(lost, lease_seconds=LEASE_SECONDS)
        for late in (
            lab.seals.made(lost, WAX, fits),
            lab.seals.fail(lost, "code", "why"),
            lab.seals.retry(lost, "code", "why", jitter=0.0),
            lab.seals.release(lost, "code", "why"),
        ):
            with pytest.raises(LeaseLost):
                await late
        await lab.seals.made(second, WAX, fits)
        seal = await lab.seal()
        assert (seal.state, seal.attempts, seal.failures) == (SealState.MADE, 2, 0)


async def test_one_of_several_workers_takes_a_seal(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax")
        asked = [
            lab.seals.take("wax", worker=f"w{n}", lease_seconds=LEASE_SECONDS) for n in range(5)
        ]
        leases = [lease for lease in await asyncio.gather(*asked) if lease is not None]
        assert len(leases) == 1


async def test_a_seal_that_its_workers_do_not_survive_fails(database_url: str) -> None:
    async with opened(database_url, max_losses=2) as lab:
        await lab.prove("wax")
        for _ in range(2):
            await lab.take()
            lab.clock.advance(LEASE_SECONDS + 1)
        assert await lab.is_left()
        seal = await lab.seal()
        assert (seal.state, seal.error_code) == (SealState.FAILED, WORKER_LOST)
        assert "lost 2 times, the limit" in (seal.error_message or "")


async def test_a_failed_attempt_waits_and_the_last_one_is_final(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax")
        delay = await lab.seals.retry(await lab.take(), "compute_crashed", "it died", jitter=0.5)
        assert delay == RetryPolicy().base_seconds * 0.75
        assert await lab.is_left()
        assert (await lab.seal()).error_message == "it died"
        lab.clock.advance(delay)
        assert await lab.seals.retry(await lab.take(), "raised", "again", jitter=0.5) is None
        seal = await lab.seal()
        assert (seal.state, seal.attempts, seal.failures) == (SealState.FAILED, 2, 2)
        assert seal.error_message == "again (failed 2 times, the limit)"


async def test_what_is_put_off_counts_as_no_attempt(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax")
        for _ in range(5):
            await lab.seals.release(await lab.take(), "not_installed", "no twap", seconds=30)
            assert await lab.is_left()
            lab.clock.advance(30)
        seal = await lab.seal()
        assert (seal.state, seal.attempts) == (SealState.QUEUED, 0)
        assert seal.error_code == "not_installed"


async def test_a_seal_that_does_not_go_beside_the_others_fails(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax", "ink")
        wax, ink = await lab.take("wax"), await lab.take("ink")
        seen: list[Sequence[StoredSeal]] = []

        def refuse(others: Sequence[StoredSeal]) -> str:
            seen.append(others)
            return "too large together"

        assert await lab.seals.made(wax, WAX, fits) is None
        assert await lab.seals.made(ink, "{}", refuse) == "too large together"
        assert seen == [[StoredSeal("wax", WAX)]]
        seal = await lab.seal("ink")
        assert (seal.state, seal.error_code) == (SealState.FAILED, TOO_LARGE)
        assert [made.seal.kind for made in await lab.seals.made_of("g")] == ["wax"]


async def test_asking_again_begins_only_what_came_to_nothing(database_url: str) -> None:
    async with opened(database_url) as lab:
        await lab.prove("wax", "ink", "lead")
        digests = {"twap": DIGEST, OF_GROUP: ANOTHER}
        await lab.seals.made(await lab.take("wax"), WAX, fits)
        await lab.seals.fail(await lab.take("ink"), "code", "why")
        assert await lab.seals.ask("g", {"twap": DIGEST}, "wax") == 0
        assert await lab.seals.ask("g", {"twap": DIGEST}, "lead") == 0, "it is queued"
        assert await lab.seals.ask("g", {"twap": DIGEST}, "ink") == 1
        again = await lab.seal("ink")
        assert (again.state, again.failures, again.error_code) == (SealState.QUEUED, 0, None)
        await lab.seals.not_applicable(await lab.take("ink"))
        assert (await lab.seal("ink")).state is SealState.NOT_APPLICABLE
        # A kind that came later, and the group's receipt with it.
        assert await lab.seals.ask("g", digests, "foil") == 2
        assert await lab.seals.ask("g", digests, "foil") == 0
        assert (await lab.seal("wax")).state is SealState.MADE


async def test_seals_of_a_group_are_queued_with_its_receipt_and_renewed_with_it(
    database_url: str,
) -> None:
    async with opened(database_url) as lab:
        await lab.prove()
        kept = await asyncio.gather(
            lab.receipts.keep("g", "1", wanted=WantedSeals(DIGEST, ["wax", "ink"])),
            lab.receipts.keep("g", "late", wanted=WantedSeals(ANOTHER, ["wax"])),
        )
        assert list(kept) == [True, False]
        await lab.seals.made(await lab.take("wax"), WAX, fits)
        making = await lab.take("ink")
        assert {s.receipt_digest for s in await lab.seals.of_groups(["g"])} == {DIGEST.hex()}
        # A worker without the kind of ink makes the receipt anew.
        await lab.receipts.keep("g", "2", instead_of="1", wanted=WantedSeals(ANOTHER, ["wax"]))
        seals = await lab.seals.of_groups(["g"])
        assert {s.receipt_digest for s in seals} == {ANOTHER.hex()}
        assert {s.kind: s.state for s in seals} == {
            "wax": SealState.QUEUED,
            "ink": SealState.QUEUED,
        }
        with pytest.raises(LeaseLost):
            await lab.seals.made(making, WAX, fits)
        assert await lab.seals.made_of("g") == []

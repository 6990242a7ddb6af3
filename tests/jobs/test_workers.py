"""Workers say that they are there, and look at what operators want of them."""

import attrs
import pytest

from prover_framework.database.database import Database
from prover_framework.errors import WorkerNotFound
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.workers import FORGOTTEN_MS, LOST_MS, Orders, Presence, WorkerStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.workers import WorkerState
from prover_framework.testing.clock import ManualClock

PRESENCE = Presence(
    worker="host:1:a",
    queue="default",
    version="1",
    plugins=("twap", "max_return"),
    slots=2,
    in_flight=0,
    state=WorkerState.RUNNING,
)


async def test_a_worker_is_seen_with_what_it_computes_until_it_says_that_it_stops(
    database: Database, clock: ManualClock
) -> None:
    workers, jobs = WorkerStore(database), JobStore(database, RetryPolicy())
    await workers.say(PRESENCE)
    began = (await workers.all()).workers[0].started_at
    clock.ms += 1000
    await workers.say(attrs.evolve(PRESENCE, in_flight=1))
    await jobs.submit(NewGroup("g", (NewJob("j", "twap", "{}", "default"),)))
    await jobs.take("j", worker=PRESENCE.worker, lease_seconds=60)
    (one,) = (await workers.all()).workers
    assert (one.started_at, one.in_flight, one.jobs) == (began, 1, ("g twap",))
    assert (one.plugins, one.status) == (("twap", "max_return"), WorkerState.RUNNING)
    await workers.forget(PRESENCE.worker)
    assert (await workers.all()).workers == ()


async def test_a_worker_that_says_nothing_is_lost_and_then_forgotten(
    database: Database, clock: ManualClock
) -> None:
    workers = WorkerStore(database)
    await workers.say(PRESENCE)
    clock.ms += LOST_MS + 1
    seen = await workers.all()
    assert [one.status for one in seen.workers] == [WorkerState.LOST]
    assert seen.serving("default") == ()
    clock.ms += FORGOTTEN_MS
    await workers.say(attrs.evolve(PRESENCE, worker="other"))
    assert [one.worker for one in (await workers.all()).workers] == ["other"]


async def test_orders_reach_the_worker_that_they_are_for(database: Database) -> None:
    workers = WorkerStore(database)
    await workers.say(PRESENCE)
    await workers.say(attrs.evolve(PRESENCE, worker="other"))
    await workers.pause("slow", "why")
    assert await workers.orders(PRESENCE.worker, "default") == Orders(
        is_paused=False, is_draining=False
    )
    assert (await workers.orders(PRESENCE.worker, "slow")).is_paused
    await workers.drain(PRESENCE.worker)
    assert (await workers.orders(PRESENCE.worker, "default")).is_draining
    assert not (await workers.orders("other", "default")).is_draining
    # What it says itself of its state does not undo it.
    await workers.say(PRESENCE)
    assert (await workers.all()).workers[0].status is WorkerState.DRAINING
    with pytest.raises(WorkerNotFound, match="nobody"):
        await workers.drain("nobody")

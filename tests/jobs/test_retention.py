"""What ended long ago is removed, all of it; quotas refuse before the disk is full."""

import attrs
import pytest

from prover_framework.database.database import Database
from prover_framework.database.sizes import DatabaseSize, size_of
from prover_framework.errors import GroupNotFound, StoreFull
from prover_framework.jobs import quotas as quotas_module
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.attempts import Attempt
from prover_framework.jobs.outbox import Outbox
from prover_framework.jobs.quotas import Quotas
from prover_framework.jobs.records import Failure, NewGroup, NewJob, Taken
from prover_framework.jobs.removal import GROUPS_AT_ONCE
from prover_framework.jobs.retention import Pruned, prune
from prover_framework.jobs.seals import NewSeal, StoredSeal
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.settings import Settings
from prover_framework.testing.clock import ManualClock

DAY_MS = 86_400_000

TABLES = (
    *("job_group", "job", "dependency", "seal", "seal_job", "attempt", "attachment"),
    *("attachment_chunk", "event"),
)


async def counted(database: Database) -> dict[str, int]:
    return {
        table: (await database.read(f"SELECT COUNT(*) AS count FROM {table}"))[0]["count"]
        for table in TABLES
    }


async def ended(database: Database, name: str) -> None:
    """Store a group of which one job rests on the other, with one of everything."""
    jobs, store = JobStore(database, RetryPolicy()), AttachmentStore(database)
    first, second = f"{name}-1", f"{name}-2"
    await jobs.submit(
        NewGroup(
            name,
            (
                NewJob(first, "one", "{}", "default"),
                NewJob(second, "two", "{}", "default", rests_on=("one",)),
            ),
        )
    )
    taken = await jobs.take(first, worker="w", lease_seconds=60)
    assert isinstance(taken, Taken)
    await jobs.attempts.note(
        Attempt(
            job_id=first,
            number=1,
            worker="w",
            started_at=0,
            ended_at=0,
            error_code="code",
            error_message="why",
            traceback="",
        )
    )
    draft = await store.begin(taken.lease, "file")
    await store.add(taken.lease, draft, 0, b"data")
    await jobs.succeed(
        taken.lease,
        "1",
        "{}",
        [StoredSeal("kind", "{}")],
        later=[NewSeal("wax", "1")],
        has_dependents=True,
        attachments=[draft],
    )
    seal = await jobs.seals.take("wax", worker="w", lease_seconds=60)
    assert seal is not None
    await jobs.seals.fail(seal, "code", "why")
    taken = await jobs.take(second, worker="w", lease_seconds=60)
    assert isinstance(taken, Taken)
    await jobs.fail(taken.lease, Failure("code", "why"))
    await Outbox(database).publish()


async def test_what_ended_long_ago_goes_with_all_that_belongs_to_it(
    database: Database, clock: ManualClock
) -> None:
    jobs = JobStore(database, RetryPolicy())
    await ended(database, "old")
    one = await counted(database)
    assert min(one.values()) >= 1
    await jobs.submit(NewGroup("open", (NewJob("open-1", "one", "{}", "default"),)))
    clock.ms += 10 * DAY_MS
    await ended(database, "new")
    clock.ms += DAY_MS
    before = clock.ms - 5 * DAY_MS
    kept: list[str] = []

    async def keep(group_id: str) -> None:
        assert await jobs.group(group_id)
        kept.append(group_id)

    assert await prune(database, jobs.removal, before, dry_run=True) == Pruned(1, 0)
    pruned = await prune(database, jobs.removal, before, keep=keep)
    assert (pruned.groups, pruned.events) == (1, one["event"])
    assert kept == ["old"]
    with pytest.raises(GroupNotFound):
        await jobs.group("old")
    left = await counted(database)
    assert (left["job_group"], left["job"]) == (2, 3)
    assert {name: left[name] for name in TABLES[2:]} == {name: one[name] for name in TABLES[2:]}
    assert await prune(database, jobs.removal, before) == Pruned(0, 0)


async def test_numbers_of_events_go_on_when_all_that_are_there_are_old(
    database: Database, clock: ManualClock
) -> None:
    jobs, outbox = JobStore(database, RetryPolicy()), Outbox(database)
    for name in ("a", "b"):
        await jobs.submit(NewGroup(name, (NewJob(name, "a", "{}", "default"),)))
        await jobs.cancel(name)
        await outbox.publish()
    clock.ms += DAY_MS
    assert await prune(database, jobs.removal, clock.ms) == Pruned(2, 1)
    await jobs.submit(NewGroup("c", (NewJob("c", "a", "{}", "default"),)))
    await jobs.cancel("c")
    await outbox.publish()
    assert [event.number for event in await outbox.events_after(0, 10)] == [2, 3]


async def test_an_event_that_somebody_is_still_to_be_notified_of_stays(
    database: Database, clock: ManualClock
) -> None:
    jobs, outbox = JobStore(database, RetryPolicy()), Outbox(database)
    await outbox.register(["observer"])
    for name in ("a", "b"):
        await jobs.submit(NewGroup(name, (NewJob(name, "a", "{}", "default"),)))
        await jobs.cancel(name)
    await outbox.publish()
    clock.ms += DAY_MS
    assert await jobs.removal.remove_old_events(clock.ms) == 0
    delivery = await outbox.take("observer", lease_seconds=60)
    assert delivery is not None
    await outbox.done(delivery)
    assert await jobs.removal.remove_old_events(clock.ms) == 1


async def test_many_groups_go_in_many_transactions(database: Database, clock: ManualClock) -> None:
    jobs, count = JobStore(database, RetryPolicy()), GROUPS_AT_ONCE * 2 + 1
    for number in range(count):
        await jobs.submit(NewGroup(f"g-{number}", (NewJob(f"j-{number}", "a", "{}", "default"),)))
        await jobs.cancel(f"g-{number}")
    clock.ms += DAY_MS
    assert (await prune(database, jobs.removal, clock.ms)).groups == count
    assert (await counted(database))["job"] == 0


async def test_a_group_that_goes_on_again_is_not_removed(database: Database) -> None:
    jobs = JobStore(database, RetryPolicy())
    await jobs.submit(NewGroup("g", (NewJob("j", "a", "{}", "default"),)))
    assert await jobs.removal.remove(["g", "nobody"]) == frozenset()
    await jobs.cancel("g")
    assert await jobs.removal.remove(["g", "nobody"]) == {"g"}


async def test_a_quota_that_is_used_up_is_named(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    quotas = Quotas(database, settings, look_seconds=0.0)
    await quotas.require_room()

    async def full(_: Database) -> DatabaseSize:
        return DatabaseSize(used=2**30, reusable=0, disk_free=2**20)

    size = await size_of(database)
    assert size.used > 0
    assert (size.disk_free is not None) == database.embedded
    monkeypatch.setattr(quotas_module, "size_of", full)
    monkeypatch.setattr(Database, "embedded", True)
    with pytest.raises(StoreFull, match="has 1 MiB left, and PROVER_MIN_FREE_DISK_MB wants 64"):
        await quotas.require_room()
    settings = attrs.evolve(settings, min_free_disk_mb=0, max_database_mb=100)
    with pytest.raises(StoreFull, match="has 1024 MiB, and PROVER_MAX_DATABASE_MB allows 100"):
        await Quotas(database, settings).require_room()

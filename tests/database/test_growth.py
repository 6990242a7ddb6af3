"""What is asked of the database all the time stays as quick when there is much in it.

Everything that a service and its workers say to the database is said once, to one with very many
ended jobs and headers, and the engine is asked how it would find the answer. No plan may read a
table that grows from one end to the other.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from grown_database import BEGAN_MS, BLOCK_SECONDS, FACTS, TABLES, grow
from postgres_server import PostgresServer
from statements_in_source import one_line, written_statements

from prover_framework.callers.store import ApiKeyStore
from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import BYTES
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.whole import WHOLE
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds, Statements
from prover_framework.database.postgres import PostgresConnection
from prover_framework.database.sqlite import SqliteConnection, _Statements
from prover_framework.errors import DependencyNotYet, HeaderInvalid, StoreFull
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.attempts import Attempt, AttemptStore
from prover_framework.jobs.feed import EventFeed, Interest
from prover_framework.jobs.listing import GroupListing
from prover_framework.jobs.outbox import UNDELIVERED, Outbox
from prover_framework.jobs.quotas import Quotas
from prover_framework.jobs.records import Failure, GroupStage, Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.removal import Place
from prover_framework.jobs.seal_sql import LOSE_SEAL
from prover_framework.jobs.seals import NewSeal, SealJobStore, StoredSeal
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.usage import usage_of
from prover_framework.jobs.workers import Presence, WorkerStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.model.listing import GroupQuery
from prover_framework.model.series import TimeRange
from prover_framework.model.workers import WorkerState
from prover_framework.monitoring.sampling import Sampler
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.binding import GroupBinding
from prover_framework.proofs.store import ReceiptStore, WantedSeals
from prover_framework.settings import Settings

# In each run, and in `make test-growth`: a year of a service and three of the chain.
SIZES = (
    pytest.param(150_000, 200_000, id="usual"),
    pytest.param(1_000_000, 8_000_000, id="large", marks=pytest.mark.slow),
)

# The tables of the largest are filled by a statement each.
FILL_SECONDS = 900.0

HEADERS = 200_000

# Enough for everything to be said, where the plans do not matter.
FEW_JOBS = 3000
FEW_HEADERS = 101_000

# A plan of the server's that expects so many rows of one table has nothing to hold on to. (Where
# it knows nothing of a list's values it takes ten of them; a week has 168 hours.)
MANY_ROWS = 2000

# So many rows may be looked up one by one.
FEW_ROWS = 100

# A test that overhears less than this has not heard everything.
MOST_SAID = 40

# Hours of the series that is read: a week.
HOURS = 168

# Nothing that has rows for what has ended, and nothing that is read as a whole on purpose.
GROWING = set(TABLES)

KEYS = "of the API's keys, which people make one at a time"
BY_HAND = "an operator's command, once in a while"
OF_THEIRS = "asked of somebody else's database"

# What is not said all the time, and why; names are those of `written_statements`.
RARE = {
    "chain.ingest.BEGIN_CHAIN": "once in the life of a database",
    **dict.fromkeys([f"callers.store.{n}" for n in ("INSERT", "COUNT", "LISTED", "REVOKE")], KEYS),
    # Headers that are taken out, counted through or verified anew, since somebody asks for it.
    "chain.ingest.SPAN": BY_HAND,
    "chain.ingest.UNVERIFY": BY_HAND,
    "chain.ingest.remove_headers": BY_HAND,
    "chain.ingest.remove_headers'": BY_HAND,
    "chain.ingest.remove_headers''": BY_HAND,
    "chain.store.SUMS_KEPT": BY_HAND,
    "chain.store.WRONG_HOURS": BY_HAND,
    "chain.store.UNEVEN": BY_HAND,
    "chain.store.TOTALS": BY_HAND,
    "chain.store.COUNT": "a sync that begins where there is a hole, and halves to find it",
    "chain.store.NUMBER_OF": "a check that then follows all headers up to the block it asks for; "
    "an index of hashes would be larger than all else that is kept of a header",
    **dict.fromkeys([f"chain.sources.indexer.{n}" for n in ("COLUMNS", "TIMESTAMP", "PAGE")],
                    OF_THEIRS),
    "jobs.transfer.NEXT_GROUPS": BY_HAND,
    "jobs.transfer.CHUNKS_OF": BY_HAND,
    "jobs.transfer._Reader._store_headers": BY_HAND,
    "jobs.transfer._Reader._store_headers'": BY_HAND,
    "jobs.transfer._is_there": BY_HAND,
}  # fmt: skip


@frozen
class Said:
    """A statement, with the values that it came with."""

    statement: str
    values: Sequence[object]


# What is said in passing where much has gone wrong before, or on chains of another kind.
SAID_BESIDE = (
    Said(LOSE_SEAL, ["code", "why", 1]),
    Said(BYTES, [HEADERS // 2, HEADERS // 2 + 100]),
    Said(WHOLE, [HEADERS // 2, HEADERS // 2 + 100]),
)


@contextmanager
def overheard() -> Iterator[list[Said]]:
    """Note the statements that are run, each once."""
    noted: dict[str, Said] = {}
    with pytest.MonkeyPatch.context() as patch:
        for engine in (SqliteConnection, _Statements, PostgresConnection):
            for method in ("fetch", "run_many", "write"):
                if hasattr(engine, method):
                    patch.setattr(engine, method, _noting(getattr(engine, method), noted))
        said: list[Said] = []
        yield said
    said.extend(noted.values())


def _noting(method: Any, noted: dict[str, Said]) -> Any:
    async def noting(self: Statements, statement: str, values: Any = ()) -> Any:
        rows = await method(self, statement, values)
        first = values[0] if method.__name__ == "run_many" and values else values
        noted.setdefault(statement, Said(statement, first))
        return rows

    return noting


async def everything(database: Database) -> None:
    """Say to the database what a service and its workers say."""
    await _serve(database)
    await _work(database)
    await _tell(database)
    await _follow_the_chain(database)
    await _operate(database)


async def _serve(database: Database) -> None:
    jobs, receipts = JobStore(database, RetryPolicy()), ReceiptStore(database)
    await jobs.submit(_group("listed", 3))
    await jobs.submit(_group("sealed", 1))
    await jobs.group("listed")
    await jobs.submit(NewGroup("team/g", _group("team/g", 2).jobs, "key"))
    assert await jobs.open_groups("key", 1000) == 1
    assert await jobs.count_open(100_000)
    assert (await usage_of(database, jobs, Settings())).groups_of_keys["key"] == 1
    keys = ApiKeyStore(database)
    await keys.now()
    await keys.note_use({"key": BEGAN_MS})
    await _list(database)
    await jobs.cancel("listed")
    await jobs.redrive("listed")
    await jobs.enqueue("of another", NewJob("another", "type0", "{}", "default"))
    await receipts.has_ended("listed")
    await receipts.composed("listed")
    await receipts.keep("listed", "{}", wanted=WantedSeals(b"1", ["wax"]))
    renewed = WantedSeals(b"2", ["wax"])
    await receipts.keep("listed", "{ }", instead_of="{}", wanted=renewed)
    await jobs.seals.of_groups(["listed"])
    await jobs.seals.made_of("listed")
    await jobs.seals.ask("listed", {"": b"2"}, "ink")
    await receipts.seals(["listed-0"])
    sampler = Sampler(database, HeaderStore(database), jobs.queue_status, ["default"])
    await sampler.sample()


async def _list(database: Database) -> None:
    # It looks through more of larger tables. Of one that is as small as here, and of which it knows
    # nothing, a server would rather read that part from the table itself.
    listing = GroupListing(database, most_looked_at=500)
    # Of statements that are alike the first is kept: that about a state with many jobs.
    for state in (None, *sorted(JobState, key=lambda state: state is not JobState.FAILED)):
        for code in (None, "gone"):
            for more in (
                {},
                {"proof_type": "type0"},
                {"text": "old-1"},
                {"proof_type": "type9", "text": "never"},
                {"since_ms": 1, "until_ms": BEGAN_MS + 1000},
                {"namespace": "default"},
                {"namespace": "nobody's"},
            ):
                await listing.page(GroupQuery(state=state, code=code, **more, limit=20))


async def _work(database: Database) -> None:
    told: list[object] = []
    jobs = JobStore(database, RetryPolicy(), told.append)
    await jobs.submit(_group("worked", 7))
    await jobs.mark_sent([f"worked-{n}" for n in range(7)])
    await _take_out_of_the_table(database)
    leases = [await _take(jobs, f"worked-{n}") for n in range(6)]
    await jobs.extend(leases, lease_seconds=60)
    why = Failure("code", "why")
    store = AttachmentStore(database)
    draft = await store.begin(leases[0], "file")
    await store.add(leases[0], draft, 0, b"data")
    later = [NewSeal("wax", "1")]
    seals = [StoredSeal("kind", "{}")]
    await jobs.succeed(leases[0], "1", "{}", seals, later=later, attachments=[draft])
    assert await store.find("worked-0", "file") == draft
    assert [chunk async for chunk in store.chunks(draft)] == [b"data"]
    await store.add(leases[1], await store.begin(leases[1], "file"), 0, b"data")
    await _make_seals(jobs.seals)
    await jobs.succeed(leases[1], "1")
    await _end_bound(database)
    await jobs.fail(leases[2], why)
    await jobs.retry(leases[3], why, jitter=0.0)
    await jobs.wait(leases[4], why, poll_seconds=60, deadline_seconds=600)
    await jobs.release(leases[5])
    await jobs.leave_to_sweep("worked-3")
    await jobs.wake_waiting()
    await _take(jobs, "worked-6", lease_seconds=0)
    await jobs.sweep(100)
    await store.remove_left()
    await jobs.take("worked-6", worker="w", lease_seconds=0)
    await _take(jobs, "worked-5", lease_seconds=0)
    await jobs.take("worked-5", worker="w", lease_seconds=60)
    await jobs.leave_to_others("worked-5", why, jitter=1.0)
    await jobs.wake_left("code", ["type5"])
    await jobs.ended(["worked-0", "old-job-1"])
    await _rest_on_others(jobs)
    attempts = AttemptStore(database)
    await attempts.note(
        Attempt(
            job_id="worked-3",
            number=1,
            worker="w",
            started_at=BEGAN_MS,
            error_code="code",
            error_message="why",
            traceback="",
        )
    )
    assert await attempts.of_group("worked")


async def _end_bound(database: Database) -> None:
    """End a group whose receipt is made with its end."""
    binding = GroupBinding(Settings(), Plugins(found=(), hooks={}))
    jobs = JobStore(database, RetryPolicy(), bind=binding)
    await jobs.submit(_group("bound", 1))
    assert await jobs.succeed(await _take(jobs, "bound-0"), "1") is GroupStage.BOUND


async def _rest_on_others(jobs: JobStore) -> None:
    why = Failure(DependencyNotYet.code, "why")
    for end in ("succeeds", "fails"):
        first, second = (f"{end}-{n}" for n in range(2))
        group = (
            NewJob(first, "type0", "{}", "default"),
            NewJob(second, "type1", "{}", "default", rests_on=("type0",)),
        )
        await jobs.submit(NewGroup(end, group))
        lease = await _take(jobs, second)
        await jobs.wait(lease, why, poll_seconds=60, deadline_seconds=600)
        lease = await _take(jobs, first)
        if end == "fails":
            await jobs.fail(lease, why)
        else:
            await jobs.succeed(lease, "1")


async def _take_out_of_the_table(database: Database) -> None:
    told: list[object] = []
    for on_change in (None, told.append):
        jobs = JobStore(database, RetryPolicy(), on_change, by_messages=False)
        group = f"ready-{on_change is None}"
        await jobs.submit(_group(group, 3))
        types = ["type0", "type1"]
        taken = await jobs.take_ready("default", types, limit=2, worker="w", lease_seconds=0)
        assert len(taken) == 2
        why = Failure("code", "why")
        await jobs.make_ready(100, {"type2": why}.get)
        await jobs.cancel(group)


async def _tell(database: Database) -> None:
    outbox = Outbox(database)
    await outbox.register(["one"])
    assert (await outbox.look(["one"])).unpublished
    await outbox.publish()
    await outbox.events_after(10, 10)
    feed = EventFeed(database)
    interest = Interest(follows=frozenset({"old-1"}), arrivals=True)
    async with feed.listen(interest, after=await outbox.last_number()) as news:
        await anext(news)
        await feed.look()
    await feed.close()
    for _ in range(2):
        delivery = await outbox.take("one", lease_seconds=0)
        assert delivery is not None
        await outbox.extend(delivery, lease_seconds=0)
        await outbox.try_again(delivery, wait_seconds=0, give_up_seconds=60)
    delivery = await outbox.take("one", lease_seconds=60)
    assert delivery is not None
    await outbox.done(delivery)


async def _make_seals(seals: SealJobStore) -> None:
    for end in ("made", "failed", "released", "retried", "lost"):
        lease = await seals.take("wax", worker="w", lease_seconds=60)
        assert lease is not None
        await seals.extend(lease, lease_seconds=0 if end == "lost" else 60)
        match end:
            case "made":
                await seals.made(lease, "{}", lambda _: None)
                await seals.ask("sealed", {str(n): b"1" for n in range(4)}, "wax")
            case "failed":
                await seals.fail(lease, "code", "why")
            case "released":
                await seals.release(lease, "code", "why")
            case "retried":
                await seals.retry(lease, "code", "why", jitter=0.0)
    await seals.take("wax", worker="w", lease_seconds=60)


async def _operate(database: Database) -> None:
    jobs, workers = JobStore(database, RetryPolicy()), WorkerStore(database)
    presence = Presence(
        worker="w",
        queue="default",
        version="1",
        plugins=(),
        slots=1,
        in_flight=0,
        state=WorkerState.RUNNING,
    )
    await workers.say(presence)
    await workers.orders("w", "default")
    await workers.pause("default")
    await workers.all()
    await workers.resume("default")
    await workers.drain("w")
    await workers.forget("w")
    with suppress(StoreFull):
        await Quotas(database, Settings(max_open_jobs=10, min_free_disk_mb=0)).require_room()
    await jobs.rests_on(["old-job-1"])
    await jobs.cancel("worked", ["type3"])
    old = await jobs.removal.old(BEGAN_MS + 10_000, Place())
    assert old.groups
    assert await jobs.removal.remove(old.groups[:3])
    await jobs.removal.remove_old_events(BEGAN_MS + 1000, 10)


async def _follow_the_chain(database: Database) -> None:
    store = HeaderStore(database)
    newest = await store.newest()
    assert newest is not None
    begin = newest.timestamp // 2 // 3600 * 3600
    await store.series_and_blocks(TimeRange(begin, begin + HOURS * 3600))
    # The bytes here are those of no header.
    with suppress(HeaderInvalid):
        await store.block_columns(TimeRange(begin, begin + 3600), ["base_fee_per_gas"])
    await store.headers(newest.number - 5, newest.number)
    assert await store.first_missing(newest.number, whole=False) == newest.number + 1
    await store.first_missing(newest.number, whole=True)
    await store.next_stored(newest.number - 1, whole=False)
    await store.next_stored(newest.number - 1, whole=True)
    await store.rlp(newest.number)
    following = [
        Header(newest.number + n, newest.timestamp + n * BLOCK_SECONDS, 10**9) for n in (1, 2)
    ]
    await store.import_headers(following, FACTS)
    # Those that are there get more fields.
    fuller = [Header(h.number, h.timestamp, h.base_fee_wei, 1, 2) for h in following]
    await store.import_headers(fuller, FACTS)
    await store.import_headers(following[:1], FACTS, replace_after=newest.number)


def _group(name: str, jobs: int) -> NewGroup:
    return NewGroup(
        name, tuple(NewJob(f"{name}-{n}", f"type{n}", "{}", "default") for n in range(jobs))
    )


async def _take(jobs: JobStore, job_id: str, *, lease_seconds: float = 60) -> Lease:
    taken = await jobs.take(job_id, worker="w", lease_seconds=lease_seconds)
    assert isinstance(taken, Taken)
    return taken.lease


async def scans(
    database: Database, said: Sequence[Said], *, statistics: bool = True
) -> dict[str, list[str]]:
    """Return which statements' plans read a table that grows from one end to the other, and where.

    A server plans with the values; or without, where that seems no dearer to it after some calls.

    Args:
        database: Where they are said.
        said: The statements.
        statistics: Whether the engine has any. A server without, which has them a minute after
            rows came, takes what a list looks through from the table, and sorts it.
    """
    found: dict[str, list[str]] = {}
    for one in said:
        if database.embedded:
            steps = await database.read(f"EXPLAIN QUERY PLAN {one.statement}", one.values)
            where = _sqlite_scans(one.statement, [row["detail"] for row in steps])
        else:
            ((text,),) = await database.write(f"EXPLAIN (FORMAT JSON) {one.statement}", one.values)
            plan = json.loads(text)[0]["Plan"]
            where = list(_postgres_scans(one.statement, plan, statistics=statistics))
            general = await _plan_without_values(database, one)
            if general["Total Cost"] <= plan["Total Cost"] + _cost_of_planning(plan):
                where += [
                    f"{scan} (any values)"
                    for scan in _postgres_scans(one.statement, general, statistics=statistics)
                ]
        if where:
            found[one.statement] = where
    return found


async def _plan_without_values(database: Database, said: Said) -> Mapping[str, Any]:
    """Return a server's plan for values that it does not know.

    With values that EXPLAIN is given it plans, whatever the mode: those of EXECUTE it leaves out.
    """
    async with database.transaction() as connection:
        await connection.fetch("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.fetch(f"PREPARE said AS {said.statement}")
        values = f"({', '.join(['NULL'] * len(said.values))})" if said.values else ""
        ((text,),) = await connection.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE said{values}")
        await connection.fetch("DEALLOCATE said")
    plan: Mapping[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def _cost_of_planning(plan: Mapping[str, Any]) -> float:
    """Return what the server counts for it: ``cached_plan_cost`` of its source, plancache.c."""
    tables = str(plan).count("'Relation Name'")
    return 1000 * 0.0025 * (tables + 1)


def _sqlite_scans(statement: str, steps: Sequence[str]) -> list[str]:
    if _looks_through_jobs(statement) and not any("COVERING INDEX" in step for step in steps):
        return [f"the rows of jobs that are looked through: {steps}"]
    # Rows that come in the order of an index are read up to the limit.
    if " LIMIT " in statement and not any("TEMP B-TREE" in step for step in steps):
        return []
    return [
        step
        for step in steps
        if step.startswith("SCAN ") and step.split()[1].lower() in GROWING | {"header", "raw"}
    ]


def _looks_through_jobs(statement: str) -> bool:
    """Tell whether it is a list's look at thousands of jobs, of which it needs a few columns."""
    return " AS looked " in statement and " FROM job WHERE" in statement


def _postgres_scans(statement: str, plan: Mapping[str, Any], *, statistics: bool) -> Iterable[str]:
    if statistics and _looks_through_jobs(statement):
        for node in _nodes(plan):
            is_of_rows = node.get("Relation Name") == "job" and node["Node Type"] in OF_ROWS
            if is_of_rows and node["Plan Rows"] > FEW_ROWS:
                yield f"{node['Plan Rows']} rows of jobs that are looked through"
    # What a server expects of a range before it has statistics is a part of the table's size.
    most = MANY_ROWS if statistics else math.inf
    yield from _scans_of(plan, most, limited=False)


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for part in node.get("Plans", ()):
        yield from _nodes(part)


def _scans_of(node: Mapping[str, Any], most: float, *, limited: bool) -> Iterable[str]:
    kind, table = node["Node Type"], node.get("Relation Name")
    # What comes in an order that somebody has to make is read to the end before that.
    limited = kind == "Limit" or (limited and kind in PASSED_ON)
    if table in GROWING:
        if kind == "Seq Scan":
            yield f"{kind} of {table}"
        elif not limited and node["Plan Rows"] > most:
            yield f"{kind} of {table}: {node['Plan Rows']} rows"
    for part in node.get("Plans", ()):
        yield from _scans_of(part, most, limited=limited)


OF_ROWS = {"Seq Scan", "Index Scan", "Bitmap Heap Scan"}

PASSED_ON = {"LockRows", "Index Scan", "Index Only Scan", "Nested Loop", "Subquery Scan"}


@pytest.fixture
def _nothing_is_kept(tmp_path: Path) -> Iterator[None]:
    """Remove the files: the largest is too large to stay with what other tests leave."""
    yield
    for file in tmp_path.iterdir():
        file.unlink()


@pytest.mark.usefixtures("_nothing_is_kept")
@pytest.mark.parametrize(("jobs", "headers"), SIZES)
async def test_nothing_that_is_said_all_the_time_reads_a_growing_table_through(
    database_url: str, jobs: int, headers: int
) -> None:
    """A server plans with statistics, or before it has any."""
    found = await _scans_in_service(database_url, jobs, headers)
    assert not found, "\n".join(f"{one}: {where}" for one, where in found.items())


async def _scans_in_service(url: str, jobs: int, headers: int) -> dict[str, list[str]]:
    async with Database(url, bounds=Bounds(FILL_SECONDS)) as database:
        await grow(database, jobs=jobs, headers=headers, analyze=False)
    # None of it may take longer than the service has.
    async with Database(url) as database:
        with overheard() as heard:
            await everything(database)
        said = [
            one
            for one in (*heard, *SAID_BESIDE)
            # Of what it counts there is a row as long as it is to be counted.
            if one.statement != UNDELIVERED
        ]
        assert len(said) > MOST_SAID
        found = await scans(database, said, statistics=database.embedded)
    if not database.embedded:
        async with Database(url, bounds=Bounds(FILL_SECONDS)) as database:
            await database.analyze(TABLES)
            for one, where in (await scans(database, said)).items():
                found.setdefault(one, []).extend(f"{place}, with statistics" for place in where)
    return found


async def test_every_statement_is_one_of_these_or_is_rare(tmp_path: Path) -> None:
    """Who writes a new one says here when it is said, or why that matters to nobody."""
    async with Database(f"sqlite:///{tmp_path}/prover.sqlite3") as database:
        await database.migrate()
        await grow(database, jobs=FEW_JOBS, headers=FEW_HEADERS, analyze=False)
        with overheard() as said:
            await everything(database)
    written = written_statements()
    heard = [one_line(one.statement) for one in (*said, *SAID_BESIDE)]
    unheard = {name for name, one in written.items() if not any(map(one.is_in, heard))}
    assert unheard == set(RARE)


async def test_a_server_compiles_none_of_the_statements(
    postgres: PostgresServer, postgres_template: str
) -> None:
    """It would take tens of milliseconds for each of the first on each connection."""

    async def settings(url: str) -> list[str]:
        async with Database(url) as database:
            show = "SELECT current_setting('jit') AS jit"
            asked = (database.read(show), database.write(show), database.beat(show))
            return [(await rows)[0]["jit"] for rows in asked]

    url = postgres.create_database(postgres_template)
    assert await settings(url) == ["off"] * 3
    postgres.drop_database(url)

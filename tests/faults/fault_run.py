"""Break everything around a running service, and see whether it keeps its promise.

Real processes on this machine: an API, workers, PostgreSQL, an SQS emulator, and a proxy before
each. While job groups come in and are computed, workers are killed and paused beyond their leases,
PostgreSQL is stopped and started, goes silent, turns read-only, changes its password, its standby
takes its place and gives it back, the queue's endpoint refuses, hangs and delivers twice, strangers
take all connections of the API, and every process is replaced by a new one. How long it takes after
each until a job ends again is measured. At the end every job has to have one final state and one
result that was stored once, and what a paused worker wrote too late has to have been refused.

``make faults`` runs it at full size; ``make test`` has a small one.
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from statistics import median

import asyncpg
import httpx
from attrs import Factory, define, evolve, frozen
from disk_run import NoDisk, run_on_a_disk
from faulty_endpoint import FaultyEndpoint, Mode, faulty_endpoint
from localstack_server import localstack_server
from postgres_pair import PostgresPair, postgres_pair
from rich.console import Console
from rich.table import Table
from slow_plugin import SLOW_PLUGIN
from sqs_server import aws_environment
from surroundings import Surroundings, stay_connected, surroundings

DAYS = 15
END = 1_704_067_200
RANGE = {"start_timestamp": END - (DAYS - 1) * 86_400, "end_timestamp": END}

# A group asks for the three required proofs and for one that takes its time.
TYPES = 4
SLOW_SECONDS = 0.15

LEASE_SECONDS = 3.0

# How long a fault of the queue or the database lasts: longer than a call's own patience with it.
FAULT_SECONDS = (2.0, 5.0)

# Groups of two jobs that are computed on a disk that becomes full.
DISK_GROUPS = 500

# Nothing that is waited for takes this long, on a busy machine neither.
PATIENCE_SECONDS = 180.0

# How often a supervisor looks after its workers.
RESTART_SECONDS = 0.5

# How often what other processes do is looked at.
LOOK_SECONDS = 0.05

# Counts each time that a result is written and each time that a job ends, by whichever process; and
# each time that it is done by another process than the lease's, or after the lease has expired.
WATCH = """
CREATE TABLE watched (job_id text, what text);
CREATE FUNCTION watch() RETURNS trigger AS $$
BEGIN
    IF NEW.result IS NOT NULL AND NEW.result IS DISTINCT FROM OLD.result THEN
        INSERT INTO watched VALUES (NEW.id, 'result');
        IF split_part(OLD.worker, ':', 2) <> split_part(current_setting('application_name'), ':', 2)
            OR OLD.lease_until <= EXTRACT(EPOCH FROM statement_timestamp()) * 1000
        THEN
            INSERT INTO watched VALUES (NEW.id, 'late');
        END IF;
    END IF;
    IF NEW.finished_at IS NOT NULL AND NEW.finished_at IS DISTINCT FROM OLD.finished_at THEN
        INSERT INTO watched VALUES (NEW.id, 'end');
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER watch AFTER UPDATE ON job FOR EACH ROW EXECUTE FUNCTION watch();
"""

# What the driver raises while no server can be asked, or none of several is the primary.
NO_ANSWER = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.TargetServerAttributeNotMatched,
)

# What a worker logs when the database refuses what it wanted to write, or its sign of life.
REFUSED = ("is no longer held; nothing was written", "it is no longer wanted")


class Fault(StrEnum):
    """What is done to the service."""

    KILL = "worker killed (SIGKILL)"
    PAUSE = "worker paused beyond its lease (SIGSTOP)"
    DATABASE = "PostgreSQL stopped and started"
    REFUSE = "SQS endpoint refuses"
    HANG = "SQS endpoint hangs"
    DOUBLE = "SQS delivers twice"
    SILENCE = "open connections to PostgreSQL go silent"
    READ_ONLY = "PostgreSQL becomes read-only, and is not any more"
    FAILOVER = "PostgreSQL's primary is killed, its standby promoted"
    SWITCHOVER = "PostgreSQL's primary is stopped, its standby promoted"
    PASSWORD = "password of PostgreSQL changes, and is told later"
    DESCRIPTORS = "1,100 idle connections to the API"
    DEPLOY = "API and workers replaced one by one (SIGTERM)"


@frozen(kw_only=True)
class Plan:
    """How much of what.

    Args:
        groups: Job groups, of `TYPES` jobs each.
        faults: How often each fault strikes.
        seed: Decides the order of the faults, their victims and how long they last.
        workers: Worker processes.
    """

    groups: int
    faults: Mapping[Fault, int]
    seed: int
    workers: int = 2

    @property
    def jobs(self) -> int:
        """How many jobs that makes."""
        return self.groups * TYPES


FULL = Plan(
    groups=400,
    faults={
        Fault.KILL: 10,
        Fault.PAUSE: 3,
        Fault.DATABASE: 3,
        Fault.REFUSE: 3,
        Fault.HANG: 3,
        Fault.DOUBLE: 4,
        Fault.SILENCE: 3,
        Fault.READ_ONLY: 3,
        # There and back, and there and back.
        Fault.FAILOVER: 2,
        Fault.SWITCHOVER: 2,
        Fault.PASSWORD: 3,
        Fault.DESCRIPTORS: 2,
        Fault.DEPLOY: 2,
    },
    seed=1559,
)


@frozen(kw_only=True)
class Report:
    """What came of a run.

    Args:
        seconds: How long it took.
        struck: How often each fault struck.
        recoveries: For each fault the seconds from its end until a job ended again, each time.
        states: How many jobs are in each state.
        accepted: Jobs that the API has accepted.
        lost: Accepted jobs without a final state.
        stored_twice: Jobs whose result was written more than once.
        ended_twice: Jobs that ended more than once.
        without_result: Succeeded jobs without a result.
        stored_late: Results that a worker stored without holding the lease.
        late_writes_refused: Writes of paused workers that the database refused.
        losses: Leases that expired.
        attempts: Computations that were begun and not given back.
        sends: Messages that were sent.
    """

    seconds: float
    struck: Mapping[Fault, int]
    recoveries: Mapping[Fault, list[float]]
    states: Mapping[str, int]
    accepted: int
    lost: int
    stored_twice: int
    ended_twice: int
    without_result: int
    stored_late: int
    late_writes_refused: int
    losses: int
    attempts: int
    sends: int

    @property
    def promise_kept(self) -> bool:
        """Whether all jobs have one result, and no late write went through."""
        twice = self.stored_twice + self.ended_twice
        return (
            self.lost + twice + self.without_result + self.stored_late == 0
            and self.states == {"succeeded": self.accepted}
            and (self.late_writes_refused > 0 or not self.struck.get(Fault.PAUSE))
        )


@define(eq=False)
class Process:
    """A process of the service and its log."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def refusals(self) -> int:
        """How often the database has refused what it wanted to write."""
        text = self.log.read_text()
        return sum(text.count(words) for words in REFUSED)


@define(eq=False)
class Stage:
    """All that a run works with."""

    plan: Plan
    directory: Path
    database_url: str
    postgres: PostgresPair
    endpoint: FaultyEndpoint
    environment: Mapping[str, str]
    surroundings: Surroundings
    random: random.Random
    workers: list[Process] = Factory(list)
    apis: list[Process] = Factory(list)
    url: str = ""
    struck: dict[Fault, int] = Factory(dict)
    recoveries: dict[Fault, list[float]] = Factory(dict)
    late_writes_refused: int = 0
    let_in: int = 0
    accepted: int = 0

    # Processes

    def start(self, *arguments: str) -> Process:
        """Start a command of the service in the background."""
        log = self.directory / f"{arguments[0]}-{len(list(self.directory.glob('*.log')))}.log"
        with log.open("wb") as file:
            return Process(
                subprocess.Popen([*PROVER, *arguments], env=self.environment, stderr=file), log
            )

    def command(self, *arguments: str) -> str:
        """Run a command of the service to its end; return what it prints."""
        done = subprocess.run(
            [*PROVER, *arguments], env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"prover {' '.join(arguments)} failed: {done.stderr}")
        return done.stdout.strip()

    # What the database says

    async def rows(self, query: str) -> list[asyncpg.Record]:
        """Ask the database, as often as it takes until it answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(self.database_url, timeout=5)
                try:
                    return list(await connection.fetch(query, timeout=10))
                finally:
                    connection.terminate()
            except (OSError, TimeoutError, *NO_ANSWER):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_SECONDS)

    async def finished(self) -> int:
        """Return how many jobs have a final state."""
        (row,) = await self.rows("SELECT COUNT(*) FROM job WHERE finished_at IS NOT NULL")
        return int(row[0])

    async def held_by(self, worker: Process) -> dict[str, str]:
        """Return the jobs that a worker holds, and the tokens of its leases of them."""
        rows = await self.rows(
            "SELECT id, lease_token FROM job WHERE state = 'running' "
            f"AND split_part(worker, ':', 2) = '{worker.pid}'"
        )
        return {row["id"]: row["lease_token"] for row in rows}

    # Faults

    async def strike(self, fault: Fault) -> None:
        """Do one of the faults, and wait until it is over."""
        seconds = self.random.uniform(*FAULT_SECONDS)
        match fault:
            case Fault.KILL:
                await self._kill()
            case Fault.PAUSE:
                await self._pause()
            case Fault.DATABASE:
                server = self.postgres.primary
                await asyncio.to_thread(self.random.choice((server.stop, server.kill)))
                await asyncio.sleep(seconds)
                await asyncio.to_thread(server.start)
            case Fault.REFUSE:
                await self._endpoint(Mode.REFUSING, seconds)
            case Fault.HANG:
                # Longer than the service's own patience with a call.
                await self._endpoint(Mode.HANGING, 2 * seconds)
            case Fault.DOUBLE:
                await self._endpoint(Mode.DOUBLING, seconds)
            case Fault.SILENCE:
                await self.surroundings.go_silent(2 * seconds)
            case Fault.READ_ONLY:
                await self.surroundings.turn_read_only(seconds)
            case Fault.FAILOVER | Fault.SWITCHOVER:
                await self.surroundings.fail_over(orderly=fault is Fault.SWITCHOVER)
            case Fault.PASSWORD:
                await self.surroundings.rotate_password(seconds)
            case Fault.DESCRIPTORS:
                await stay_connected(self.url, seconds)
            case Fault.DEPLOY:
                await self._deploy()
        await self._recover(fault)
        if fault in (Fault.FAILOVER, Fault.SWITCHOVER):
            # The next one finds a standby again.
            await self.surroundings.rejoin()
        self.struck[fault] = self.struck.get(fault, 0) + 1

    async def _endpoint(self, mode: Mode, seconds: float) -> None:
        await self.endpoint.behave(mode)
        await asyncio.sleep(seconds)
        await self.endpoint.behave(Mode.SOUND)

    async def _recover(self, fault: Fault) -> None:
        """Measure how long it takes until a job ends again."""
        ended, began = time.monotonic(), await self.finished()

        async def goes_on() -> bool:
            finished = await self.finished()
            if finished >= self.accepted:
                # There has to be something left that can end.
                self.let_in += 1
            return finished > began or finished >= self.plan.jobs

        await until(goes_on)
        self.recoveries.setdefault(fault, []).append(time.monotonic() - ended)

    async def _deploy(self) -> None:
        """Replace every process by a new one: the new API first, then the workers in turn."""
        old = self.apis[-1]
        self.apis.append(self.start("api"))
        self.url = await _url(self.apis[-1])
        old.popen.terminate()
        for worker in list(self.workers):
            worker.popen.terminate()
            # The supervisor starts another as soon as it sees that this one has ended.
            await until(lambda: at_once(worker not in self.workers))  # noqa: B023
        await until(lambda: at_once(old.popen.poll() is not None))
        if old.popen.returncode:
            raise RuntimeError(f"the API ended with {old.popen.returncode}: see {old.log}")

    async def _kill(self) -> None:
        """Kill a worker in the middle of a computation; the supervisor starts another."""
        worker = await self._holding()
        worker.popen.kill()
        worker.popen.wait()

    async def _pause(self) -> None:
        """Pause a worker until its jobs are in other hands, then let it go on."""
        while True:
            worker = await self._holding()
            os.kill(worker.pid, signal.SIGSTOP)
            held = await self.held_by(worker)
            if held:
                break
            # It was done with them in the same moment.
            os.kill(worker.pid, signal.SIGCONT)
        before = worker.refusals()
        await until(lambda: self._taken_over(held))
        os.kill(worker.pid, signal.SIGCONT)
        await until(lambda: at_once(worker.refusals() > before))
        self.late_writes_refused += worker.refusals() - before

    async def _taken_over(self, held: Mapping[str, str]) -> bool:
        """Return whether all these jobs are being computed under other leases, or were."""
        rows = await self.rows(
            "SELECT id, lease_token FROM job WHERE state IN ('queued', 'running')"
        )
        waiting = {row["id"] for row in rows if row["lease_token"] in (None, held.get(row["id"]))}
        return not waiting & set(held)

    async def _holding(self) -> Process:
        """Wait until a worker holds a job; return it, or one of those that do."""
        holding: list[Process] = []

        async def some_do() -> bool:
            holding[:] = [worker for worker in self.workers if await self.held_by(worker)]
            if not holding and await self.finished() >= self.accepted:
                # They were faster than this fault.
                self.let_in += 1
            return bool(holding)

        await until(some_do)
        return self.random.choice(holding)

    async def supervise(self) -> None:
        """Start a worker anew that has ended: one that starts while PostgreSQL is down does."""
        while True:
            for place, worker in enumerate(self.workers):
                if worker.popen.poll() is not None:
                    self.workers[place] = self.start("worker")
            await asyncio.sleep(RESTART_SECONDS)


PROVER = (sys.executable, "-c", "from prover_framework.cli import main; main()")


async def run(
    plan: Plan,
    directory: Path,
    *,
    database_url: str,
    postgres: PostgresPair,
    sqs_url: str,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run the service under the plan's faults.

    Args:
        plan: How much of what.
        directory: For logs and files of the service.
        database_url: An empty database of the primary.
        postgres: The server, and its standby if there is one.
        sqs_url: Endpoint of an SQS emulator.
        tell: Told what happens.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(faulty_endpoint(sqs_url))
        around = await stack.enter_async_context(surroundings(directory, database_url, postgres))
        stage = Stage(
            plan=plan,
            directory=directory,
            database_url=around.admin_url,
            postgres=postgres,
            endpoint=endpoint,
            environment=_environment(directory, around, endpoint.url),
            surroundings=around,
            random=random.Random(plan.seed),
        )
        await _prepare(stage)
        stack.enter_context(_all_ended_at_last(stage))
        stage.apis.append(stage.start("api"))
        stage.workers.extend(stage.start("worker") for _ in range(plan.workers))
        tell(f"{plan.jobs} jobs, {plan.workers} workers, seed {plan.seed}")
        supervising = asyncio.create_task(stage.supervise())
        stage.url = await _url(stage.apis[0])
        submitting = asyncio.create_task(_submit(stage))
        try:
            faults = _schedule(plan, stage.random)
            share = plan.groups / (len(faults) + 1)
            stage.let_in = int(share)
            for place, fault in enumerate(faults, 2):
                # Half of them are still to be computed, and requests come in: a fault meets both.
                await until(lambda: _done(stage, stage.let_in - share / 2))
                stage.let_in = max(stage.let_in, int(place * share))
                tell(f"{time.monotonic() - began:6.1f} s  {fault}")
                await stage.strike(fault)
            stage.let_in = plan.groups
            await submitting
            await until(lambda: _done(stage, plan.groups))
        finally:
            submitting.cancel()
            supervising.cancel()
        return await _report(stage, time.monotonic() - began)


def _environment(directory: Path, around: Surroundings, endpoint: str) -> dict[str, str]:
    modules = directory / "modules"
    information = modules / "prover_test_slow-1.0.dist-info"
    information.mkdir(parents=True)
    (modules / "prover_test_slow.py").write_text(SLOW_PLUGIN)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: prover-test-slow\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text("[prover_framework]\nslow = prover_test_slow")
    own = ("PROVER_", "AWS_", "SQS_", "DATABASE_")
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith(own)},
        **aws_environment(endpoint),
        **around.environment,
        "PYTHONPATH": str(modules),
        "PROVER_DATA_DIR": str(directory),
        "PROVER_PORT": "0",
        "PROVER_LEASE_SECONDS": str(LEASE_SECONDS),
        "PROVER_SWEEP_SECONDS": "0.5",
        "PROVER_WORKER_SLOTS": "2",
        # Faults of the surroundings may cost a job any number of workers here.
        "PROVER_MAX_LOSSES": "1000",
    }


async def _prepare(stage: Stage) -> None:
    for arguments in (
        ("migrate",),
        ("headers", "simulate", "--days", str(DAYS), "--end", str(END)),
    ):
        await asyncio.to_thread(stage.command, *arguments)
    url = await asyncio.to_thread(stage.command, "queue", "create", "prover-faults")
    stage.environment = {**stage.environment, "SQS_QUEUE_URL": url}
    connection = await asyncpg.connect(stage.database_url)
    try:
        await connection.execute(WATCH)
    finally:
        await connection.close()


def _schedule(plan: Plan, chance: random.Random) -> list[Fault]:
    """Return the faults in the order of the seed."""
    faults = [fault for fault, count in sorted(plan.faults.items()) for _ in range(count)]
    chance.shuffle(faults)
    return faults


async def _done(stage: Stage, groups: float) -> bool:
    return await stage.finished() >= groups * TYPES


async def _submit(stage: Stage) -> None:
    """Ask for all groups as they are let in, each again until it is accepted."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        for number in range(stage.plan.groups):
            await until(lambda: at_once(number < stage.let_in))  # noqa: B023
            body = {
                "job_group_id": f"group_{number}",
                "twap": RANGE,
                "reserve_price": RANGE,
                "max_return": {**RANGE, "window_hours": 48},
                "slow": {**RANGE, "seconds": SLOW_SECONDS},
            }
            await until(lambda: _accepted(client, stage.url, body))  # noqa: B023
            stage.accepted += TYPES


async def _accepted(client: httpx.AsyncClient, url: str, body: object) -> bool:
    try:
        answer = await client.post(f"{url}/api/job", json=body)
    except httpx.TransportError:
        # Replaced just now, or its connections are taken. The group id makes it safe to repeat.
        return False
    match answer.status_code:
        case 200 | 500:
            # With 500 it is stored, too, and the sweep sends what was not sent.
            return True
        case 503:
            return False
    raise RuntimeError(f"{answer.status_code} {answer.text}")


async def _report(stage: Stage, seconds: float) -> Report:
    states = await stage.rows("SELECT state, COUNT(*) AS count FROM job GROUP BY 1")
    (sums,) = await stage.rows(
        "SELECT SUM(losses) AS losses, SUM(attempts) AS attempts, SUM(sends) AS sends, "
        "COUNT(*) FILTER (WHERE state = 'succeeded' AND result IS NULL) AS without_result, "
        "COUNT(*) FILTER (WHERE finished_at IS NOT NULL) AS finished FROM job"
    )
    repeated = {
        row["what"]: row["count"]
        for row in await stage.rows(
            "SELECT what, COUNT(*) AS count FROM (SELECT job_id, what FROM watched "
            "GROUP BY job_id, what HAVING COUNT(*) > 1) AS repeated GROUP BY what"
        )
    }
    (late,) = await stage.rows("SELECT COUNT(*) AS count FROM watched WHERE what = 'late'")
    return Report(
        seconds=seconds,
        struck=dict(stage.struck),
        recoveries=dict(stage.recoveries),
        states={row["state"]: row["count"] for row in states},
        accepted=stage.accepted,
        lost=stage.accepted - sums["finished"],
        stored_twice=repeated.get("result", 0),
        ended_twice=repeated.get("end", 0),
        without_result=sums["without_result"],
        stored_late=late["count"],
        late_writes_refused=stage.late_writes_refused,
        losses=sums["losses"],
        attempts=sums["attempts"],
        sends=sums["sends"],
    )


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds that other processes bring about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come about within {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(LOOK_SECONDS)


async def at_once(value: bool) -> bool:  # noqa: FBT001 - what is waited for
    """Return a value that is known already to who awaits."""
    return value


async def _url(api: Process) -> str:
    def found() -> str:
        _, mark, rest = api.log.read_text().partition("listening on ")
        return rest.split()[0] if mark and "\n" in rest else ""

    await until(lambda: at_once(bool(found())))
    return found()


@contextmanager
def _all_ended_at_last(stage: Stage) -> Iterator[None]:
    try:
        yield
    finally:
        for process in (*stage.workers, *stage.apis):
            process.popen.kill()
        for process in (*stage.workers, *stage.apis):
            process.popen.wait()


def main() -> None:
    """Run the full plan, or one with another seed: ``fault_run.py [SEED]``."""
    console = Console(highlight=False, soft_wrap=True)
    plan = evolve(FULL, seed=int(sys.argv[1])) if len(sys.argv) > 1 else FULL
    # Kept when the run fails, for whoever wants to know why.
    directory = tempfile.mkdtemp(prefix="prover-faults-")
    console.print(f"logs: {directory}")
    with postgres_pair() as postgres, localstack_server() as localstack:
        database_url = postgres.primary.create_database()
        report = asyncio.run(
            run(
                plan,
                Path(directory),
                database_url=database_url,
                postgres=postgres,
                sqs_url=localstack.url,
                tell=console.print,
            )
        )
    table = Table("fault", "struck", "until a job ended again: median", "longest")
    for fault, count in sorted(report.struck.items()):
        seconds = report.recoveries[fault]
        table.add_row(fault, str(count), f"{median(seconds):.1f} s", f"{max(seconds):.1f} s")
    console.print(table)
    table = Table("what came of it", "number")
    for name, number in (
        ("jobs accepted", report.accepted),
        *((f"jobs {state}", count) for state, count in report.states.items()),
        ("jobs lost", report.lost),
        ("results stored twice", report.stored_twice),
        ("jobs that ended twice", report.ended_twice),
        ("results stored without the lease", report.stored_late),
        ("late writes of paused workers refused", report.late_writes_refused),
        ("leases that expired", report.losses),
        ("computations", report.attempts),
        ("messages sent", report.sends),
    ):
        table.add_row(name, f"{number:,}")
    console.print(table)
    console.print(f"{report.seconds:.0f} s, seed {plan.seed}")
    console.print("the promise was kept" if report.promise_kept else "THE PROMISE WAS BROKEN")
    place = Path(directory) / "full-disk"
    place.mkdir()
    disk_kept = _fill_disk(place, console)
    if not (report.promise_kept and disk_kept):
        sys.exit(1)
    shutil.rmtree(directory)


def _fill_disk(directory: Path, console: Console) -> bool:
    """Run an embedded service on a disk that is full for some seconds; tell what came of it."""
    try:
        report = asyncio.run(
            run_on_a_disk(directory, groups=DISK_GROUPS, full_seconds=FAULT_SECONDS[1])
        )
    except NoDisk as error:
        console.print(f"a full disk: not tried, no file system can be made here: {error}")
        return True
    console.print(
        f"a full disk, embedded engine: {report.accepted:,} jobs accepted, "
        f"{report.accepted - report.ended} lost, {report.twice} stored or ended twice, "
        f"{report.refused} requests refused meanwhile, "
        f"a job ended again after {report.recovery_seconds:.1f} s"
    )
    return report.promise_kept


if __name__ == "__main__":
    main()

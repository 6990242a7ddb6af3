"""The worker in this process, with real compute processes, database and queue."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
from attrs import define

from prover_framework import plugins as plugin_loading
from prover_framework import worker as worker_module
from prover_framework.chain.headers import Header
from prover_framework.errors import GroupNotFound, StoreError
from prover_framework.jobs import FINAL, JobState, RetryPolicy
from prover_framework.model import GroupRequest, JobRequest
from prover_framework.plugins import Candidate, Plugins
from prover_framework.queues.base import Outgoing, Received
from prover_framework.queues.embedded import EmbeddedQueue
from prover_framework.service import ProvingService
from prover_framework.settings import Settings
from prover_framework.store.database import Database
from prover_framework.store.engine import Clock
from prover_framework.store.headers import ChainFacts, HeaderStore
from prover_framework.store.job_statements import UNSENT_MS
from prover_framework.store.jobs import (
    Failure,
    JobStore,
    NewGroup,
    NewJob,
    StoredJob,
    Taken,
)
from prover_framework.store.models import DeadLetter, QueueMessage
from prover_framework.testing import ManualClock
from prover_framework.worker import Worker

S = JobState

# Longer than any test should take; a test that gets this far has failed.
HANG_SECONDS = 60.0

HOURS = 30
END = HOURS * 3600

PLUGIN = """
import os, time
from pathlib import Path

from attrs import frozen

from prover_framework import Problem, ProofError, ProofType, RangeParameters, hookimpl


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
    return Result(lab=float(sum(inputs.hourly_base_fee.sums_wei)))
"""

LAB = Candidate("lab", "prover_test_worker_lab", "prover-lab", "1")
TWAP = Candidate("twap", "prover_twap", "prover-twap", "1")


@pytest.fixture(autouse=True)
def lab_module(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path_factory.getbasetemp() / "worker_lab"
    directory.mkdir(exist_ok=True)
    (directory / f"{LAB.module}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(directory))


@define
class Bench:
    """A service without a worker, and the means to start some."""

    directory: Path
    settings: Settings
    plugins: Plugins
    database: Database
    jobs: JobStore
    headers: HeaderStore
    queue: EmbeddedQueue
    service: ProvingService

    @asynccontextmanager
    async def worker(self, plugins: Plugins | None = None) -> AsyncIterator[Worker]:
        queue = EmbeddedQueue(self.database)
        worker = Worker(self.settings, plugins or self.plugins, self.jobs, self.headers, queue)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running
            await queue.close()

    async def submit(
        self, group: str, action: str = "answer", *, start: int = 0, end: int = END
    ) -> str:
        """Submit a job of the lab; return its id."""
        parameters = self.plugins.for_type("lab").proof_type.parameters(
            start_timestamp=start, end_timestamp=end, action=action, path=str(self.note(group))
        )
        await self.service.submit(GroupRequest(group, [JobRequest("lab", parameters)]))
        return (await self.jobs.group(group))[0].id

    def note(self, group: str) -> Path:
        return self.directory / f"note-{group}"

    async def holding(self, group: str) -> int:
        """Wait until the job of a group is being computed; return the process's id."""
        await wait_until(self.note(group).exists)
        return int(await asyncio.to_thread(self.note(group).read_text))

    def let_go(self, group: str) -> None:
        self.note(group).with_name(f"note-{group}.go").touch()

    async def job(self, group: str) -> StoredJob:
        (job,) = await self.jobs.group(group)
        return job

    async def reaches(self, group: str, *states: JobState) -> StoredJob:
        """Wait until the job of a group is in one of some states."""
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            job = await self.job(group)
            if job.state in states:
                return job
            assert time.monotonic() < deadline, f"it is still {job}"
            await asyncio.sleep(0.01)

    async def ends(self, group: str) -> StoredJob:
        return await self.reaches(group, *FINAL)

    async def now_ms(self) -> int:
        return await self.database.now_ms()

    async def messages(self) -> list[QueueMessage]:
        return await QueueMessage.all().using_db(self.database.reader).order_by("id")

    async def dead(self) -> list[DeadLetter]:
        return await DeadLetter.all().using_db(self.database.reader).order_by("id")

    async def queue_is_empty(self) -> None:
        deadline = time.monotonic() + HANG_SECONDS
        while await self.messages():
            assert time.monotonic() < deadline, "messages are left"
            await asyncio.sleep(0.01)

    async def import_headers(self, hours: int = HOURS) -> None:
        """One block for each hour, and the first of the next."""
        await self.headers.import_headers(
            [Header(n, n * 3600, 10**9 + n) for n in range(hours + 1)],
            ChainFacts(1, simulated=True, source="a test"),
        )


async def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        if holds():
            return
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run(
    directory: Path,
    scenario: Callable[[Bench], Awaitable[None]],
    *,
    headers: bool = True,
    clock: Clock | None = None,
    **changes: Any,
) -> None:
    """Run a scenario; at its end no process that it started may be left."""
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
    policy = RetryPolicy(settings.max_attempts, settings.max_losses, settings.retry_seconds)

    async def main() -> None:
        async with asyncio.timeout(HANG_SECONDS), Database(settings.sqlite_path, clock) as database:
            await database.migrate()
            plugins = plugin_loading.load([LAB, TWAP], strict=True)
            jobs, queue = JobStore(database, policy), EmbeddedQueue(database)
            bench = Bench(
                directory,
                settings,
                plugins,
                database,
                jobs,
                HeaderStore(database),
                queue,
                ProvingService(plugins, jobs, queue),
            )
            if headers:
                await bench.import_headers()
            try:
                await scenario(bench)
            finally:
                await bench.service.close()
                await jobs.drain()
                await queue.close()

    before = set(psutil.Process().children(recursive=True))
    asyncio.run(main())
    assert set(psutil.Process().children(recursive=True)) <= before, "a process is left"


def refusing(error: Exception, times: int) -> Callable[..., Awaitable[Any]]:
    """Make a function that fails some times and returns nothing after that."""
    left = [error] * times

    async def fail(*_: object, **__: object) -> list[Any]:
        if left:
            raise left.pop()
        return []

    return fail


# Results


def test_a_job_is_computed_and_its_message_removed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts, job.error_code) == (S.SUCCEEDED, 1, None)
        assert job.result is not None
        assert f'"lab":{sum(10**9 + n for n in range(HOURS)):.1f}' in job.result.replace(" ", "")
        assert job.started_at is not None
        assert job.finished_at is not None
        assert job.created_at <= job.started_at <= job.finished_at

    run(tmp_path, scenario)


def test_a_job_waits_for_its_headers_and_succeeds_when_they_come(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        async with bench.worker():
            job = await bench.reaches("g", S.WAITING)
            assert job.error_code == "data_not_yet"
            assert "no headers yet" in (job.error_message or "")
            await bench.queue_is_empty()
            await bench.import_headers(HOURS - 1)
            await bench.jobs.wake_waiting()
            assert (await bench.job("g")).state not in FINAL
            await bench.import_headers()
            await bench.jobs.wake_waiting()
            job = await bench.ends("g")
        assert (job.state, job.failures, job.error_code) == (S.SUCCEEDED, 0, None)
        assert job.attempts == 1, "looking for data in vain is no attempt"

    run(tmp_path, scenario, headers=False)


def test_a_job_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.error_code) == (S.FAILED, "data_not_yet")
        assert "did not come within the time allowed" in (job.error_message or "")

    run(tmp_path, scenario, headers=False, data_deadline_seconds=0.3)


def test_a_range_without_a_whole_hour_fails_with_that_reason(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        request = bench.service.parse(
            b'{"job_group_id": "g", '
            b'"twap": {"start_timestamp": 1234567890, "end_timestamp": 1234567891}}'
        )
        await bench.service.submit(request)
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.error_code, job.attempts) == (S.FAILED, "empty_range", 1)
        assert "1234567890..1234567891 holds no whole hour" in (job.error_message or "")

    run(tmp_path, scenario)


def test_a_refusal_of_the_plugin_is_final(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "refuse")
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts) == (S.FAILED, 1)
        assert (job.error_code, job.error_message) == ("lab_closed", "closed on Sundays")

    run(tmp_path, scenario)


def test_a_plugin_that_raises_uses_up_its_budget(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "raise")
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts, job.failures) == (S.FAILED, 3, 3)
        assert job.error_code == "compute_raised"
        assert job.error_message == (
            "plugin lab: its hook compute raised ValueError: no such luck (failed 3 times, the "
            "limit)"
        )

    run(tmp_path, scenario)


def test_a_retry_rests_first_and_so_does_its_message(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "raise")
        async with bench.worker():
            await wait_until_async(lambda: _failures(bench), 1)
            job = await bench.job("g")
            assert job.state is S.QUEUED
            assert 90_000 < job.not_before - await bench.now_ms() <= 200_000
            await wait_until_async(lambda: _hidden(bench, job.not_before), 1)
        assert (await bench.job("g")).attempts == 1

    run(tmp_path, scenario, retry_seconds=200.0)


def test_a_long_rest_is_left_to_the_sweep(tmp_path: Path) -> None:
    clock = ManualClock()

    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "raise once")
        async with bench.worker():
            await wait_until_async(lambda: _failures(bench), 1)
            await bench.queue_is_empty()
            job = await bench.job("g")
            assert (job.state, job.attempts) == (S.QUEUED, 1)
            clock.ms = job.not_before + UNSENT_MS
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 2, 0)

    run(tmp_path, scenario, clock=clock, retry_seconds=1000.0)


async def _failures(bench: Bench) -> int:
    return (await bench.job("g")).failures


async def _hidden(bench: Bench, until: int) -> int:
    """Count the messages that are hidden until about then."""
    return sum(abs(message.visible_at - until) < 5000 for message in await bench.messages())


async def wait_until_async(count: Callable[[], Awaitable[int]], wanted: int) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        if await count() == wanted:
            return
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def test_a_passing_failure_is_forgotten_when_the_retry_succeeds(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "raise once")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.failures) == (S.SUCCEEDED, 2, 1)
        assert job.error_code is None

    run(tmp_path, scenario)


def test_a_proof_type_that_is_not_installed_here_fails_after_its_budget(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        async with bench.worker(plugin_loading.load([TWAP], strict=True)):
            job = await bench.ends("g")
        assert (job.state, job.error_code, job.failures) == (S.FAILED, "plugin", 3)
        assert "'lab' is not installed here (installed: twap)" in (job.error_message or "")

    run(tmp_path, scenario)


def test_parameters_that_no_longer_fit_the_plugin_are_final(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        job_id = await bench.submit("g")
        async with bench.database.transaction() as connection:
            await connection.execute_query(
                "UPDATE job SET parameters = ? WHERE id = ?", ['{"start_timestamp": 0}', job_id]
            )
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.error_code, job.attempts) == (S.FAILED, "bad_parameters", 1)
        assert "end_timestamp: is required" in (job.error_message or "")

    run(tmp_path, scenario)


def test_a_mistake_of_the_framework_ends_its_job_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        monkeypatch.setattr(bench.headers, "series_and_blocks", refusing(KeyError("oops"), 9))
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.error_code, job.failures) == (S.FAILED, "internal_error", 3)
        assert "KeyError: 'oops'" in (job.error_message or "")

    run(tmp_path, scenario)


# Messages


def test_what_can_not_be_understood_goes_to_the_dead_letters(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        unknown = '{"job_id": "lab", "job_group_id": "g", "id": "nobody", "version": 1}'
        bodies = ["gibberish", "[]", unknown]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        await bench.submit("g")
        async with bench.worker():
            await bench.ends("g")
            await bench.queue_is_empty()
        dead = {letter.body: letter.reason for letter in await bench.dead()}
        assert set(dead) == set(bodies)
        assert "object" in dead["[]"]
        assert dead[unknown] == "there is no job nobody in the database"

    run(tmp_path, scenario)


def foreign(group: str, *, start: int = 0, end: int = END, proof_type: str = "lab") -> str:
    """Write a message as another service does, which knows four fields."""
    return (
        f'{{"job_id": "{proof_type}", "job_group_id": "{group}", '
        f'"start_timestamp": {start}, "end_timestamp": {end}}}'
    )


def test_a_message_of_another_sender_is_adopted_and_its_copies_are_one_job(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        copies = [foreign("g"), foreign("g").replace("{", '{"id": 7, "x": null, ')] * 4
        await bench.queue.send([Outgoing("", "default", body) for body in copies])
        async with bench.worker(), bench.worker():
            await wait_until_async(lambda: _members(bench, "g"), 1)
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
        assert (job.proof_type, job.queue) == ("lab", "default")
        assert await bench.dead() == []
        shown = await bench.service.status("g")
        assert (shown.status, len(shown.jobs)) == (S.SUCCEEDED, 1)

    run(tmp_path, scenario, worker_slots=2)


async def _members(bench: Bench, group: str) -> int:
    try:
        return len(await bench.jobs.group(group))
    except GroupNotFound:
        return 0


def test_a_message_of_another_sender_wakes_the_job_that_is_there(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        request = bench.service.parse(
            b'{"job_group_id": "g", "twap": {"start_timestamp": 0, "end_timestamp": 7200}}'
        )
        await bench.service.submit(request)
        job_id = (await bench.job("g")).id
        async with bench.database.transaction() as connection:
            await QueueMessage.all().using_db(connection).delete()
        body = foreign("g", end=7200, proof_type="twap")
        await bench.queue.send([Outgoing("", "default", body)])
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.id, job.state, job.attempts) == (job_id, S.SUCCEEDED, 1)
        assert await bench.dead() == []

    run(tmp_path, scenario)


def test_a_group_gains_what_another_sender_asks_for_and_keeps_what_it_has(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        (ours,) = await bench.jobs.group("g")
        bodies = [foreign("g", proof_type="twap"), foreign("g", start=3600)]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        async with bench.worker():
            await wait_until_async(lambda: _members(bench, "g"), 2)
            await bench.queue_is_empty()
            jobs = {job.proof_type: job for job in await bench.jobs.group("g")}
        assert {job.state for job in jobs.values()} == {S.SUCCEEDED}
        assert (jobs["lab"].id, jobs["lab"].parameters) == (ours.id, ours.parameters)
        (letter,) = await bench.dead()
        assert letter.body == bodies[1]
        assert letter.reason.startswith(
            "job group 'g' has a job 'lab' already, with other parameters: {"
        )

    run(tmp_path, scenario)


def test_what_a_plugin_refuses_is_not_adopted(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bodies = [foreign("a", start=13), foreign("b", start=14), foreign("c", proof_type="lobby")]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        async with bench.worker():
            await wait_until_async(lambda: _dead(bench), 3)
        reasons = {letter.body: letter.reason for letter in await bench.dead()}
        assert reasons == {
            bodies[0]: "lab.start_timestamp: brings bad luck",
            bodies[1]: "plugin lab: its hook validate raised ValueError: out of luck",
            bodies[2]: "job_id: 'lobby' is not an installed proof type (installed: lab, twap)",
        }
        assert await bench.service.list() == []

    run(tmp_path, scenario)


async def _dead(bench: Bench) -> int:
    return len(await bench.dead())


def test_a_database_that_refuses_is_no_reason_to_bury_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        adopt = bench.jobs.adopt
        troubles = [StoreError("no space left")]

        async def troubled(*arguments: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await adopt(*arguments)

        monkeypatch.setattr(bench.jobs, "adopt", troubled)
        await bench.queue.send([Outgoing("", "default", foreign("g"))])
        async with bench.worker():
            await wait_until_async(lambda: _members(bench, "g"), 1)
            assert (await bench.ends("g")).state is S.SUCCEEDED
        assert await bench.dead() == []

    run(tmp_path, scenario, lease_seconds=1.0)


def test_the_message_of_a_final_job_is_removed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        await bench.jobs.cancel("g")
        async with bench.worker():
            await bench.queue_is_empty()
        job = await bench.job("g")
        assert (job.state, job.attempts) == (S.CANCELLED, 0)

    run(tmp_path, scenario)


def test_the_message_of_a_waiting_job_is_removed_and_sent_again_when_due(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        job_id = await bench.submit("g")
        taken = await bench.jobs.take(job_id, worker="another", lease_seconds=60)
        assert isinstance(taken, Taken)
        why = Failure("data_not_yet", "why")
        await bench.jobs.wait(taken.lease, why, poll_seconds=600, deadline_seconds=6000)
        async with bench.worker():
            await bench.queue_is_empty()
            assert (await bench.job("g")).state is S.WAITING
            await bench.jobs.wake_waiting()
            assert (await bench.ends("g")).state is S.SUCCEEDED

    run(tmp_path, scenario)


def test_the_message_of_a_leased_job_is_hidden_for_the_rest_of_the_lease(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        job_id = await bench.submit("g")
        taken = await bench.jobs.take(job_id, worker="another", lease_seconds=600)
        assert isinstance(taken, Taken)
        until = await bench.now_ms() + 600_000
        async with bench.worker():
            await wait_until_async(lambda: _hidden(bench, until), 1)
            job = await bench.job("g")
            assert (job.state, job.worker, job.attempts) == (S.RUNNING, "another", 1)

    run(tmp_path, scenario)


def test_the_message_of_a_job_that_is_not_due_is_hidden_until_it_is(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        job_id = await bench.submit("g")
        taken = await bench.jobs.take(job_id, worker="another", lease_seconds=600)
        assert isinstance(taken, Taken)
        await bench.jobs.retry(taken.lease, Failure("compute_raised", "why"), jitter=0.0)
        not_before = (await bench.job("g")).not_before
        async with bench.worker():
            await wait_until_async(lambda: _hidden(bench, not_before), 1)
            assert (await bench.job("g")).attempts == 1

    run(tmp_path, scenario, retry_seconds=200.0)


def test_the_message_of_a_job_that_is_long_not_due_is_removed_and_sent_in_time(
    tmp_path: Path,
) -> None:
    clock = ManualClock()

    async def scenario(bench: Bench) -> None:
        parameters = f'{{"start_timestamp": 0, "end_timestamp": {END}}}'
        later = NewJob("j", "lab", parameters, "default", delay_seconds=3600)
        (job,) = (await bench.jobs.submit(NewGroup("g", (later,)))).jobs
        # SQS holds a message back for a quarter of an hour at the most, a FIFO queue not at all.
        await bench.service.send([attrs.evolve(job, sends=1)])
        async with bench.worker():
            await bench.queue_is_empty()
            assert (await bench.job("g")).attempts == 0
            clock.ms = job.not_before
            job = await bench.ends("g")
        assert (job.state, job.attempts) == (S.SUCCEEDED, 1)

    run(tmp_path, scenario, clock=clock)


def test_a_worker_takes_no_more_messages_than_it_has_slots(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for group in "abcd":
            await bench.submit(group, "hold")
        async with bench.worker():
            await bench.holding("a")
            await bench.holding("b")
            counts = [message.receive_count for message in await bench.messages()]
            assert counts == [1, 1, 0, 0]
            for group in "abcd":
                bench.let_go(group)
            for group in "abcd":
                assert (await bench.ends(group)).state is S.SUCCEEDED

    run(tmp_path, scenario, worker_slots=2)


def test_a_message_that_was_lost_is_sent_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        async with bench.database.transaction() as connection:
            await QueueMessage.all().using_db(connection).delete()
            await connection.execute_query("UPDATE job SET due_at = 0")
        async with bench.worker():
            assert (await bench.ends("g")).state is S.SUCCEEDED

    run(tmp_path, scenario)


# Leases


def test_cancelling_stops_a_running_computation(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "hold")
        async with bench.worker():
            pid = await bench.holding("g")
            await bench.service.cancel("g")
            await wait_until(lambda: gone(pid))
            await bench.submit("next")
            assert (await bench.ends("next")).state is S.SUCCEEDED, "the slot is free again"
            await bench.queue_is_empty()
            job = await bench.job("g")
            assert (job.state, job.result, job.error_code) == (S.CANCELLED, None, None)
            bench.let_go("g")
            acceptance = await bench.service.redrive("g")
            assert acceptance.unsent == ()
            job = await bench.ends("g")
            assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 2, 0)

    run(tmp_path, scenario, lease_seconds=1.0)


def test_heartbeats_keep_a_job_beyond_its_first_lease(tmp_path: Path) -> None:
    clock = ManualClock()

    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "hold")
        (original,) = await bench.messages()

        async def fresh() -> int:
            """Tell whether lease and message both last as if they had just begun."""
            until = clock.ms + 1000
            hidden = [m.visible_at for m in await bench.messages() if m.id == original.id]
            return int((await bench.job("g")).lease_until == until and hidden == [until])

        async with bench.worker(), bench.worker():
            await bench.holding("g")
            # A duplicate for the other worker, who must not get the job.
            await bench.service.send([await bench.job("g")])
            for _ in range(4):
                clock.ms += 900
                await wait_until_async(fresh, 1)
            job = await bench.job("g")
            assert (job.state, job.attempts, job.losses) == (S.RUNNING, 1, 0)
            bench.let_go("g")
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)

    run(tmp_path, scenario, clock=clock, lease_seconds=1.0)


def test_a_worker_that_lost_its_lease_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()

    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "hold")
        async with bench.worker() as first:
            # A worker that nobody hears from, and that hears from nobody.
            monkeypatch.setattr(first, "_beat", refusing(StoreError("no connection"), 1000))
            monkeypatch.setattr(first, "_sweeps", refusing(StoreError("no connection"), 0))
            first_pid = await bench.holding("g")
            clock.ms += 1100
            await asyncio.to_thread(bench.note("g").unlink)
            async with bench.worker() as second:
                assert await bench.holding("g") != first_pid
                job = await bench.job("g")
                assert (job.worker, job.losses) == (second.name, 1)
                bench.let_go("g")
                job = await bench.ends("g")
                assert job.worker == second.name
        after = await bench.job("g")
        assert (after.state, after.result, after.attempts) == (S.SUCCEEDED, job.result, 2)

    with caplog.at_level(logging.WARNING):
        run(tmp_path, scenario, clock=clock, lease_seconds=1.0)
    assert "no longer held" in caplog.text


def test_a_heartbeat_does_not_hide_what_a_retry_has_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        extended, go_on, beaten = asyncio.Event(), asyncio.Event(), asyncio.Event()
        extend = bench.jobs.extend

        async def slow_extend(*arguments: Any, **named: Any) -> Any:
            lost = await extend(*arguments, **named)
            extended.set()
            await go_on.wait()
            return lost

        monkeypatch.setattr(bench.jobs, "extend", slow_extend)
        await bench.submit("g", "hold and raise")
        async with bench.worker() as worker:
            beat = worker._beat

            async def whole_beat(*arguments: Any) -> None:
                await beat(*arguments)
                if extended.is_set():
                    beaten.set()

            monkeypatch.setattr(worker, "_beat", whole_beat)
            await bench.holding("g")
            await extended.wait()
            bench.let_go("g")
            (held,) = worker._held
            await asyncio.wait({held.computing})
            # Time for the retry to be written, if nothing held it back until the beat is over.
            await asyncio.sleep(0.2)
            go_on.set()
            await beaten.wait()
            job = await bench.reaches("g", S.QUEUED)
            await wait_until(lambda: not worker._tasks)
            assert await _hidden(bench, job.not_before) == 1

    run(tmp_path, scenario, clock=ManualClock(), lease_seconds=1.0, retry_seconds=200.0)


# Taking ahead


def test_what_is_expected_to_begin_at_once_is_taken_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "AHEAD_SECONDS", HANG_SECONDS)

    async def scenario(bench: Bench) -> None:
        await bench.submit("quick")
        async with bench.worker():
            await bench.ends("quick")
            await bench.submit("long", "hold")
            await bench.holding("long")
            await bench.submit("next")
            await bench.reaches("next", S.RUNNING)
            assert (await bench.job("long")).state is S.RUNNING
            bench.let_go("long")
            for group in ("long", "next"):
                job = await bench.ends(group)
                assert (job.state, job.attempts) == (S.SUCCEEDED, 1)

    run(tmp_path, scenario)


def test_a_worker_that_knows_no_pace_takes_what_it_has_slots_for(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("long", "hold")
        async with bench.worker():
            await bench.holding("long")
            await bench.submit("next")
            async with bench.worker():
                assert (await bench.ends("next")).state is S.SUCCEEDED
            bench.let_go("long")

    run(tmp_path, scenario)


def test_what_was_taken_ahead_in_vain_is_given_back_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "AHEAD_SECONDS", 0.3)

    async def scenario(bench: Bench) -> None:
        await bench.submit("long", "hold")
        async with bench.worker() as worker:
            await bench.holding("long")
            worker._pace.note(0.001)
            worker._room.set()
            await bench.submit("next")
            await bench.reaches("next", S.RUNNING)
            job = await bench.reaches("next", S.QUEUED)
            assert (job.attempts, job.losses, job.error_code) == (0, 0, None)
            async with bench.worker():
                job = await bench.ends("next")
            assert (job.state, job.attempts) == (S.SUCCEEDED, 1)
            assert (await bench.job("long")).state is S.RUNNING
            bench.let_go("long")

    run(tmp_path, scenario)


def test_how_many_are_taken_ahead_follows_from_how_long_computations_take() -> None:
    pace = worker_module._Pace()
    assert pace.ahead(2) == 0
    pace.note(0.1)
    assert pace.ahead(2) == 10
    pace.note(60.0)
    assert pace.ahead(2) == 0, "one that is long makes a worker careful at once"
    for _ in range(100):
        pace.note(0.0)
    assert pace.ahead(2) == worker_module.MAX_AHEAD
    pace.forget()
    assert pace.ahead(2) == 0


# Trouble


@pytest.mark.parametrize("error", [StoreError("no space left"), KeyError("bug")])
@pytest.mark.parametrize("place", ["receive", "sweep", "take"])
def test_trouble_passes_and_the_worker_goes_on(
    place: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        monkeypatch.setattr(worker_module, "TROUBLE_SECONDS", 0.05)
        owner: Any = EmbeddedQueue if place == "receive" else JobStore
        original = getattr(owner, place)
        troubles = [error]
        met = asyncio.Event()

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                met.set()
                raise troubles.pop()
            return await original(*arguments, **named)

        monkeypatch.setattr(owner, place, troubled)
        async with bench.worker():
            await bench.submit("held", "hold")
            await met.wait()
            await bench.holding("held")
            bench.let_go("held")
            assert (await bench.ends("held")).state is S.SUCCEEDED
            await bench.submit("g")
            assert (await bench.ends("g")).state is S.SUCCEEDED

    run(tmp_path, scenario, lease_seconds=1.0)


def test_a_result_that_can_not_be_stored_at_once_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        monkeypatch.setattr(worker_module, "TROUBLE_SECONDS", 0.05)
        succeed = bench.jobs.succeed
        troubles = [StoreError("it starts anew"), StoreError("it starts anew")]

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await succeed(*arguments, **named)

        monkeypatch.setattr(bench.jobs, "succeed", troubled)
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
        assert not troubles

    run(tmp_path, scenario)


def test_a_job_whose_data_can_not_be_read_is_given_back_uncounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        monkeypatch.setattr(worker_module, "TROUBLE_SECONDS", 0.05)
        read = HeaderStore.series_and_blocks
        troubles = [StoreError("it starts anew")]

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await read(*arguments, **named)

        monkeypatch.setattr(HeaderStore, "series_and_blocks", troubled)
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
        assert job.failures == 0
        assert not troubles

    run(tmp_path, scenario)


@pytest.mark.parametrize("error", [StoreError("no space left"), KeyError("bug")])
def test_a_heartbeat_that_fails_is_not_the_last(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        extend = bench.jobs.extend
        troubles = [error]

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await extend(*arguments, **named)

        monkeypatch.setattr(bench.jobs, "extend", troubled)
        await bench.submit("g", "hold")
        async with bench.worker():
            pid = await bench.holding("g")
            await wait_until(lambda: not troubles)
            await bench.jobs.cancel("g")
            await wait_until(lambda: gone(pid))

    run(tmp_path, scenario, clock=ManualClock(), lease_seconds=1.0)


# Stopping


def test_an_idle_worker_stops_at_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.worker():
            await asyncio.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 5

    run(tmp_path, scenario)


def test_a_worker_that_is_stopped_before_it_starts_does_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g")
        async with bench.worker() as worker:
            worker.stop()
        assert (await bench.job("g")).attempts == 0

    run(tmp_path, scenario)


def test_stopping_lets_the_running_job_finish_and_takes_no_other(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "hold")
        await bench.submit("later")
        async with bench.worker() as worker:
            await bench.holding("g")
            worker.stop()
            bench.let_go("g")
        assert (await bench.job("g")).state is S.SUCCEEDED
        later = await bench.job("later")
        assert (later.state, later.attempts) == (S.QUEUED, 0)

    run(tmp_path, scenario)


def test_stopping_gives_back_what_does_not_finish(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "hold")
        async with bench.worker():
            pid = await bench.holding("g")
        assert gone(pid)
        job = await bench.job("g")
        assert (job.state, job.attempts, job.failures, job.losses) == (S.QUEUED, 0, 0, 0)
        (message,) = await bench.messages()
        assert message.visible_at <= await bench.now_ms(), "for another worker to take at once"
        bench.let_go("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts) == (S.SUCCEEDED, 1)

    run(tmp_path, scenario, stop_seconds=0.1)


def test_a_worker_whose_task_is_cancelled_gives_back_too(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.submit("g", "hold")
        queue = EmbeddedQueue(bench.database)
        worker = Worker(bench.settings, bench.plugins, bench.jobs, bench.headers, queue)
        running = asyncio.create_task(worker.run())
        pid = await bench.holding("g")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await queue.close()
        assert gone(pid)
        job = await bench.job("g")
        assert (job.state, job.attempts, job.failures, job.losses) == (S.QUEUED, 0, 0, 0)

    run(tmp_path, scenario)


def test_what_a_receive_brings_while_stopping_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        receive = EmbeddedQueue.receive
        workers: list[Worker] = []

        async def receive_and_stop(*arguments: Any, **named: Any) -> list[Received]:
            messages = await receive(*arguments, **named)
            if messages:
                workers[0].stop()
            return messages

        monkeypatch.setattr(EmbeddedQueue, "receive", receive_and_stop)
        async with bench.worker() as worker:
            workers.append(worker)
            await bench.submit("g")
            await worker._stopping.wait()
        assert (await bench.job("g")).attempts == 0
        (message,) = await bench.messages()
        assert message.visible_at <= await bench.now_ms()

    run(tmp_path, scenario)


def test_the_worker_has_a_name_that_tells_machine_and_process(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.worker() as worker:
            assert f":{os.getpid()}:" in worker.name

    run(tmp_path, scenario)

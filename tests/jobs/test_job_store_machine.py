"""Any order of events on the real store, against a model that only makes legal transitions."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import LeaseLost
from prover_framework.jobs.records import (
    Failure,
    Lease,
    NewGroup,
    NewJob,
    Refusal,
    Refused,
    Submitted,
    Taken,
    Transition,
)
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import (
    FINAL,
    REDRIVABLE,
    TAKEABLE,
    TRANSITIONS,
    JobState,
    RetryPolicy,
)
from prover_framework.model.priorities import lane_of
from prover_framework.testing import ManualClock

POLICY = RetryPolicy(max_attempts=2, max_losses=3, base_seconds=2.0)
DATA_POLL_SECONDS = 5.0
DATA_DEADLINE_SECONDS = 12.0
SWEEP_LIMIT = 100

# Longer than any rest, lease or doubled answer time.
LONG_AFTER_SECONDS = 10**6

S = JobState

TYPES = ("type0", "type1", "type2")

# The rules that write under a lease.
WRITES = ("extend", "release", "succeed", "fail", "retry", "wait")


@define
class Model:
    """What a job should be like."""

    id: str
    group: str
    not_before: int
    state: JobState
    lane: str
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    deadline: int | None = None
    lease: Lease | None = None
    until: int = 0
    result: str | None = None
    history: list[JobState] = field(factory=list)

    @property
    def type(self) -> str:
        return f"type{self.id[-1]}"

    @property
    def age(self) -> tuple[int, str]:
        return self.not_before, self.id

    def move(self, state: JobState) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} to {state}: {self.history}"
        self.history.append(self.state)
        self.state = state
        if state is not S.RUNNING:
            self.lease = None


class JobStoreMachine(RuleBasedStateMachine):
    """Whether messages wake workers or the table is the queue, both ways to a job are taken."""

    url: str
    by_messages: bool

    jobs = Bundle("jobs")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.database = Database(self.url, clock=self.clock)
        self.runner.run(self.database.__aenter__())
        self.told: dict[str, list[Transition]] = {}
        self.looking = sqlite3.connect(self.database.name) if self.database.embedded else None
        self.models: dict[str, Model] = {}
        self.groups = 0
        # How often each group has ended, and which of them have now.
        self.ends: dict[str, int] = {}
        self.ended: set[str] = set()

    def teardown(self) -> None:
        try:
            if self.models:
                self._end_everything()
        finally:
            if self.looking:
                self.looking.close()
            for table in ("job", "job_group", "event"):
                self.runner.run(self.database.write(f"DELETE FROM {table}"))
            self.runner.run(self.database.__aexit__(None, None, None))
            self.runner.close()

    @property
    def now(self) -> int:
        return self.clock.ms

    @property
    def accepted(self) -> JobState:
        return S.PENDING if self.by_messages else S.QUEUED

    def _hear(self, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            self.told.setdefault(transition.job.id, []).append(transition)
        if self.looking:
            # Whoever is told may look: the change is committed.
            for job_id, state in {t.job.id: t.job.state for t in transitions}.items():
                query = "SELECT state FROM job WHERE id = ?"
                assert self.looking.execute(query, [job_id]).fetchone() == (state,)

    # Accepting

    @initialize(target=jobs, observed=st.booleans())
    def begin(self, *, observed: bool) -> Any:
        # Without anybody who wants to be told, the store has a shorter way.
        self.observed = observed
        self.store = JobStore(
            self.database,
            POLICY,
            self._hear if observed else None,
            by_messages=self.by_messages,
        )
        return self._submit(2, 0)

    @rule(
        target=jobs,
        count=st.integers(1, 3),
        delay=st.sampled_from([0, 20]),
        key=st.sampled_from([None, None, "a", "b"]),
        priority=st.sampled_from([0, 0, 9, -9]),
    )
    def submit(self, count: int, delay: int, key: str | None, priority: int) -> Any:
        return self._submit(count, delay, key, priority)

    def _submit(self, count: int, delay: int, key: str | None = None, priority: int = 0) -> Any:
        self.groups += 1
        group = NewGroup(
            f"g{self.groups}",
            tuple(
                NewJob(f"{self.groups:05}-{n}", f"type{n}", "{}", "default", delay)
                for n in range(count)
            ),
            api_key=key,
            priority=priority,
        )
        first, second = self.runner.run(_both(self.store.submit(group), self.store.submit(group)))
        assert [first.created, second.created] == [True, False], "stored once"
        assert first.jobs == second.jobs
        for job in group.jobs:
            not_before = self.now + delay * 1000
            lane = lane_of(priority, key)
            self.models[job.id] = Model(job.id, group.id, not_before, self.accepted, lane)
        return multiple(*(job.id for job in group.jobs))

    @rule(job_id=jobs)
    def submit_again(self, job_id: str) -> None:
        group = self.models[job_id].group
        changed = NewGroup(group, (NewJob("another", "type0", "{}", "default"),))
        answers = self.runner.run(_both(self.store.submit(changed), self.store.submit(changed)))
        for again in answers:
            assert not again.created
            assert [job.id for job in again.jobs] == [m.id for m in self._group(job_id)]

    @rule(job_id=jobs)
    def mark_sent(self, job_id: str) -> None:
        self.runner.run(self.store.mark_sent([job_id]))
        if self.models[job_id].state is S.PENDING:
            self.models[job_id].move(S.QUEUED)

    # Leases

    @rule(
        target=leases,
        job_id=jobs,
        workers=st.integers(1, 3),
        seconds=st.sampled_from([1.0, 10.0]),
    )
    def take(self, job_id: str, workers: int, seconds: float) -> Any:
        async def race() -> list[Taken | Refused]:
            return await asyncio.gather(
                *(
                    self.store.take(job_id, worker=f"w{n}", lease_seconds=seconds)
                    for n in range(workers)
                )
            )

        model = self.models[job_id]
        self._expire(model)
        takeable = model.state in TAKEABLE and model.not_before <= self.now
        before = model.state
        answers = self.runner.run(race())
        taken = [answer for answer in answers if isinstance(answer, Taken)]
        assert len(taken) == int(takeable), "one worker has it, or none"
        for answer in answers:
            if isinstance(answer, Refused):
                assert answer.refusal is _expected_refusal(before, takeable=takeable)
                if answer.retry_in_seconds is not None:
                    assert answer.retry_in_seconds > 0
        if taken:
            model.move(S.RUNNING)
            model.attempts += 1
            model.lease = taken[0].lease
            model.until = self.now + round(seconds * 1000)
        return multiple(*(answer.lease for answer in taken))

    @rule(
        target=leases,
        types=st.sets(st.sampled_from(TYPES), min_size=1),
        limit=st.integers(1, 4),
        seconds=st.sampled_from([1.0, 10.0]),
    )
    def take_ready(self, types: set[str], limit: int, seconds: float) -> Any:
        ready = [
            model
            for model in self.models.values()
            if model.state in TAKEABLE and model.not_before <= self.now and model.type in types
        ]
        taken = self.runner.run(
            self.store.take_ready(
                "default", sorted(types), limit=limit, worker="w", lease_seconds=seconds
            )
        )
        _is_in_turn(ready, [self.models[one.job.id] for one in taken], limit)
        for one in taken:
            model = self.models[one.job.id]
            model.move(S.RUNNING)
            model.attempts += 1
            model.lease = one.lease
            model.until = self.now + round(seconds * 1000)
        return multiple(*(one.lease for one in taken))

    @rule(lease=leases, seconds=st.sampled_from([1.0, 10.0]))
    def extend(self, lease: Lease, seconds: float = 1.0) -> None:
        lost = self.runner.run(self.store.extend([lease], lease_seconds=seconds))
        model = self._holder(lease)
        assert lost == ([] if model else [lease])
        if model:
            model.until = self.now + round(seconds * 1000)

    @rule(lease=leases, seconds=st.sampled_from([0.0, 5.0]))
    def release(self, lease: Lease, seconds: float = 0.0) -> None:
        if model := self._write(lease, self.store.release(lease, seconds=seconds)):
            model.move(S.QUEUED)
            model.attempts -= 1
            if seconds:
                model.not_before = self.now + round(seconds * 1000)

    @rule(lease=leases)
    def succeed(self, lease: Lease) -> None:
        result = f'"{lease.token}"'
        if model := self._write(lease, self.store.succeed(lease, result)):
            assert model.result is None, "a second result"
            model.move(S.SUCCEEDED)
            model.result = result

    @rule(lease=leases)
    def fail(self, lease: Lease) -> None:
        if model := self._write(lease, self.store.fail(lease, Failure("empty_range", "why"))):
            model.move(S.FAILED)

    @rule(lease=leases, jitter=st.sampled_from([0.0, 0.75]))
    def retry(self, lease: Lease, jitter: float = 0.0) -> None:
        failure = Failure("compute_raised", "why")
        if model := self._write(lease, self.store.retry(lease, failure, jitter=jitter)):
            model.failures += 1
            if model.failures == POLICY.max_attempts:
                model.move(S.FAILED)
            else:
                model.move(S.QUEUED)
                rest = POLICY.delay_seconds(model.failures, jitter)
                model.not_before = self.now + round(rest * 1000)

    @rule(lease=leases)
    def wait(self, lease: Lease) -> None:
        waiting = self.store.wait(
            lease,
            Failure("data_not_yet", "why"),
            poll_seconds=DATA_POLL_SECONDS,
            deadline_seconds=DATA_DEADLINE_SECONDS,
        )
        if model := self._write(lease, waiting):
            deadline = model.deadline or self.now + round(DATA_DEADLINE_SECONDS * 1000)
            if self.now >= deadline:
                model.move(S.FAILED)
            else:
                model.move(S.WAITING)
                model.attempts -= 1
                model.deadline = deadline
                model.not_before = min(self.now + round(DATA_POLL_SECONDS * 1000), deadline)

    def _holder(self, lease: Lease) -> Model | None:
        model = self.models[lease.job_id]
        held = model.state is S.RUNNING and model.lease == lease and model.until > self.now
        return model if held else None

    def _write(self, lease: Lease, writing: Any) -> Model | None:
        """Let the store write under a lease; return the model if the lease was valid."""
        model = self._holder(lease)
        before = self._row(lease.job_id)
        try:
            self.runner.run(writing)
        except LeaseLost:
            assert model is None, "a valid lease was refused"
            assert self._row(lease.job_id) == before, "a lost lease wrote something"
        else:
            assert model is not None, "a lost lease was accepted"
        return model

    # Sweeping and operating

    @rule()
    def sweep(self) -> None:
        due = {
            row["id"]
            for row in self._rows()
            if row["state"] in (S.PENDING, S.QUEUED, S.WAITING) and row["due_at"] <= self.now
        }
        for model in self.models.values():
            if self._expire(model) and model.state is S.QUEUED:
                due.add(model.id)
        self._sweep(due)
        for job_id in due:
            if self.models[job_id].state is S.WAITING:
                self.models[job_id].move(S.QUEUED)
        if self.by_messages:
            again = self.runner.run(self.store.sweep(SWEEP_LIMIT))
            assert again == [], "two sweepers would both send"

    def _sweep(self, due: set[str]) -> None:
        if self.by_messages:
            swept = self.runner.run(self.store.sweep(SWEEP_LIMIT))
            assert {job.id for job in swept} == due
        else:
            self.runner.run(self.store.make_ready(SWEEP_LIMIT, lambda _: None))

    @rule()
    def new_headers(self) -> None:
        self.runner.run(self.store.wake_waiting())
        for model in self.models.values():
            if model.state is S.WAITING:
                model.not_before = self.now

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        self.runner.run(self.store.cancel(self.models[job_id].group))
        for model in self._group(job_id):
            if model.state not in FINAL:
                model.move(S.CANCELLED)

    @rule(job_id=jobs)
    def redrive(self, job_id: str) -> None:
        self.runner.run(self.store.redrive(self.models[job_id].group))
        for model in self._group(job_id):
            if model.state in REDRIVABLE:
                model.move(self.accepted)
                model.failures = model.losses = 0
                model.deadline = None
                model.not_before = self.now

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 11.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        target=leases,
        pick=st.integers(0, 9),
        milliseconds=st.integers(-1, 1),
        write=st.sampled_from(WRITES),
    )
    def write_at_the_edge(self, pick: int, milliseconds: int, write: str) -> Any:
        """Let time pass until just before, at or after the end of a job's lease, and write."""
        model = self._running(pick)
        assert model.lease
        lease = model.lease
        self.clock.ms = max(self.now, model.until + milliseconds)
        getattr(self, write)(lease)
        return lease

    def _running(self, pick: int) -> Model:
        """Return a job that a worker has; it is taken, and submitted, if there is none."""
        running = [model for model in self.models.values() if model.lease]
        if not running:
            now = [
                m for m in self.models.values() if m.state in TAKEABLE and m.not_before <= self.now
            ]
            if not now:
                self._submit(1, 0)
                now = list(self.models.values())[-1:]
            self.take(now[pick % len(now)].id, 1, 10.0)
            running = [model for model in self.models.values() if model.lease]
        return running[pick % len(running)]

    @rule(job_id=jobs, milliseconds=st.integers(-1, 1))
    def sweep_at_the_edge(self, job_id: str, milliseconds: int) -> None:
        """Let time pass until just before, at or after the end of a lease or a rest, and sweep."""
        model = self.models[job_id]
        edge = model.until if model.lease else model.not_before
        self.clock.ms = max(self.now, edge + milliseconds)
        self.sweep()

    def _group(self, job_id: str) -> list[Model]:
        group = self.models[job_id].group
        return [model for model in self.models.values() if model.group == group]

    def _expire(self, model: Model) -> bool:
        """Count the worker of a job as lost if its lease has expired."""
        if model.state is not S.RUNNING or model.until > self.now:
            return False
        model.losses += 1
        if model.losses == POLICY.max_losses:
            model.move(S.FAILED)
        else:
            model.move(S.QUEUED)
            model.not_before = self.now
        return True

    # What always holds

    @invariant()
    def the_store_is_as_it_should_be(self) -> None:
        rows = {row["id"]: row for row in self._rows()}
        self._is_as_the_model(rows)
        for row in rows.values():
            _nothing_is_lost(row)
            _final_states_say_why(row)

    def _is_as_the_model(self, rows: Mapping[str, Row]) -> None:
        assert rows.keys() == self.models.keys()
        for model in self.models.values():
            row = rows[model.id]
            shown = (
                row["state"],
                row["attempts"],
                row["failures"],
                row["losses"],
                row["result"],
                row["data_deadline"],
                row["lease_token"],
            )
            assert shown == (
                model.state,
                model.attempts,
                model.failures,
                model.losses,
                model.result,
                model.deadline,
                model.lease.token if model.lease else None,
            )

    @invariant()
    def each_end_of_a_group_is_one_event(self) -> None:
        going_on = {model.group for model in self.models.values() if model.state not in FINAL}
        ended = {model.group for model in self.models.values()} - going_on
        for name in ended - self.ended:
            self.ends[name] = self.ends.get(name, 0) + 1
        self.ended = ended
        statement = "SELECT group_id, COUNT(*) AS count FROM event GROUP BY group_id"
        rows = self.runner.run(self.database.read(statement))
        assert {row["group_id"]: row["count"] for row in rows} == self.ends

    @invariant()
    def every_transition_is_told_once_and_in_order(self) -> None:
        if not self.observed:
            return
        assert self.told.keys() == self.models.keys()
        for model in self.models.values():
            path = [*model.history, model.state]
            told = self.told[model.id]
            assert [(change.old, change.job.state) for change in told] == list(
                pairwise([None, *path])
            )
            last = told[-1].job
            assert (last.attempts, last.result, last.group_id) == (
                model.attempts,
                model.result,
                model.group,
            )
            assert told[-1].at_ms <= self.now

    def _row(self, job_id: str) -> tuple[Any, ...]:
        statement = "SELECT * FROM job WHERE id = ?"
        return tuple(self.runner.run(self.database.read(statement, [job_id]))[0])

    def _rows(self) -> Sequence[Row]:
        return self.runner.run(self.database.read("SELECT * FROM job"))

    def _end_everything(self) -> None:
        """Whatever has happened, sweeps alone bring every job to a worker, and it ends.

        Every second job kills its workers.
        """
        for _ in range(POLICY.max_losses + 1):
            self.clock.ms += LONG_AFTER_SECONDS * 1000
            unfinished = {m.id for m in self.models.values() if m.state not in FINAL}
            for model in self.models.values():
                if self._expire(model) and model.state is S.FAILED:
                    unfinished.discard(model.id)
            self._sweep(unfinished)
            taken_now = self._take_each(unfinished)
            assert {taken.job.id for taken in taken_now} == unfinished
            for taken in taken_now:
                job = taken.job
                model = self.models[job.id]
                if model.state is S.WAITING:
                    model.move(S.QUEUED)
                model.move(S.RUNNING)
                if job.id.endswith("1"):
                    self.runner.run(self.store.succeed(taken.lease, "1"))
                    model.move(S.SUCCEEDED)
        assert {row["state"] for row in self._rows()} <= set(FINAL)
        assert all(row["losses"] <= POLICY.max_losses for row in self._rows())

    def _take_each(self, ids: set[str]) -> list[Taken]:
        if not self.by_messages:
            taken: list[Taken] = []
            while more := self.runner.run(
                self.store.take_ready(
                    "default", TYPES, limit=SWEEP_LIMIT, worker="w", lease_seconds=10
                )
            ):
                taken += more
            return taken
        answers = [
            self.runner.run(self.store.take(job_id, worker="w", lease_seconds=10)) for job_id in ids
        ]
        return [answer for answer in answers if isinstance(answer, Taken)]


def _is_in_turn(ready: Sequence[Model], taken: Sequence[Model], limit: int) -> None:
    """Check whose turn it was, given all jobs that might have been taken."""
    assert bool(ready) == bool(taken)
    assert len(taken) <= limit
    assert {model.id for model in taken} <= {model.id for model in ready}
    counts: dict[str, int] = {}
    for lane in sorted({model.lane for model in ready}):
        of_lane = sorted((one for one in ready if one.lane == lane), key=lambda one: one.age)
        mine = [model for model in taken if model.lane == lane]
        assert mine == of_lane[: len(mine)], "in a lane the oldest come first"
        if len(mine) < len(of_lane):
            counts[lane] = len(mine)
    served = {model.lane for model in taken}
    assert {lane[:2] for lane in served} <= {min((model.lane for model in ready), default="")[:2]}
    for lane in counts.keys() - served:
        # Who got nothing and has something waits for nobody's second job.
        same = [model for model in taken if model.lane[:2] == lane[:2]]
        assert len(same) == len({model.lane for model in same})


def _nothing_is_lost(row: Row) -> None:
    leased = row["lease_until"] is not None
    assert leased == (row["state"] == S.RUNNING)
    assert leased == (row["lease_token"] is not None)
    due = row["due_at"] is not None
    if row["state"] in FINAL:
        assert not due
    else:
        assert leased != due, "held by a worker, or due for a sweep"


def _final_states_say_why(row: Row) -> None:
    assert (row["finished_at"] is not None) == (row["state"] in FINAL)
    assert (row["result"] is not None) == (row["state"] == S.SUCCEEDED)
    if row["state"] == S.FAILED:
        assert row["error_code"]
        assert row["error_message"]
    if row["state"] in (S.SUCCEEDED, S.CANCELLED):
        assert row["error_code"] is None


def _expected_refusal(before: JobState, *, takeable: bool) -> Refusal:
    if takeable or before is S.RUNNING:
        return Refusal.LEASED
    if before in FINAL:
        return Refusal.FINAL
    return Refusal.WAITING if before is S.WAITING else Refusal.NOT_DUE


async def _both(first: Awaitable[Submitted], second: Awaitable[Submitted]) -> list[Submitted]:
    return list(await asyncio.gather(first, second))


@pytest.mark.parametrize("by_messages", [True, False])
def test_any_order_of_events_keeps_every_job(database_url: str, *, by_messages: bool) -> None:
    JobStoreMachine.url = database_url
    JobStoreMachine.by_messages = by_messages
    run_state_machine_as_test(
        JobStoreMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_rows_that_are_swept_are_bounded(database_url: str) -> None:
    clock = ManualClock()
    async with Database(database_url, clock=clock) as database:
        store = JobStore(database, POLICY)
        jobs = tuple(NewJob(f"job{n}", f"type{n}", "{}", "default") for n in range(7))
        await store.submit(NewGroup("g", jobs))
        clock.advance(LONG_AFTER_SECONDS)
        counts = [len(await store.sweep(3)) for _ in range(4)]
        assert [job.sends for job in await store.group("g")] == [1] * 7
        assert counts == [3, 3, 1, 0]

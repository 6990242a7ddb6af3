"""Any order of events on groups whose jobs rest on each other: none hangs, none runs in vain."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from attrs import frozen
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import DependencyNotYet, LeaseLost
from prover_framework.jobs.records import Failure, Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import FINAL, TAKEABLE, JobState, RetryPolicy
from prover_framework.testing import ManualClock

S = JobState

POLICY = RetryPolicy(max_attempts=2, max_losses=2, base_seconds=1.0)
LEASE_SECONDS = 10.0
DEADLINE_SECONDS = 1000.0
LONG_SECONDS = 10**6

NOT_YET = Failure(DependencyNotYet.code, "it rests on one")
WHY = Failure("code", "why")
DEPENDENCY_FAILED = "dependency_failed"

# For each of up to five jobs, which of those before it it rests on; none of all of them is rare.
EDGES = st.lists(st.sets(st.integers(0, 3), min_size=1, max_size=3), min_size=2, max_size=5)


@frozen
class Held:
    """A lease, with what its job rested on when it was taken."""

    name: str
    lease: Lease


class DependencyMachine(RuleBasedStateMachine):
    """One group, and workers that do what a worker does: wait for what is not there."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.database = Database(self.url, clock=self.clock)
        self.runner.run(self.database.__aenter__())
        self.rests_on: dict[str, tuple[str, ...]] = {}
        self.held: list[Held] = []
        self.results: dict[str, str] = {}

    def teardown(self) -> None:
        try:
            if self.rests_on:
                self._end_everything()
        finally:
            for table in ("dependency", "job", "job_group"):
                self.runner.run(self.database.write(f"DELETE FROM {table}"))
            self.runner.run(self.database.__aexit__(None, None, None))
            self.runner.close()

    @initialize(edges=EDGES, observed=st.booleans())
    def begin(self, edges: list[set[int]], *, observed: bool) -> None:
        # Without anybody who wants to be told, the store has a shorter way.
        self.store = JobStore(self.database, POLICY, (lambda _: None) if observed else None)
        for number, wanted in enumerate(edges):
            self.rests_on[f"j{number}"] = tuple(f"j{n}" for n in sorted(wanted) if n < number)
        jobs = [NewJob(n, n, "{}", "default", 0.0, on) for n, on in self.rests_on.items()]
        self.runner.run(self.store.submit(NewGroup("g", tuple(jobs))))

    # What workers do

    @rule(pick=st.integers(0, 4))
    def take(self, pick: int) -> None:
        """Take a job that is to be had; where there is none, look for messages to send."""
        names = [n for n, row in self._rows().items() if self._is_to_be_had(row)]
        if not names:
            self.sweep()
            return
        name = names[pick % len(names)]
        taken = self.runner.run(self.store.take(name, worker="w", lease_seconds=LEASE_SECONDS))
        assert isinstance(taken, Taken)
        assert name not in self.results, "what has a result is not run again"
        self.held.append(Held(name, taken.lease))

    @rule(pick=st.integers(0, 9))
    def work(self, pick: int) -> None:
        """Look for what the job rests on: compute where it is there, wait where it is not."""
        held = self._held(pick)
        if held is None:
            return
        if self._is_ready(held.name):
            self._succeed(held)
        else:
            self._wait(held)

    @rule(pick=st.integers(0, 4), others=st.integers(0, 2))
    def serve(self, pick: int, others: int) -> None:
        """Take a job and see to it while other workers do the same."""
        self.take(pick)
        for other in range(others):
            self.take(pick + other)
        while self.held:
            self.work(0)

    @rule(pick=st.integers(0, 4), rival=st.integers(0, 4))
    def look_too_early(self, pick: int, rival: int) -> None:
        """Look for what is not there yet; it comes before one has said that one waits."""
        self.take(pick)
        held = self._held(-1)
        if held is None:
            return
        ready = self._is_ready(held.name)
        self.serve(rival, 0)
        if not ready:
            self._wait(held)

    @rule(pick=st.integers(0, 9), how=st.sampled_from(["fail", "retry", "release"]))
    def go_wrong(self, pick: int, how: str) -> None:
        held = self._held(pick)
        if held is None:
            return
        match how:
            case "fail":
                self._write(self.store.fail(held.lease, WHY))
            case "retry":
                self._write(self.store.retry(held.lease, WHY, jitter=0.0))
            case _:
                self._write(self.store.release(held.lease))

    # What operators and time do

    @rule()
    def sweep(self) -> None:
        self.runner.run(self.store.sweep(100))

    @rule(seconds=st.sampled_from([1.0, 9.0, 11.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(what=st.sampled_from(["cancel", "redrive", "redrive", "redrive"]))
    def operate(self, what: str) -> None:
        self.runner.run(getattr(self.store, what)("g"))

    # What always holds

    @invariant()
    def a_job_that_waits_is_woken_or_failed_at_once(self) -> None:
        rows = self._rows()
        for name, row in rows.items():
            if row["state"] != S.WAITING:
                continue
            states = {rows[other]["state"] for other in self.rests_on[name]}
            assert not states & {S.FAILED, S.CANCELLED}, "it waits for what will not come"
            if states == {S.SUCCEEDED}:
                assert row["due_at"] <= self.clock.ms, "nobody has told it"

    @invariant()
    def a_result_is_kept_for_good(self) -> None:
        rows = self._rows()
        kept = {name: row["result"] for name, row in rows.items() if row["state"] == S.SUCCEEDED}
        assert kept == self.results

    @invariant()
    def who_failed_by_another_says_by_which(self) -> None:
        for name, row in self._rows().items():
            if row["state"] == S.FAILED and row["error_code"] == DEPENDENCY_FAILED:
                assert any(
                    row["error_message"].startswith(f"it rests on {other}, which is ")
                    for other in self.rests_on[name]
                )

    # Parts

    def _is_to_be_had(self, row: Row) -> bool:
        return row["state"] in TAKEABLE and row["not_before"] <= self.clock.ms

    def _held(self, pick: int) -> Held | None:
        return self.held.pop(pick % len(self.held)) if self.held else None

    def _is_ready(self, name: str) -> bool:
        return all(other in self.results for other in self.rests_on[name])

    def _succeed(self, held: Held) -> None:
        dependents = any(held.name in on for on in self.rests_on.values())
        result = f'"{held.lease.token}"'
        if self._write(self.store.succeed(held.lease, result, has_dependents=dependents)):
            assert held.name not in self.results
            self.results[held.name] = result

    def _wait(self, held: Held) -> None:
        self._write(
            self.store.wait(
                held.lease, NOT_YET, poll_seconds=600, deadline_seconds=DEADLINE_SECONDS
            )
        )

    def _write(self, writing: Coroutine[Any, Any, object]) -> bool:
        try:
            self.runner.run(writing)
        except LeaseLost:
            return False
        return True

    def _rows(self) -> Mapping[str, Row]:
        rows: Sequence[Row] = self.runner.run(self.database.read("SELECT * FROM job"))
        return {row["id"]: row for row in rows}

    def _end_everything(self) -> None:
        """Sweeps and one worker bring every job to its end, with a result where one can be."""
        for _ in range(20):
            self.clock.advance(LONG_SECONDS)
            swept = self.runner.run(self.store.sweep(100))
            if not swept and all(row["state"] in FINAL for row in self._rows().values()):
                break
            self.held.clear()
            for job in swept:
                taken = self.runner.run(self.store.take(job.id, worker="w", lease_seconds=10))
                if isinstance(taken, Taken):
                    self.held.append(Held(job.id, taken.lease))
                    self.work(0)
        self._everything_has_ended_as_it_should()

    def _everything_has_ended_as_it_should(self) -> None:
        rows = self._rows()
        for name, row in rows.items():
            assert row["state"] in FINAL
            others = {rows[other]["state"] for other in self.rests_on[name]}
            if row["error_code"] == DEPENDENCY_FAILED:
                # What it rests on may have been given a new life since, with its group only.
                assert others & {S.FAILED, S.CANCELLED}
            if row["state"] == S.SUCCEEDED:
                assert others <= {S.SUCCEEDED}


def test_any_order_of_events_leaves_no_job_hanging(database_url: str) -> None:
    DependencyMachine.url = database_url
    run_state_machine_as_test(
        DependencyMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            # To shrink what it finds takes minutes over a database.
            phases=[Phase.generate],
        ),
    )

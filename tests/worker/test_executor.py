"""Execution: what becomes of jobs that succeed, wait, are refused or go wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from waiting import answer_that, gone, until
from worker_bench import END, HOURS, Bench, open_bench, refusing

from prover_framework.chain.store import HeaderStore
from prover_framework.errors import StoreError
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.records import Failure, StoredJob
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.proofs.proving import Proving
from prover_framework.seals.keys import KeyDirectory
from prover_framework.worker.attaching import Keeping
from prover_framework.worker.directories import KeptDirectories
from prover_framework.worker.executor import INTERNAL_ERROR, Executor
from prover_framework.worker.outcomes import (
    AttemptFailed,
    DataMissing,
    Failed,
    NotComputed,
    Outcome,
    Reason,
    Succeeded,
)
from prover_framework.worker.resources import ResourcePool
from prover_framework.worker.timings import Timings

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def test_a_job_is_computed_and_its_message_removed(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
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


async def test_a_job_waits_for_its_headers_and_succeeds_when_they_come(tmp_path: Path) -> None:
    async with open_bench(tmp_path, headers=False) as bench:
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


async def test_a_job_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with open_bench(tmp_path, headers=False, data_deadline_seconds=0.3) as bench:
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.error_code) == (S.FAILED, "data_not_yet")
        assert "did not come within the time allowed" in (job.error_message or "")


async def test_a_range_without_a_whole_hour_fails_with_that_reason(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        request = bench.service.parse(
            b'{"job_group_id": "g", '
            b'"twap": {"start_timestamp": 1234567890, "end_timestamp": 1234567891}}'
        )
        await bench.service.submit(request)
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.error_code, job.attempts) == (S.FAILED, "empty_range", 1)
        assert "1234567890..1234567891 holds no whole hour" in (job.error_message or "")


async def test_a_refusal_of_the_plugin_is_final(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g", "refuse")
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts) == (S.FAILED, 1)
        assert (job.error_code, job.error_message) == ("lab_closed", "closed on Sundays")


async def test_a_plugin_that_raises_uses_up_its_budget(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
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


async def test_stored_parameters_that_do_not_fit_leave_the_job_to_other_workers(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path, timings=Timings(incapable_receives=1)) as bench:
        job_id = await bench.submit("g")
        async with bench.database.transaction() as connection:
            await connection.fetch(
                "UPDATE job SET parameters = ? WHERE id = ?", ['{"start_timestamp": 0}', job_id]
            )
        async with bench.worker():
            job = await answer_that(lambda job: bool(job.error_code), lambda: bench.job("g"))
        assert (job.state, job.error_code, job.attempts) == (S.QUEUED, "not_capable", 0)
        assert "end_timestamp: is required" in (job.error_message or "")


async def test_a_mistake_of_the_framework_ends_its_job_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g")
        monkeypatch.setattr(bench.headers, "series_and_blocks", refusing(KeyError("oops"), 9))
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.error_code, job.failures) == (S.FAILED, "internal_error", 3)
        assert "KeyError: 'oops'" in (job.error_message or "")


async def test_a_job_whose_data_can_not_be_read_is_given_back_uncounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, timings=Timings(trouble_seconds=0.05)) as bench:
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


async def test_a_job_whose_receipt_can_not_be_signed_is_released_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing goes out unsigned because a key cannot be read for a while."""
    keys = tmp_path / "keys"
    async with open_bench(tmp_path, timings=Timings(trouble_seconds=0.05)) as bench:
        keys.symlink_to(keys)
        await bench.submit("g")
        async with bench.worker():
            await until(lambda: "receipts cannot be signed" in caplog.text)
            assert (await bench.job("g")).result is None
            keys.unlink()
            KeyDirectory(keys).create()
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.failures, job.losses) == (S.SUCCEEDED, 1, 0, 0)
        receipt = await bench.runtime.receipts.of_proof("g", "lab")
        assert [seal.kind for seal in receipt.seals] == ["ed25519"]


# Apart from a worker


@asynccontextmanager
async def executor(bench: Bench, *, prefetch_seconds: float = 1.0) -> AsyncIterator[Executor]:
    runtime = bench.runtime
    made = Executor(
        Proving(runtime.settings, runtime.plugins, runtime.headers, runtime.jobs),
        metrics=runtime.monitoring.metrics,
        slots=1,
        resources=ResourcePool({}),
        directories=KeptDirectories(runtime.settings.work_path, runtime.jobs),
        keeping=Keeping(
            AttachmentStore(runtime.database),
            runtime.settings.work_path,
            lease_seconds=20.0,
            trouble_seconds=0.1,
        ),
        prefetch_seconds=prefetch_seconds,
        trace=False,
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def outcome_of(executor: Executor, job: StoredJob) -> Outcome:
    execution = executor.begin(job)
    await execution.wait()
    return execution.outcome


async def stored(bench: Bench, group: str, action: str = "answer", **named: int) -> StoredJob:
    await bench.submit(group, action, **named)
    return await bench.job(group)


async def test_what_can_come_of_an_execution_is_told_by_its_outcome(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, executor(bench) as executes:
        outcome = await outcome_of(executes, await stored(bench, "g"))
        assert isinstance(outcome, Succeeded)
        assert '"lab"' in outcome.result
        assert '"statement"' in outcome.receipt

        outcome = await outcome_of(executes, await stored(bench, "refuse", "refuse"))
        assert outcome == Failed(Failure("lab_closed", "closed on Sundays"))

        outcome = await outcome_of(executes, await stored(bench, "raise", "raise"))
        assert isinstance(outcome, AttemptFailed)
        assert outcome.failure.code == "compute_raised"

        outcome = await outcome_of(executes, await stored(bench, "later", end=2 * END))
        assert isinstance(outcome, DataMissing)
        assert outcome.failure.code == "data_not_yet"

        # A hole in the parameters, as another version of the plugin may have left it.
        job = attrs.evolve(await bench.job("g"), parameters='{"start_timestamp": 0}')
        outcome = await outcome_of(executes, job)
        assert isinstance(outcome, NotComputed)
        assert outcome.reason is Reason.NOT_CAPABLE

        job = attrs.evolve(await bench.job("g"), name="nobody")
        outcome = await outcome_of(executes, job)
        assert isinstance(outcome, NotComputed)
        assert "'nobody' is not installed here" in outcome.detail


NOT_COMPUTED = {
    "needs": (OSError(11, "no room"), Reason.NO_PROCESS),
    "load": (StoreError("it starts anew"), Reason.DATA_UNREADABLE),
    "compute": (OSError(11, "no room"), Reason.NO_PROCESS),
}


@pytest.mark.parametrize("step", NOT_COMPUTED)
async def test_what_is_nobodys_fault_is_not_computed(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, reason = NOT_COMPUTED[step]

    async with open_bench(tmp_path) as bench:
        monkeypatch.setattr(Proving, step, refusing(error, 1))
        async with executor(bench) as executes:
            outcome = await outcome_of(executes, await stored(bench, "g"))
        assert outcome == NotComputed(reason, str(error))


@pytest.mark.parametrize("step", ["read", "needs", "load", "compute", "receipt"])
async def test_a_mistake_of_any_step_is_a_failed_attempt(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        raise KeyError("oops")

    async with open_bench(tmp_path) as bench:
        monkeypatch.setattr(Proving, step, mistaken)
        async with executor(bench) as executes:
            outcome = await outcome_of(executes, await stored(bench, "g"))
        assert outcome == AttemptFailed(Failure(INTERNAL_ERROR, "KeyError: 'oops'"))


async def test_a_store_error_of_another_step_than_loading_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path) as bench:
        monkeypatch.setattr(Proving, "compute", refusing(StoreError("where is this from"), 1))
        async with executor(bench) as executes:
            outcome = await outcome_of(executes, await stored(bench, "g"))
        assert outcome == AttemptFailed(Failure(INTERNAL_ERROR, "StoreError: where is this from"))


async def test_who_waits_too_long_for_a_slot_is_not_computed(tmp_path: Path) -> None:
    async with (
        open_bench(tmp_path) as bench,
        executor(bench, prefetch_seconds=0.05) as executes,
    ):
        executes.mean_duration.note(0.001)
        first = executes.begin(await stored(bench, "g", "hold"))
        await bench.holding("g")
        outcome = await outcome_of(executes, await stored(bench, "next"))
        assert outcome == NotComputed(Reason.NO_SLOT)
        assert executes.mean_duration.seconds is None, "what led to it is forgotten"
        bench.let_go("g")
        await first.wait()
        assert isinstance(first.outcome, Succeeded)


async def test_what_is_cancelled_says_why_and_frees_its_slot(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, executor(bench) as executes:
        lost = executes.begin(await stored(bench, "lost", "hold"))
        pid = await bench.holding("lost")
        lost.cancel(Reason.LEASE_LOST)
        lost.cancel(Reason.STOPPED)
        await lost.wait()
        assert lost.outcome == NotComputed(Reason.LEASE_LOST)
        assert gone(pid)
        assert isinstance(await outcome_of(executes, await stored(bench, "g")), Succeeded)

        running = executes.begin(await stored(bench, "long", "hold"))
        pid = await bench.holding("long")
        executes.stop()
        late = executes.begin(await stored(bench, "late"))
        for execution in (running, late):
            await execution.wait()
            assert execution.outcome == NotComputed(Reason.STOPPED)
        assert gone(pid)

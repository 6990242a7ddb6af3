"""Observers are told every change, and none of them can hold up or harm anybody."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from prover_framework import JobRequest, JobState, RangeParameters
from prover_framework.app import open_runtime
from prover_framework.database.database import Database
from prover_framework.jobs import events as observers
from prover_framework.jobs.events import Observers
from prover_framework.jobs.records import Failure, NewGroup, NewJob, StoredJob, Taken, Transition
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.proofs import GroupRequest
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.settings import Settings
from prover_framework.testing import ManualClock

numbers = count()

HEAD = """
import sys, threading, time
from prover_framework import JobState, ProofError, hookimpl
PROVER_API = 1

told = []
news = threading.Condition()
called = threading.Event()
may_go_on = threading.Event()
"""
TOLD = """
@hookimpl
def job_changed(change):
    with news:
        told.append(change)
        news.notify_all()
"""

PROOF_TYPE = """
from attrs import frozen
from prover_framework import ProofType, RangeParameters

@frozen
class Result:
    proof: int

@hookimpl
def proof_type():
    return ProofType(name="proof", title="Proof", version="1", parameters=RangeParameters,
                     result=Result)

@hookimpl
def compute(parameters):
    return parameters
"""

Write = Callable[[str, str], Candidate]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write an observer of a given name as a module that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def module(name: str, source: str) -> Candidate:
        module_name = f"observer_of_a_test_{next(numbers)}"
        (tmp_path / f"{module_name}.py").write_text(HEAD + source, "utf-8")
        written.append(module_name)
        return Candidate(name, module_name, f"prover-{name}", "1.0")

    yield module
    for module_name in written:
        if loaded := sys.modules.pop(module_name, None):
            loaded.may_go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("observer "):
            thread.join(30)


def module_of(candidate: Candidate) -> ModuleType:
    return sys.modules[candidate.module]


def has_been_told(candidate: Candidate, changes: int) -> bool:
    """Wait until an observer has been told some changes."""
    module = module_of(candidate)
    with module.news:
        return bool(module.news.wait_for(lambda: len(module.told) >= changes, 30))


def transition(number: int, *, result: str | None = None) -> Transition:
    job = StoredJob(
        id=f"{number:032x}",
        group_id="g",
        name="proof",
        parameters="{}",
        queue="default",
        state=JobState.SUCCEEDED if result else JobState.RUNNING,
        sends=1,
        attempts=1,
        failures=0,
        losses=0,
        not_before=0,
        data_deadline=None,
        lease_until=None,
        worker="w",
        error_code=None,
        error_message=None,
        result=result,
        receipt=None,
        created_at=0,
        queued_at=0,
        started_at=0,
        finished_at=None,
    )
    return Transition(JobState.QUEUED, job, number)


def tell(
    candidates: Sequence[Candidate], transitions: Sequence[Transition], stop_seconds: float = 30.0
) -> None:
    async def main() -> None:
        plugins = load(candidates, strict=True)
        async with Observers(plugins.observers, stop_seconds=stop_seconds) as told:
            for one in transitions:
                told.notify([one])

    asyncio.run(main())


async def test_an_observer_without_a_proof_type_is_told_the_whole_life_of_a_job(
    write: Write, tmp_path: Path
) -> None:
    observer = write("watcher", TOLD)
    clock = ManualClock()

    plugins = load([observer], strict=True)
    async with (
        Observers(plugins.observers) as watching,
        Database(tmp_path / "prover.sqlite3", clock) as database,
    ):
        await database.migrate()
        store = JobStore(database, RetryPolicy(), watching.notify)
        await store.submit(NewGroup("g", (NewJob("j", "proof", "{}", "default"),)))
        await store.mark_sent(["j"])
        taken = await store.take("j", worker="w", lease_seconds=60)
        assert isinstance(taken, Taken)
        await store.retry(taken.lease, Failure("compute_raised", "why"), jitter=0.0)
        clock.ms += 60_000
        taken = await store.take("j", worker="w", lease_seconds=60)
        assert isinstance(taken, Taken)
        await store.succeed(taken.lease, '{"proof": 1.5}')
    told = module_of(observer).told
    assert [(change.old_state, change.new_state) for change in told] == [
        (None, JobState.PENDING),
        (JobState.PENDING, JobState.QUEUED),
        (JobState.QUEUED, JobState.RUNNING),
        (JobState.RUNNING, JobState.QUEUED),
        (JobState.QUEUED, JobState.RUNNING),
        (JobState.RUNNING, JobState.SUCCEEDED),
    ]
    assert {(change.group_id, change.proof_type, change.job_id) for change in told} == {
        ("g", "proof", "j")
    }
    assert [change.attempts for change in told] == [0, 0, 1, 1, 2, 2]
    assert [change.error_code for change in told] == [None, None, None, "compute_raised"] + [
        None
    ] * 2
    assert told[3].error_message == "why"
    assert [change.result for change in told] == [None] * 5 + [{"proof": 1.5}]
    began = clock.ms - 60_000
    assert [change.changed_at_ms for change in told] == [began] * 4 + [clock.ms] * 2


async def test_the_service_tells_what_it_accepts_even_when_it_stops_at_once(
    write: Write, tmp_path: Path
) -> None:
    observer = write("watcher", TOLD)
    proof = write("proof", PROOF_TYPE)

    plugins = load([observer, proof], strict=True)
    async with open_runtime(Settings(data_dir=tmp_path), plugins) as runtime:
        parameters = RangeParameters(start_timestamp=0, end_timestamp=3600)
        request = GroupRequest("g", [JobRequest("proof", parameters)])
        await runtime.service.submit(request)
    told = module_of(observer).told
    assert [change.new_state for change in told] == [JobState.QUEUED]


def test_a_proof_type_can_observe_too(write: Write) -> None:
    both = write("both", TOLD + PROOF_TYPE)
    tell([both], [transition(7)])
    (change,) = module_of(both).told
    assert change.changed_at_ms == 7


def test_one_module_under_two_names_is_told_once(write: Write) -> None:
    once = write("once", TOLD)
    tell([once, Candidate("again", once.module, once.distribution, "1")], [transition(1)])
    assert len(module_of(once).told) == 1


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("raise ValueError('no such luck')", "raised ValueError: no such luck"),
        ("raise ProofError('no proof')", "raised ProofError: no proof"),
        ("sys.exit(3)", "raised SystemExit: 3"),
        ("return 'nonsense'", "returned ['nonsense'], not None"),
    ],
)
def test_an_observer_that_misbehaves_is_logged_by_name_and_reaches_nobody_else(
    write: Write, caplog: pytest.LogCaptureFixture, body: str, complaint: str
) -> None:
    bad = write(
        "bad", f"@hookimpl\ndef job_changed(change):\n    told.append(change)\n    {body}\n"
    )
    good = write("good", TOLD)
    with caplog.at_level(logging.ERROR, "prover_framework.jobs.events"):
        tell([bad, good], [transition(n) for n in range(20)])
    assert [change.changed_at_ms for change in module_of(good).told] == list(range(20))
    assert len(module_of(bad).told) == 20, "it is told again after an error"
    assert caplog.messages == [f"plugin bad: its hook job_changed {complaint}"], (
        "an error for each change would fill the log"
    )


def test_errors_that_were_not_logged_are_counted_in_the_next_that_is(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = write("bad", "@hookimpl\ndef job_changed(change):\n    raise ValueError\n")
    times = iter([0.0, 1.0, 59.0, 60.0])
    monkeypatch.setattr(observers, "_now", lambda: next(times))
    plugins = load([bad], strict=True)
    line = observers._Line(plugins.observers[0])
    line.add([transition(n) for n in range(4)])
    line.close()
    with caplog.at_level(logging.ERROR, "prover_framework.jobs.events"):
        thread = line._thread
        assert thread is not None
        thread.join(30)
    assert caplog.messages[-1].endswith("raised ValueError (and 2 more since the last in the log)")


def test_what_an_observer_does_to_a_result_no_other_sees(write: Write) -> None:
    vandal = write("vandal", "@hookimpl\ndef job_changed(change):\n    change.result.clear()\n")
    reader = write("reader", TOLD)
    tell([vandal, reader], [transition(1, result='{"proof": 1}')])
    assert module_of(reader).told[0].result == {"proof": 1}


async def test_an_observer_that_blocks_holds_up_neither_the_loop_nor_another_nor_the_end(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "MAX_WAITING", 100)
    blocks = write(
        "blocks",
        "@hookimpl\ndef job_changed(change):\n    called.set()\n    may_go_on.wait()\n",
    )
    reader = write("reader", TOLD)

    with caplog.at_level(logging.ERROR, "prover_framework.jobs.events"):
        plugins = load([blocks, reader], strict=True)
        async with Observers(plugins.observers, stop_seconds=0.05) as told:
            told.notify([transition(0)])
            assert await asyncio.to_thread(module_of(blocks).called.wait, 30)
            for number in range(1, 151):
                told.notify([transition(number)])
                if number % 50 == 0:
                    assert await asyncio.to_thread(has_been_told, reader, number + 1)
    assert len(module_of(reader).told) == 151
    dropping, stopped = caplog.messages
    assert dropping == (
        "plugin blocks: its hook job_changed is too slow: 100 changes wait for it, and more are "
        "dropped"
    )
    assert stopped == (
        "plugin blocks: its hook job_changed was too slow: 151 changes were not told or not "
        "finished when the process stopped"
    )


async def test_results_that_wait_are_bounded_by_their_size(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "MAX_WAITING_CHARACTERS", 1000)
    slow = write(
        "slow",
        "@hookimpl\ndef job_changed(change):\n"
        "    told.append(change)\n    called.set()\n    may_go_on.wait()\n",
    )

    with caplog.at_level(logging.ERROR, "prover_framework.jobs.events"):
        plugins = load([slow], strict=True)
        async with Observers(plugins.observers, stop_seconds=30) as told:
            told.notify([transition(0)])
            assert await asyncio.to_thread(module_of(slow).called.wait, 30)
            told.notify([transition(n, result='"' + 398 * "x" + '"') for n in range(1, 6)])
            module_of(slow).may_go_on.set()
    assert [change.changed_at_ms for change in module_of(slow).told] == [0, 1, 2]
    dropping, dropped = caplog.messages
    assert dropping == (
        "plugin slow: its hook job_changed is too slow: 2 changes wait for it, and more are dropped"
    )
    assert dropped == "plugin slow: 3 changes were dropped, since its hook job_changed was too slow"


async def test_a_process_without_changes_has_no_thread_for_them(write: Write) -> None:
    before = threading.active_count()

    plugins = load([write("watcher", TOLD)], strict=True)
    async with Observers(plugins.observers):
        assert threading.active_count() == before

"""Workers that lack what a job needs: nobody's fault is nobody's failure."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from alert_rules import firing
from metric_pages import samples_of
from waiting import answer_that
from worker_bench import TWAP, Bench, open_bench

from prover_framework.cli.tables import other_version
from prover_framework.errors import TryLater
from prover_framework.jobs.records import Failure, StoredJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState
from prover_framework.plugins import loading as plugin_loading
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import Queue, Received
from prover_framework.testing import ManualClock
from prover_framework.worker.incapable import OtherWorkers
from prover_framework.worker.timings import Timings

S = JobState

# What a deployment waits minutes for, a test waits moments for.
QUICK = Timings(incapable_seconds=0.01)

VERSIONED = """
from attrs import frozen

from prover_framework import Inputs, Need, ProofType, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    number: int
{more}


@frozen(kw_only=True)
class Result:
    double: int


@hookimpl
def proof_type():
    return ProofType(
        name="double", title="Double", version="{version}", parameters=Parameters, result=Result
    )


@hookimpl
def inputs(parameters):
    return {{{needs}}}


@hookimpl
def compute(parameters, inputs, seed):
    return Result(double=2 * parameters.number)
"""

LATER = """
from pathlib import Path

from attrs import frozen

from prover_framework import ProofType, TryLater, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    hook: str
    marker: str


@frozen(kw_only=True)
class Result:
    later: int


@hookimpl
def proof_type():
    return ProofType(name="later", title="Later", version="1", parameters=Parameters, result=Result)


def put_off(parameters, hook):
    if parameters.hook == hook and not Path(parameters.marker).exists():
        raise TryLater(500, "the feed is down")


@hookimpl
def inputs(parameters):
    put_off(parameters, "inputs")
    return {}


@hookimpl
def compute(parameters, inputs, seed):
    put_off(parameters, "compute")
    return Result(later=1)
"""


class _Calls:
    """Counts what is asked of a queue."""

    def __init__(self) -> None:
        self.put_back: list[tuple[int, float]] = []
        self.deleted = 0

    async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
        self.put_back.append((len(messages), seconds))

    async def delete(self, message: Received) -> None:
        del message
        self.deleted += 1


class _Left(JobStore):
    """Notes which jobs are left, and why."""

    def __init__(self) -> None:
        self.left: list[tuple[Sequence[str], str]] = []

    async def leave_to_others(
        self, job_ids: Sequence[str], failure: Failure, *, jitter: float
    ) -> None:
        assert 0 < jitter <= 1
        self.left.append((job_ids, failure.message))


async def test_what_comes_together_is_left_together() -> None:
    queue, jobs = _Calls(), _Left()
    others = OtherWorkers(jobs, cast(Queue, queue), Timings())

    def message(count: int) -> Received:
        return Received("q", "", "", count)

    await asyncio.gather(
        *(others.leave(message(count), "job", "twap") for count in (1, 2) for _ in range(15)),
        *(others.leave(message(3), f"job-{n}", "ab"[n % 2]) for n in range(4)),
    )
    assert sorted(size for size, _ in queue.put_back) == [5, 5, 10, 10]
    assert {0.5 <= seconds <= 2 for _, seconds in queue.put_back} == {True}
    assert [ids for ids, _ in jobs.left] == [["job-0", "job-2"], ["job-1", "job-3"]]
    assert [why[-1] for _, why in jobs.left] == ["a", "b"]
    assert queue.deleted == 4


@pytest.fixture
def plugin_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("plugins")
    monkeypatch.syspath_prepend(str(directory))
    return directory


@pytest.fixture(autouse=True)
def _lab(lab_module: None) -> None:
    """Let the lab of the bench be found."""


def plugin(directory: Path, module: str, name: str, source: str) -> Plugins:
    (directory / f"{module}.py").write_text(source)
    return plugin_loading.load([Candidate(name, module, module, "1")], strict=True)


def double(
    directory: Path, module: str, *, more: str = "", needs: str = "", version: str = "1"
) -> Plugins:
    source = VERSIONED.format(more=more, needs=needs, version=version)
    return plugin(directory, module, "double", source)


async def submit(bench: Bench, plugins: Plugins, group: str, body: str) -> None:
    """Have an API with other plugins than the bench's accept a job."""
    from prover_framework.jobs.service import ProvingService

    service = ProvingService(plugins, bench.jobs, bench.runtime.queue)
    await service.submit(service.parse(f'{{"job_group_id": "{group}", {body}}}'.encode()))
    await service.close()


async def left(bench: Bench, group: str) -> StoredJob:
    """Wait until the job of a group says that nobody can do it."""
    return await answer_that(lambda job: job.error_code == "not_capable", lambda: bench.job(group))


async def test_a_job_whose_proof_type_no_worker_has_waits_uncounted_and_says_so(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path, timings=QUICK, by_messages=True) as bench:
        await bench.submit("g")
        async with bench.worker(plugin_loading.load([TWAP], strict=True)):
            job = await left(bench, "g")
            await bench.queue_is_empty()
            (shown,) = (await bench.service.status("g")).jobs
            assert shown.error is not None
            assert shown.error["message"].startswith("no worker has this proof type")
            assert "'lab' is not installed here (installed: twap)" in shown.error["message"]
            assert (job.state, job.attempts, job.failures, job.losses) == (S.QUEUED, 0, 0, 0)
            assert job.started_at is None, "a lease was taken"
            now = await samples_of(bench.runtime.monitoring)
            assert "ProverNoCapableWorker" in firing(now)
        # One that has it does the job at once, whenever the sweep would have sent it.
        async with bench.worker():
            assert (await bench.ends("g")).state is S.SUCCEEDED
        assert await bench.dead() == []


async def test_a_job_whose_kind_of_data_a_worker_lacks_waits_uncounted(
    tmp_path: Path, plugin_dir: Path
) -> None:
    needs = '"feed": Need(kind="no_such_feed", query={})'
    plugins = double(plugin_dir, "prover_test_no_feed", needs=needs)
    async with open_bench(tmp_path, timings=QUICK, by_messages=True) as bench:
        await submit(bench, plugins, "g", '"double": {"number": 1}')
        async with bench.worker(plugins):
            job = await left(bench, "g")
            await bench.queue_is_empty()
        assert "the kind of data 'no_such_feed' is not installed here" in str(job.error_message)
        assert (job.state, job.attempts, job.failures) == (S.QUEUED, 0, 0)
        assert await bench.dead() == []


async def test_a_rolling_deploy_fails_and_loses_nothing(tmp_path: Path, plugin_dir: Path) -> None:
    old = double(plugin_dir, "prover_test_double_old", more="    rounds: int = 1")
    new = double(plugin_dir, "prover_test_double_new", more="    digits: int = 9")
    async with open_bench(tmp_path, timings=QUICK, by_messages=True) as bench:
        bodies = ['{"number": 1}', '{"number": 2, "rounds": 3}']
        fresh = ['{"number": 3}', '{"number": 4, "digits": 5}']
        for place in range(6):
            await submit(bench, old, f"old-{place}", f'"double": {bodies[place % 2]}')
            await submit(bench, new, f"new-{place}", f'"double": {fresh[place % 2]}')
        groups = [f"{name}-{place}" for name in ("old", "new") for place in range(6)]
        # While only the old one is there, what the new one accepted is left.
        async with bench.worker(old):
            await left(bench, "new-1")
        async with bench.worker(old), bench.worker(new):
            jobs = await asyncio.gather(*(bench.ends(group) for group in groups))
        assert {(job.state, job.attempts, job.failures, job.losses) for job in jobs} == {
            (S.SUCCEEDED, 1, 0, 0)
        }
        assert await bench.dead() == []


async def test_a_job_says_under_which_version_it_was_accepted_and_under_which_it_ran(
    tmp_path: Path, plugin_dir: Path
) -> None:
    old = double(plugin_dir, "prover_test_double_1_0", version="1.0")
    more = "    digits: int = 9"
    new = double(plugin_dir, "prover_test_double_1_1", version="1.1", more=more)
    async with open_bench(tmp_path) as bench:
        await submit(bench, old, "accepted-before", '"double": {"number": 1}')
        await submit(bench, new, "accepted-now", '"double": {"number": 1}')
        async with bench.worker(new):
            for group in ("accepted-before", "accepted-now"):
                assert (await bench.ends(group)).state is S.SUCCEEDED
        (before,) = (await bench.service.status("accepted-before")).jobs
        (now,) = (await bench.service.status("accepted-now")).jobs
    assert [before.method_version, now.method_version] == ["1.0", "1.1"]
    for job in (before, now):
        assert isinstance(job.result, dict)
        assert isinstance(job.result["evidence"], dict)
        assert job.result["evidence"]["version"] == "1.1"
    said = "accepted under method 1.0, computed under 1.1"
    assert (other_version(before), other_version(now)) == (said, "")


@pytest.mark.parametrize("hook", ["inputs", "compute"])
async def test_a_plugin_that_says_later_has_its_job_wait_uncounted(
    tmp_path: Path, plugin_dir: Path, hook: str
) -> None:
    plugins = plugin(plugin_dir, "prover_test_later", "later", LATER)
    clock, marker = ManualClock(), tmp_path / "up"
    async with open_bench(tmp_path, clock=clock) as bench:
        body = f'"later": {{"hook": "{hook}", "marker": "{marker}"}}'
        await submit(bench, plugins, "g", body)
        async with bench.worker(plugins):
            job = await bench.reaches("g", S.WAITING)
            assert (job.error_code, job.error_message) == ("try_later", "the feed is down")
            assert (job.attempts, job.failures) == (0, 0)
            assert job.not_before >= await bench.now_ms() + 499_000
            # New headers are not what it waits for.
            await bench.jobs.wake_waiting()
            assert (await bench.job("g")).not_before == job.not_before
            marker.touch()
            clock.advance(501)
            assert (await bench.ends("g")).state is S.SUCCEEDED


async def test_a_job_that_is_put_off_until_the_deadline_fails_with_the_reason(
    tmp_path: Path, plugin_dir: Path
) -> None:
    plugins = plugin(plugin_dir, "prover_test_later", "later", LATER)
    clock = ManualClock()
    async with open_bench(tmp_path, clock=clock, data_deadline_seconds=600) as bench:
        await submit(bench, plugins, "g", '"later": {"hook": "compute", "marker": "/no/such"}')
        async with bench.worker(plugins):
            for seconds in (501, 101):
                await bench.reaches("g", S.WAITING)
                clock.advance(seconds)
            job = await bench.ends("g")
        assert (job.state, job.error_code) == (S.FAILED, "try_later")
        assert str(job.error_message).startswith("the feed is down; it did not come within")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_wait_that_is_none_is_a_mistake(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        TryLater(seconds, "the feed is down")

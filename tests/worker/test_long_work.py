"""A job that takes long: its progress is shown, what it keeps lasts until it has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from waiting import answer_that, until
from worker_bench import Bench, open_bench

from prover_framework.jobs.records import Failure, StoredJob
from prover_framework.model.jobs import JobState
from prover_framework.model.proofs import GroupRequest, JobRequest
from prover_framework.model.views import JobView
from prover_framework.model.work import Progress
from prover_framework.plugins import loading
from prover_framework.plugins.calls import Candidate
from prover_framework.settings import Settings
from prover_framework.worker.directories import LOCK, KeptDirectories
from prover_framework.worker.reporting import Reporter

pytestmark = pytest.mark.usefixtures("lab_module")

PLUGIN = """
import time
from pathlib import Path

from attrs import frozen

from prover_framework import ProofType, hookimpl
PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    path: str


@frozen(kw_only=True)
class Result:
    long: int


@hookimpl
def proof_type():
    return ProofType(name="long", title="Long", version="1", parameters=Parameters, result=Result)


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, work):
    checkpoint = work.directory / "checkpoint"
    attempts = len(checkpoint.read_text()) if checkpoint.exists() else 0
    checkpoint.write_text("x" * (attempts + 1))
    note = Path(parameters.path)
    note.with_name(f"{note.name}.{attempts}").touch()
    work.progress(0.255, f"attempt {attempts}")
    while not note.with_name(f"{note.name}.go").exists():
        time.sleep(0.005)
    if attempts == 0:
        raise ValueError("not at first")
    return Result(long=1)
"""

LONG = Candidate("long", "prover_test_worker_long", "prover-long", "1")


@asynccontextmanager
async def bench_of(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    modules = directory / "modules"
    modules.mkdir()
    (modules / f"{LONG.module}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(modules))
    async with open_bench(directory, headers=False) as bench:
        yield bench


async def submit(bench: Bench, group: str) -> StoredJob:
    plugins = loading.load([LONG], strict=True)
    parameters = plugins.for_type("long").proof_type.parameters(path=str(bench.note(group)))
    service = type(bench.service)(plugins, bench.jobs, bench.runtime.queue)
    try:
        await service.submit(GroupRequest(group, [JobRequest("long", parameters)]))
    finally:
        await service.close()
    return await bench.job(group)


async def shown(bench: Bench, group: str) -> JobView:
    return (await bench.service.status(group)).jobs[0]


def kept(bench: Bench) -> list[str]:
    root = bench.settings.work_path
    return [each.name for each in root.iterdir()] if root.is_dir() else []


async def test_progress_is_shown_and_what_is_kept_lasts_as_long_as_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of(tmp_path, monkeypatch) as bench:
        job = await submit(bench, "g")
        async with bench.worker(loading.load([LONG], strict=True)):
            view = await answer_that(lambda job: bool(job.progress), lambda: shown(bench, "g"))
            assert view.progress is not None
            assert (view.progress.fraction, view.progress.text) == (0.255, "attempt 0")
            assert kept(bench) == [job.id]
            bench.let_go("g")
            ended = await bench.ends("g")
            assert (ended.state, ended.attempts) == (JobState.SUCCEEDED, 2)
            assert bench.note("g").with_name("note-g.1").exists(), "it found its checkpoint"
            assert (await shown(bench, "g")).progress is None
            await until(lambda: not kept(bench))


async def test_a_computation_that_is_stopped_finds_what_it_has_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_of(tmp_path, monkeypatch) as bench:
        stopping = attrs.evolve(bench, runtime=attrs.evolve(bench.runtime, settings=_hasty(bench)))
        await submit(bench, "g")
        async with stopping.worker(loading.load([LONG], strict=True)):
            await until(bench.note("g").with_name("note-g.0").exists)
        bench.let_go("g")
        async with bench.worker(loading.load([LONG], strict=True)):
            assert (await bench.ends("g")).failures == 0
        assert bench.note("g").with_name("note-g.1").exists()


def _hasty(bench: Bench) -> Settings:
    return attrs.evolve(bench.settings, stop_seconds=0.0)


async def test_what_is_kept_of_jobs_that_ended_elsewhere_is_removed(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        going_on = await bench.claim("goes-on")
        ended = await bench.claim("ended")
        await bench.jobs.fail(ended.lease, Failure("code", "why"))
        directories = KeptDirectories(bench.settings.work_path, bench.jobs)
        for job_id in (going_on.job.id, ended.job.id, "ab" * 16):
            with directories.lent(job_id) as lent:
                assert lent is not None
                assert [each.name for each in lent.iterdir()] == [LOCK]
        (bench.settings.work_path / "of-somebody-else").mkdir()
        await directories.clean()
        assert sorted(kept(bench)) == sorted([going_on.job.id, "of-somebody-else"])


async def test_two_attempts_never_share_a_directory(tmp_path: Path) -> None:
    async with open_bench(tmp_path, headers=False) as bench:
        first, second = (KeptDirectories(bench.settings.work_path, bench.jobs) for _ in range(2))
        with first.lent("ab" * 16) as lent:
            assert lent is not None
            with second.lent("ab" * 16) as other:
                assert other is None
        with second.lent("ab" * 16) as other:
            assert other == lent


async def test_progress_is_written_rarely_and_not_after_the_end(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        claim = await bench.claim("g")
        told: list[Progress] = []
        heard = asyncio.Event()

        class Jobs:
            async def note_progress(self, _: object, progress: Progress) -> bool:
                told.append(progress)
                heard.set()
                return True

        reporter = Reporter(Jobs(), claim.lease, claim.job, seconds=60.0)  # type: ignore[arg-type]
        reporter.progress(Progress(0.1))
        await heard.wait()
        reporter.progress(Progress(0.2))
        reporter.progress(Progress(0.3))
        await reporter.close()
        assert told == [Progress(0.1)]
        assert reporter.subject == "g lab"

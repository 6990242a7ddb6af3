"""What computations need of a machine: a worker does what fits, and leaves the rest to others."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import answer_that, until
from worker_bench import Bench, message_bench, open_bench

from prover_framework.jobs.service import ProvingService
from prover_framework.model.jobs import JobState
from prover_framework.model.proofs import ProofType
from prover_framework.model.resources import shortage
from prover_framework.plugins import loading as plugin_loading
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.registry import Plugins
from prover_framework.worker.resources import ResourcePool
from prover_framework.worker.timings import Timings

QUICK = Timings(incapable_seconds=0.01, resources_seconds=0.01, prefetch_seconds=0.05)

# Each computation notes when it begins and when it ends, and holds until it is let go.
HEAVY = """
import os, time
from pathlib import Path

from attrs import frozen

from prover_framework import ProofType, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    path: str


@frozen(kw_only=True)
class Result:
    heavy: int


@hookimpl
def proof_type():
    return ProofType(
        name="heavy", title="Heavy", version="1", parameters=Parameters, result=Result,
        resources={"gpu": 2, "memory_mb": 8000},
    )


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, inputs, seed):
    Path(parameters.path).touch()
    while not Path(parameters.path + ".go").exists():
        time.sleep(0.005)
    return Result(heavy=1)
"""


@pytest.fixture
def heavy(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    directory = tmp_path_factory.mktemp("plugins")
    monkeypatch.syspath_prepend(str(directory))
    (directory / "prover_test_heavy.py").write_text(HEAVY)
    candidate = Candidate("heavy", "prover_test_heavy", "prover-heavy", "1")
    return plugin_loading.load([candidate], strict=True)


@pytest.fixture(autouse=True)
def _lab(lab_module: None) -> None:
    """Let the lab of the bench be found."""


async def submit(bench: Bench, plugins: Plugins, group: str) -> None:
    service = ProvingService(plugins, bench.jobs, bench.runtime.queue)
    body = f'{{"job_group_id": "{group}", "heavy": {{"path": "{bench.note(group)}"}}}}'
    await service.submit(service.parse(body.encode()))
    await service.close()


async def test_a_job_that_does_not_fit_is_left_to_a_worker_that_has_what_it_needs(
    tmp_path: Path, heavy: Plugins
) -> None:
    async with message_bench(tmp_path, timings=QUICK) as bench:
        await submit(bench, heavy, "g")
        async with bench.worker(heavy, worker_resources={"gpu": 2, "memory_mb": 7999}):
            job = await answer_that(
                lambda job: job.error_code == "not_capable", lambda: bench.job("g")
            )
            await bench.queue_is_empty()
        assert (job.state, job.attempts, job.started_at) == (JobState.QUEUED, 0, None)
        assert "it needs memory_mb 8000, and this worker has 7999" in str(job.error_message)
        bench.let_go("g")
        async with bench.worker(heavy, worker_resources={"gpu": 4, "memory_mb": 8000}):
            assert (await bench.ends("g")).state is JobState.SUCCEEDED


async def test_what_is_in_use_is_not_used_twice_and_other_jobs_go_on(
    tmp_path: Path, heavy: Plugins
) -> None:
    both = plugin_loading.load(
        [
            Candidate("heavy", "prover_test_heavy", "prover-heavy", "1"),
            Candidate("lab", "prover_test_worker_lab", "prover-lab", "1"),
        ],
        strict=True,
    )
    there = {"gpu": 3, "memory_mb": 16_000}
    async with open_bench(tmp_path, timings=QUICK) as bench:
        await submit(bench, heavy, "one")
        async with bench.worker(both, worker_slots=2, worker_resources=there):
            await until(bench.note("one").exists)
            await submit(bench, heavy, "two")
            for place in range(5):
                await bench.submit(f"other-{place}")
            for place in range(5):
                assert (await bench.ends(f"other-{place}")).state is JobState.SUCCEEDED
            assert not bench.note("two").exists(), "three GPUs are not four"
            bench.let_go("two")
            bench.let_go("one")
            jobs = [await bench.ends(group) for group in ("one", "two")]
        assert {(job.state, job.failures, job.losses) for job in jobs} == {
            (JobState.SUCCEEDED, 0, 0)
        }


@pytest.mark.parametrize(
    "resources", [{"GPU": 1}, {"gpu": 0}, {"gpu": True}, {"gpu": 1.5}, {"": 1}, ["gpu"]]
)
def test_resources_of_another_form_are_a_mistake(resources: object) -> None:
    with pytest.raises((ValueError, TypeError), match="resource"):
        ProofType(
            name="x",
            title="X",
            version="1",
            parameters=object,
            result=object,
            resources=resources,  # type: ignore[arg-type]
        )


AMOUNTS = st.dictionaries(st.sampled_from(["gpu", "memory_mb"]), st.integers(1, 5))


@given(st.lists(AMOUNTS, max_size=12))
def test_no_more_is_taken_than_there_is_and_everybody_gets_his_turn(
    wanted: list[dict[str, int]],
) -> None:
    there = {"gpu": 5, "memory_mb": 5}

    async def run() -> None:
        pool, in_use = ResourcePool(there), {"gpu": 0, "memory_mb": 0}

        async def use(amounts: dict[str, int]) -> None:
            async with pool.taken(amounts):
                for name, amount in amounts.items():
                    in_use[name] += amount
                assert shortage(in_use, there) is None
                await asyncio.sleep(0)
                for name, amount in amounts.items():
                    in_use[name] -= amount

        tasks = [asyncio.create_task(use(amounts)) for amounts in wanted]
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(30), pool.taken(there):
            pass

    asyncio.run(run())

"""Seals in a worker: stopping returns them, others take them, an outage throws none away."""

from pathlib import Path
from typing import Any

import psutil
import pytest
from plugin_files import write_plugin
from waiting import answer_that, until
from worker_bench import LAB, Bench, open_bench

from prover_framework.errors import StoreError
from prover_framework.jobs.seals import StoredSealJob
from prover_framework.model.jobs import JobState
from prover_framework.model.seals import SealState
from prover_framework.plugins import loading
from prover_framework.plugins.registry import Plugins
from prover_framework.worker.timings import Timings

pytestmark = pytest.mark.usefixtures("lab_module")

WAX = """
import os, time
from pathlib import Path
from prover_framework import *
PROVER_API = 1
NOTES = Path({notes!r})

@hookimpl
def seal_type():
    return SealType(kind="wax", title="Wax")

@hookimpl
def make_seal():
    (NOTES / "making").write_text(str(os.getpid()))
    while not (NOTES / "go").exists():
        time.sleep(0.005)
    return {{"colour": "red"}}

@hookimpl
def check_seal():
    return Verdict(accepted=True, reason="it is red")
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The lab, and a seal that is made once the test lets it."""
    monkeypatch.syspath_prepend(tmp_path)
    wax = write_plugin(tmp_path, "wax", WAX.format(notes=str(tmp_path)))
    return loading.load([LAB, wax], strict=True)


async def seal_of(bench: Bench, group: str) -> StoredSealJob:
    (seal,) = await bench.jobs.seals.of_groups([group])
    return seal


async def reaches(bench: Bench, group: str, state: SealState) -> StoredSealJob:
    return await answer_that(lambda seal: seal.state is state, lambda: seal_of(bench, group))


async def test_a_worker_that_stops_returns_its_seal_and_one_without_the_kind_leaves_it(
    tmp_path: Path, plugins: Plugins
) -> None:
    async with open_bench(tmp_path, stop_seconds=0.0) as bench:
        async with bench.worker(plugins):
            await bench.submit("g")
            assert (await bench.ends("g")).state is JobState.SUCCEEDED
            await until((tmp_path / "making").exists)
        seal = await seal_of(bench, "g")
        assert (seal.state, seal.attempts, seal.error_code) == (SealState.QUEUED, 0, "stopped")
        (tmp_path / "go").touch()
        async with bench.worker():
            await bench.submit("h")
            await bench.ends("h")
            assert await bench.jobs.seals.of_groups(["h"]) == [], "nobody here has the kind"
            assert (await seal_of(bench, "g")).state is SealState.QUEUED
        async with bench.worker(plugins):
            made = await reaches(bench, "g", SealState.MADE)
        assert made.attempts == 1


async def test_a_worker_that_stops_lets_a_seal_be_finished_in_its_time(
    tmp_path: Path, plugins: Plugins
) -> None:
    async with open_bench(tmp_path) as bench:
        async with bench.worker(plugins):
            await bench.submit("g")
            await until((tmp_path / "making").exists)
            (tmp_path / "go").touch()
        assert (await seal_of(bench, "g")).state is SealState.MADE


async def test_a_seal_that_is_no_longer_wanted_from_a_worker_is_stopped(
    tmp_path: Path, plugins: Plugins
) -> None:
    async with open_bench(tmp_path, lease_seconds=1.0) as bench:
        async with bench.worker(plugins):
            await bench.submit("g")
            await until((tmp_path / "making").exists)
            process = psutil.Process(int((tmp_path / "making").read_text()))
            await bench.database.write("UPDATE seal_job SET lease_token = 'another', due_at = ?",
                                       [await bench.now_ms() + 3_600_000])  # fmt: skip
            await until(lambda: not process.is_running())
            (tmp_path / "go").touch()
        seal = await seal_of(bench, "g")
        assert (seal.state, seal.attempts) == (SealState.MAKING, 1), "it is another worker's"


async def test_what_was_made_is_not_thrown_away_because_the_database_starts_anew(
    tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    async with open_bench(tmp_path, timings=Timings(trouble_seconds=0.05)) as bench:
        made, troubles = bench.jobs.seals.made, [StoreError("it starts anew")] * 2

        async def troubled(*arguments: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await made(*arguments)

        monkeypatch.setattr(bench.jobs.seals, "made", troubled)
        async with bench.worker(plugins):
            await bench.submit("g")
            await bench.ends("g")
            seal = await reaches(bench, "g", SealState.MADE)
        assert (seal.attempts, seal.failures, troubles) == (1, 0, [])


async def test_a_worker_without_slots_for_seals_leaves_them(
    tmp_path: Path, plugins: Plugins
) -> None:
    (tmp_path / "go").touch()
    async with open_bench(tmp_path, seal_slots=0) as bench:
        async with bench.worker(plugins):
            await bench.submit("g")
            await bench.ends("g")
        assert (await seal_of(bench, "g")).state is SealState.QUEUED

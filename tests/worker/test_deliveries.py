"""Plugins are told of the end of each group, at least once, and delay nobody."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
from alert_rules import firing
from metric_pages import samples_of
from plugin_files import write_plugin
from prover_processes import Installation
from waiting import answer_that, gone, until, wait_until
from worker_bench import LAB, Bench, open_bench

from prover_framework.model.jobs import JobState
from prover_framework.plugins import loading as plugin_loading
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import dump_receipt, receipt_from
from prover_framework.worker.timings import Timings

TIMINGS = Timings(event_seconds=0.05, event_retry_seconds=0.01, trouble_seconds=0.05)

OBSERVER = """
import threading
from prover_framework import hookimpl

PROVER_API = 1
begun, told, failures, answer = [], [], [], None
gate = threading.Event()
gate.set()

@hookimpl
def group_ended(group):
    begun.append(group)
    gate.wait()
    if failures:
        raise failures.pop()
    told.append(group)
    return answer
"""


@attrs.frozen
class Told:
    """Plugins that are told, and their modules."""

    plugins: Plugins
    modules: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.modules[name]


@pytest.fixture
def observers(
    lab_module: None,  # noqa: ARG001 - the lab is to be found
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Told]:
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    candidates = [write_plugin(tmp_path / "plugins", name, OBSERVER) for name in ("one", "other")]
    plugins = plugin_loading.load([LAB, *candidates], strict=True)
    there = Told(plugins, {each.name: sys.modules[each.module] for each in candidates})
    yield there
    for module in there.modules.values():
        module.gate.set()


async def tries(bench: Bench) -> list[int]:
    rows = await bench.database.read("SELECT tries FROM delivery ORDER BY observer, number")
    return [row["tries"] for row in rows]


async def nothing_left(bench: Bench) -> None:
    await answer_that(lambda left: left == [], lambda: tries(bench))


async def test_each_observer_is_told_the_receipt(tmp_path: Path, observers: Told) -> None:
    async with open_bench(tmp_path, timings=TIMINGS) as bench, bench.worker(observers.plugins):
        await bench.submit("g")
        job = await bench.ends("g")
        await until(lambda: bool(observers["one"].told and observers["other"].told))
        await nothing_left(bench)
        receipt = await bench.runtime.receipts.of_group("g")
    (end,), (same,) = observers["one"].told, observers["other"].told
    assert end == same
    assert (end.event, end.group_id) == (1, "g")
    assert end.ended_at_ms >= (job.finished_at or 0)
    assert (end.state, end.states) == (JobState.SUCCEEDED, {"lab": JobState.SUCCEEDED})
    assert end.receipt == receipt
    assert dump_receipt(receipt_from(end.document)) == dump_receipt(receipt)


async def test_a_group_without_any_result_has_a_receipt_that_says_so(
    tmp_path: Path, observers: Told
) -> None:
    async with open_bench(tmp_path, timings=TIMINGS) as bench, bench.worker(observers.plugins):
        await bench.submit("g", "refuse")
        await until(lambda: bool(observers["one"].told))
    (end,) = observers["one"].told
    assert (end.state, end.receipt.receipts) == (JobState.FAILED, ())
    assert end.states == {"lab": JobState.FAILED}


async def test_what_is_cancelled_in_the_api_is_told_by_a_worker(
    tmp_path: Path, observers: Told
) -> None:
    async with open_bench(tmp_path, timings=TIMINGS) as bench:
        async with bench.worker(observers.plugins):
            await answer_that(
                lambda rows: len(rows) == 2, lambda: bench.database.read("SELECT * FROM observer")
            )
        await bench.submit("g")
        await bench.service.cancel("g")
        async with bench.worker(observers.plugins):
            await until(lambda: bool(observers["one"].told))
    assert observers["one"].told[0].state is JobState.CANCELLED


async def test_a_failure_is_tried_again_as_the_same_event(
    tmp_path: Path,
    observers: Told,
    caplog: pytest.LogCaptureFixture,
) -> None:
    observers["one"].failures[:] = [ValueError("not now"), SystemExit("nor now")]
    async with open_bench(tmp_path, timings=TIMINGS) as bench, bench.worker(observers.plugins):
        await bench.submit("g")
        await until(lambda: bool(observers["one"].told and observers["other"].told))
        await nothing_left(bench)
    assert [end.event for end in observers["one"].begun] == [1, 1, 1]
    assert len(observers["other"].begun) == 1
    (line, *_) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith("notifying the plugin one of ends of groups failed: plugin one: ")


async def test_a_hook_that_answers_what_it_must_not_is_tried_again(
    tmp_path: Path, observers: Told
) -> None:
    observers["one"].answer = False
    async with open_bench(tmp_path, timings=TIMINGS) as bench, bench.worker(observers.plugins):
        await bench.submit("g")
        await until(lambda: len(observers["one"].told) > 1)
        observers["one"].answer = None
        await nothing_left(bench)


async def test_what_cannot_be_told_for_days_is_given_up_in_the_log(
    tmp_path: Path,
    observers: Told,
    caplog: pytest.LogCaptureFixture,
) -> None:
    timings = attrs.evolve(TIMINGS, event_give_up_seconds=0.0)
    observers["one"].failures[:] = [ValueError("not now")]
    async with open_bench(tmp_path, timings=timings) as bench, bench.worker(observers.plugins):
        monitoring = bench.runtime.monitoring
        before = await samples_of(monitoring)
        await bench.submit("g")
        await until(lambda: bool(observers["one"].begun))
        await nothing_left(bench)
        assert "ProverEventsGivenUp" in firing(await samples_of(monitoring), before)
    assert observers["one"].told == []
    assert (
        "g: the plugin one is not notified of its end: given up after 1 tries: plugin one: "
        in caplog.text
    )


async def test_what_is_not_told_for_long_fires_an_alert(tmp_path: Path, observers: Told) -> None:
    observers["one"].gate.clear()
    async with open_bench(tmp_path, timings=TIMINGS) as bench, bench.worker(observers.plugins):
        await bench.submit("g")
        await until(lambda: bool(observers["one"].begun))
        monitoring = bench.runtime.monitoring
        assert "ProverEventsUndelivered" not in firing(await samples_of(monitoring))
        await bench.database.write("UPDATE delivery SET created_at = created_at - ?", [660_000])
        # What all processes share is looked at now and then.
        await answer_that(
            lambda now: "ProverEventsUndelivered" in firing(now), lambda: samples_of(monitoring)
        )
        observers["one"].gate.set()
        await nothing_left(bench)


async def test_an_observer_that_hangs_holds_its_delivery_and_delays_nobody(
    tmp_path: Path, observers: Told
) -> None:
    observers["one"].gate.clear()
    async with (
        open_bench(tmp_path, timings=TIMINGS, lease_seconds=1.0) as bench,
        bench.worker(observers.plugins),
        bench.worker(observers.plugins),
    ):
        for name in ("a", "b"):
            await bench.submit(name)
            await bench.ends(name)
        await until(lambda: len(observers["other"].told) == 2)
        # Longer than its lease: it is extended.
        rows = "SELECT due_at FROM delivery WHERE tries > 0 ORDER BY id LIMIT 1"
        (first,) = await bench.database.read(rows)
        await answer_that(
            lambda due: due[0]["due_at"] > first["due_at"] + 2000,
            lambda: bench.database.read(rows),
        )
        # The other worker tells it of the other group meanwhile, and of none twice.
        assert sorted(end.group_id for end in observers["one"].begun) == ["a", "b"]
        observers["one"].gate.set()
        await nothing_left(bench)
    assert len(observers["one"].told) == 2


async def test_a_worker_that_stops_waits_for_what_it_tells(tmp_path: Path, observers: Told) -> None:
    observers["one"].gate.clear()
    async with open_bench(tmp_path, timings=TIMINGS) as bench:
        async with bench.worker(observers.plugins) as worker:
            await bench.submit("g")
            await until(lambda: bool(observers["one"].begun))
            worker.stop()
            observers["one"].gate.set()
        assert await tries(bench) == []
    assert len(observers["one"].told) == 1


async def test_a_worker_that_stops_leaves_a_hook_that_hangs_to_others(
    tmp_path: Path, observers: Told
) -> None:
    observers["one"].gate.clear()
    timings = attrs.evolve(TIMINGS, release_seconds=0.05)
    async with open_bench(tmp_path, timings=timings) as bench:
        async with bench.worker(observers.plugins):
            await bench.submit("g")
            await until(lambda: bool(observers["one"].begun and observers["other"].told))
        assert await tries(bench) == [1]


async def test_an_end_that_is_undone_is_told_when_it_comes_again(
    tmp_path: Path, observers: Told
) -> None:
    async with open_bench(tmp_path, timings=TIMINGS) as bench:
        await bench.runtime.outbox.register(["one"])
        await bench.submit("g")
        await bench.service.cancel("g")
        await bench.jobs.redrive("g")
        plugins = attrs.evolve(
            observers.plugins,
            group_observers=tuple(
                each for each in observers.plugins.group_observers if each.candidate.name == "one"
            ),
        )
        async with bench.worker(plugins):
            await bench.ends("g")
            await until(lambda: bool(observers["one"].told))
            await nothing_left(bench)
    told = {end.event: end.state for end in observers["one"].told}
    assert told[2] is JobState.SUCCEEDED


NOTING = """
import json, os, time
from pathlib import Path

from prover_framework import hookimpl

PROVER_API = 1

@hookimpl
def group_ended(group):
    with Path("told.txt").open("a") as notes:
        notes.write(f"{os.getpid()} {group.event} {group.group_id} {group.state}\\n")
    while not Path("go").exists():
        time.sleep(0.01)
    Path("done").touch()
"""


def test_a_worker_that_is_killed_while_it_tells_leaves_it_to_another(tmp_path: Path) -> None:
    installation = Installation(
        tmp_path,
        {"prover_test_noting": NOTING},
        {
            "PROVER_LEASE_SECONDS": "1",
            "PROVER_SWEEP_SECONDS": "0.2",
            "PROVER_REQUIRED": "twap",
        },
    )
    told, end = tmp_path / "told.txt", 1_704_067_200
    installation.command("headers", "simulate", "--days", "2", "--end", str(end))
    installation.command(
        "submit",
        "--id=g",
        f"--twap.start_timestamp={end - 86_400}",
        f"--twap.end_timestamp={end}",
    )
    with installation.running("worker") as worker:
        wait_until(told.exists)
        children = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
        worker.wait()
    wait_until(lambda: all(gone(child.pid) for child in children))
    (tmp_path / "go").touch()
    with installation.running("worker"):
        wait_until((tmp_path / "done").exists)
    first, again = [line.split() for line in told.read_text().splitlines()]
    assert first[0] != again[0], "another process"
    assert first[1:] == again[1:] == ["1", "g", "succeeded"]

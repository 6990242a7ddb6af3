"""The bootstrap resumes where it was ended, and comes to the same digits from anywhere."""

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import prover_bootstrap as plugin
import pytest
from prover_bootstrap import engine

from prover_framework import TimeRange, Work
from prover_framework.model.jobs import JobState
from prover_framework.receipts.documents import dump_receipt
from prover_framework.testing import service_in_a_box, simulated_series
from prover_framework.testing.box import Box

FIRST = 1_696_291_200
HOUR = 3600
HOURS = 20 * 24
END = FIRST + HOURS * HOUR
RANGE = {"start_timestamp": FIRST, "end_timestamp": END}

TASK = engine.Task(seed="ab" * 32, fees_wei=list(range(1000, 1000 + HOURS)), samples=5_000)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with service_in_a_box(plugin, series=simulated_series(TimeRange(FIRST, END))) as box:
        yield box


def result(box: Box, group_id: str, **asked: Any) -> dict[str, Any]:
    group = box.submit({"job_group_id": group_id, "bootstrap": {**RANGE, **asked}})
    (job,) = group.jobs
    assert job.status is JobState.SUCCEEDED, job
    assert isinstance(job.result, dict)
    return job.result


def test_it_is_the_deviation_of_the_samples_means() -> None:
    means = [engine.sample(TASK, number) / HOURS for number in range(TASK.samples)]
    sums = plugin.run_engine(TASK, Work())
    assert sums.total == sum(engine.sample(TASK, number) for number in range(TASK.samples))
    square = sums.squares / TASK.samples / HOURS**2 - (sums.total / TASK.samples / HOURS) ** 2
    assert square**0.5 == pytest.approx(statistics.pstdev(means), rel=1e-6)


def test_it_goes_on_where_it_was_ended_by_sigterm(tmp_path: Path) -> None:
    whole = plugin.run_engine(TASK, Work())
    (tmp_path / "task.json").write_text(json.dumps(asdict(TASK)))
    command = [sys.executable, "-m", engine.__name__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "done 1000\n"
        run.send_signal(signal.SIGTERM)
    begun = engine.read(tmp_path).done
    assert run.returncode == 128 + signal.SIGTERM
    assert 1000 <= begun < TASK.samples
    told: list[float] = []
    again = plugin.run_engine(TASK, Work(tmp_path, lambda progress: told.append(progress.fraction)))
    assert again == whole
    assert all(fraction > begun / TASK.samples for fraction in told)


def test_its_receipt_is_verified_by_drawing_again(box: Box) -> None:
    found = result(box, "g", samples=1500)
    assert found["samples"] == 1500
    assert found["bootstrap"] > 0
    report = box.verify("g")
    assert report.accepted, report


@pytest.mark.parametrize("what", ["data", "result"])
def test_a_receipt_of_other_data_or_another_result_is_refused(box: Box, what: str) -> None:
    found = result(box, f"g-{what}", samples=1000)
    document = json.loads(dump_receipt(box.receipt(f"g-{what}")))
    statement = document["receipts"][0]["statement"]
    if what == "result":
        statement["result"]["bootstrap"] = found["bootstrap"] * 1.0001
    else:
        facts = statement["inputs"]["hourly_base_fee"]["facts"]
        facts["fees_hash"] = "0x" + "1" * 64
    report = box.verify_body(json.dumps(document).encode())
    assert not report.accepted

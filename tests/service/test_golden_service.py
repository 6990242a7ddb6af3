"""The whole service computes the golden values from real hours: file, HTTP, worker, result."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from math import floor, hypot
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any
from urllib.request import Request, urlopen

import pytest
from attrs import frozen

HOUR = 3600
ENTRY = [sys.executable, "-c", "from prover_framework.cli import main; main()"]
START_SECONDS = 60
FINISH_SECONDS = 100

Result = dict[str, Any]


@frozen
class Golden:
    """The expected values, and the hours they were computed from."""

    expected: dict[str, Any]
    hours: tuple[int, ...]
    means_wei: tuple[float, ...]

    def span(self, first: int, last: int) -> dict[str, int]:
        """Return the range of the hours from one index to another, both included."""
        return {
            "start_timestamp": self.hours[first],
            "end_timestamp": self.hours[last] + HOUR,
        }


@pytest.fixture(scope="module")
def golden() -> Golden:
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    with (Path(folder) / "mainnet_hourly_base_fee.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return Golden(
        json.loads((Path(folder) / "expected.json").read_text()),
        tuple(int(row["timestamp"]) for row in rows),
        tuple(float(row["base_fee_wei"]) for row in rows),
    )


class Service:
    """A running ``prover up`` and the way to ask it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def results(self, group_id: str, **spans: dict[str, int]) -> dict[str, Result]:
        """Submit a group, wait for its end, and return the results by proof type."""
        body = json.dumps({"job_group_id": group_id, **spans}).encode()
        request = Request(f"{self.url}/api/job", body, {"Content-Type": "application/json"})
        assert self._json(request) == {
            "status": "success",
            "message": "All jobs dispatched successfully",
            "job_group_id": group_id,
        }
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            group = self._json(Request(f"{self.url}/api/job/{group_id}"))
            if group["status"] in ("succeeded", "failed", "cancelled"):
                break
            time.sleep(0.1)
        assert group["status"] == "succeeded", group
        return {job["job_id"]: job["result"] for job in group["jobs"]}

    def _json(self, request: Request) -> Any:
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def service(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One header for each golden hour and one after the last, in a running service."""
    folder = tmp_path_factory.mktemp("golden")
    with (folder / "headers.csv").open("w") as file:
        file.write("number,timestamp,base_fee_per_gas\n")
        for number, (hour, mean) in enumerate(zip(golden.hours, golden.means_wei, strict=True)):
            file.write(f"{number},{hour},{floor(mean)}\n")
        file.write(f"{len(golden.hours)},{golden.hours[-1] + HOUR},{floor(golden.means_wei[-1])}\n")
    options: dict[str, Any] = {
        "cwd": folder,
        "env": _environment(PROVER_DATA_DIR=str(folder / "data"), PROVER_LOG_LEVEL="INFO"),
        "text": True,
    }
    imported = subprocess.run(
        [*ENTRY, "headers", "import", "headers.csv"], check=True, stdout=subprocess.PIPE, **options
    )
    assert imported.stdout.startswith("2185 headers read, 2185 of them new, 0 verified\n")
    with subprocess.Popen([*ENTRY, "up", "--port", "0"], stderr=subprocess.PIPE, **options) as up:
        assert up.stderr
        lines: Queue[str] = Queue()
        reader = Thread(target=_pass_on, args=(up.stderr, lines), daemon=True)
        reader.start()
        try:
            yield Service(_url_in(lines))
        finally:
            up.terminate()
            assert up.wait(30) == 0
            reader.join(10)


def _environment(**settings: str) -> dict[str, str]:
    own = ("PROVER_", "DATABASE_URL", "SQS_QUEUE_URL")
    return {k: v for k, v in os.environ.items() if not k.startswith(own)} | settings


def _pass_on(source: IO[str], lines: Queue[str]) -> None:
    # What is not read would fill the pipe and stop the service.
    for line in source:
        lines.put(line)


def _url_in(lines: Queue[str]) -> str:
    deadline = time.monotonic() + START_SECONDS
    seen: list[str] = []
    while time.monotonic() < deadline:
        try:
            seen.append(lines.get(timeout=0.5))
        except Empty:
            continue
        if found := re.search(r"http://[0-9.]+:[0-9]+", seen[-1]):
            return found[0]
    raise AssertionError("the service did not tell its address: " + "".join(seen))


@pytest.fixture(scope="module")
def all_hours(service: Service, golden: Golden) -> dict[str, Result]:
    span = golden.span(0, 2183)
    return service.results("all-hours", twap=span, reserve_price=span, max_return=span)


def test_twap_and_max_return_of_all_hours(all_hours: dict[str, Result], golden: Golden) -> None:
    # Fees are cut to whole wei on the way in, which moves them by up to one part in 10^9.
    expected = golden.expected
    assert all_hours["twap"]["twap"] == pytest.approx(expected["twap"]["hours 0..2183"], rel=1e-9)
    assert all_hours["max_return"]["max_return"] == pytest.approx(
        expected["max_return"]["hours 0..2183, window 720"], rel=1e-9
    )


def test_every_result_says_what_it_was_made_from(
    all_hours: dict[str, Result], golden: Golden
) -> None:
    assert all_hours.keys() == {"twap", "reserve_price", "max_return"}
    hashes = set()
    for result in all_hours.values():
        evidence = result["evidence"]
        assert evidence["simulated"] is False
        hours = evidence["inputs"]["hourly_base_fee"]
        facts, provenance = hours["facts"], hours["provenance"]
        assert hours["chain_id"] == 1
        assert facts["kind"] == "hourly"
        assert (facts["first_hour"], facts["last_hour"]) == (golden.hours[0], golden.hours[-1])
        assert facts["hours"] == provenance["blocks"] == 2184
        assert (provenance["first_block"], provenance["last_block"]) == (0, 2183)
        hashes.add(tuple(facts["fees_hash"]))
    assert len(hashes) == 1
    assert len({result["evidence"]["seed"] for result in all_hours.values()}) == 3


def test_trend_season_and_calibration(all_hours: dict[str, Result], golden: Golden) -> None:
    expected = golden.expected["reserve_price over hours 0..2183"]
    result = all_hours["reserve_price"]
    calibration = result["calibration"]
    found = {
        "trend slope per hour": result["trend_slope"],
        "trend intercept": result["trend_intercept"],
        "season parameters": result["season"],
        "strike (last 7-day mean)": result["strike"],
        "calibrated [a, phi, mu_j, sigma_sq, sigma_sq_j, lambda]": [
            calibration[name]
            for name in ("a", "phi", "mu_j", "sigma_sq", "sigma_sq_j", "jump_probability")
        ],
        "negative log likelihood": calibration["negative_log_likelihood"],
        "weekly volatility of log 7-day mean": result["weekly_volatility"],
    }
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-6), name
    assert max(map(abs, calibration["projected_gradient"])) <= 0.05


def test_the_reserve_price(all_hours: dict[str, Result], golden: Golden) -> None:
    expected = golden.expected["reserve_price over hours 0..2183"]
    (golden_error,) = (v for key, v in expected.items() if key.startswith("standard error"))
    result = all_hours["reserve_price"]
    price, error = result["reserve_price"], result["standard_error"]
    assert 0 < error <= 0.005 * price
    assert abs(price - expected["reserve price"]) <= 3 * hypot(error, golden_error)


def test_another_run_draws_the_same_digits(
    service: Service, golden: Golden, all_hours: dict[str, Result]
) -> None:
    # Seconds within the outer hours change nothing either.
    span = golden.span(0, 2183)
    span = {
        "start_timestamp": span["start_timestamp"] + 1,
        "end_timestamp": span["end_timestamp"] + 9,
    }
    again = service.results("again", twap=span, reserve_price=span, max_return=span)
    assert again == all_hours


def test_other_windows(service: Service, golden: Golden) -> None:
    late = service.results(
        "late",
        twap=golden.span(1464, 2183),
        reserve_price=golden.span(0, 719),
        max_return=golden.span(0, 1439) | {"window_hours": 240},
    )
    early = service.results(
        "early",
        twap=golden.span(0, 719),
        reserve_price=golden.span(0, 719),
        max_return=golden.span(0, 2159),
    )
    assert {
        "hours 1464..2183": late["twap"]["twap"],
        "hours 0..719": early["twap"]["twap"],
    } == pytest.approx(
        {name: golden.expected["twap"][name] for name in ("hours 1464..2183", "hours 0..719")},
        rel=1e-9,
    )
    assert {
        "hours 0..1439, window 240": late["max_return"]["max_return"],
        "hours 0..2159, window 720": early["max_return"]["max_return"],
    } == pytest.approx(
        {
            name: golden.expected["max_return"][name]
            for name in ("hours 0..1439, window 240", "hours 0..2159, window 720")
        },
        rel=1e-9,
    )
    assert late["reserve_price"] == early["reserve_price"]

"""The parts that plugins are tested with are the service's own, and behave like them."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from itertools import pairwise
from pathlib import Path

import attrs
import prover_twap
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework import EmptyRange, HourlySeries, RangeParameters, SeriesKind, TimeRange
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.sources.simulated import simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import PluginError, RequestError
from prover_framework.model.jobs import JobState
from prover_framework.testing import (
    ManualClock,
    headers_of,
    series_of,
    service_in_a_box,
    simulated_series,
)

HOUR = 3600
FIRST_HOUR = 1_704_067_200

hours = st.tuples(st.integers(0, 2**62), st.integers(1, HOUR))


def stored(directory: Path, series: HourlySeries) -> HourlySeries:
    """Return what a database says of a range, after it took in the headers of a series."""

    async def main() -> HourlySeries:
        async with Database(directory / "prover.sqlite3") as database:
            await database.migrate()
            store = HeaderStore(database)
            await store.import_headers(
                headers_of(series),
                ChainFacts(series.chain_id, simulated=series.simulated, source="a test"),
            )
            return (
                await store.series_and_blocks(TimeRange(series.first_hour, series.last_hour + HOUR))
            )[0]

    return asyncio.run(main())


@pytest.mark.parametrize(
    "made_of", [[(10**12 + 7, 100), (0, 1), (9, 7)], [(5, 1), (6, 1)], [(10**18, 3600)]]
)
def test_a_database_with_the_headers_of_a_series_gives_the_series(
    tmp_path: Path, made_of: list[tuple[int, int]]
) -> None:
    series = series_of(made_of, first_hour=FIRST_HOUR, first_block=17)
    assert stored(tmp_path, series) == series


@given(st.lists(hours, min_size=1, max_size=3))
def test_headers_of_a_series_have_its_sums_in_its_hours(made_of: list[tuple[int, int]]) -> None:
    series = series_of(made_of, first_hour=FIRST_HOUR)
    *headers, last = headers_of(series)
    assert last.timestamp == series.last_hour + HOUR
    assert all(a.timestamp < b.timestamp for a, b in pairwise([*headers, last]))
    for place, (total, count) in enumerate(made_of):
        hour = FIRST_HOUR + place * HOUR
        fees = [h.base_fee_wei for h in headers if hour <= h.timestamp < hour + HOUR]
        assert (sum(fees), len(fees)) == (total, count)


def test_an_hour_has_no_more_blocks_than_seconds() -> None:
    with pytest.raises(ValueError, match="an hour cannot have 3601 blocks"):
        list(headers_of(series_of([(1, 3601)])))


def test_a_simulated_series_is_that_of_the_simulated_chain() -> None:
    series = simulated_series(TimeRange(FIRST_HOUR + 5, FIRST_HOUR + 3 * HOUR + 5), seed=7)
    fees = [header.base_fee_wei for header in simulate(FIRST_HOUR, 3, seed=7)]
    assert series.sums_wei == tuple(sum(fees[i : i + 300]) for i in (0, 300, 600))
    assert (series.counts, series.first_hour) == ((300,) * 3, FIRST_HOUR)
    assert series.simulated
    assert series.kind is SeriesKind.BLOCKS
    with pytest.raises(EmptyRange):
        simulated_series(TimeRange(FIRST_HOUR, FIRST_HOUR + 1))


def test_a_box_proves_what_is_submitted_in_either_way() -> None:
    series = series_of([(5, 2), (7, 2)], first_hour=FIRST_HOUR)
    asked = RangeParameters(start_timestamp=FIRST_HOUR, end_timestamp=FIRST_HOUR + 2 * HOUR)
    with service_in_a_box(prover_twap, series=series) as box:
        group = box.prove("twap", asked)
        assert group.status is JobState.SUCCEEDED
        form = {"job_group_id": "mine", "twap": attrs.asdict(asked)}
        request = urllib.request.Request(
            f"{box.url}/api/job",
            json.dumps(form).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["status"] == "success"
        again = box.submit(form)
        assert again.job_group_id == "mine"
        for job in (*group.jobs, *again.jobs):
            assert isinstance(job.result, dict)
            assert job.result["twap"] == 3.0
        assert box.verify("mine").accepted


def test_a_job_that_has_no_result_says_why() -> None:
    with service_in_a_box(prover_twap, series=series_of([(5, 2)])) as box:
        (job,) = box.prove("twap", RangeParameters(start_timestamp=1, end_timestamp=2)).jobs
        assert (job.status, job.error and job.error["code"]) == (JobState.FAILED, "empty_range")
        with pytest.raises(RequestError, match="tvap': is not an installed proof type"):
            box.submit({"job_group_id": "g", "tvap": {}})
        # A box has the plugins that it was given and no others.
        with pytest.raises(RequestError, match=r"max_return.*is not .*installed: twap"):
            box.submit({"job_group_id": "g", "max_return": {}})


def test_what_is_no_plugin_makes_no_box() -> None:
    with (
        pytest.raises(PluginError, match=r"prover_framework\.model\.felt states none"),
        service_in_a_box(sys.modules["prover_framework.model.felt"], series=series_of([(1, 1)])),
    ):
        raise AssertionError("it should not have started")


def test_time_stands_still_until_the_test_lets_it_pass() -> None:
    clock = ManualClock()
    before = clock.ms
    assert clock.ms == before
    clock.advance(1.5)
    assert clock.ms == before + 1500


def test_a_service_needs_no_pytest() -> None:
    program = """
import sys
import prover_framework.cli, prover_framework.sandbox.child, prover_framework.queues.sqs.queue
print([name for name in ("pytest", "hypothesis") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"

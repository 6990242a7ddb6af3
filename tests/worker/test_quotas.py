"""A service that is full refuses further groups, and goes on with those that it has."""

from pathlib import Path

import pytest
from worker_bench import open_bench

from prover_framework.errors import GroupNotFound, TooManyOpenJobs
from prover_framework.jobs.room import KEEP_SECONDS, Room
from prover_framework.model.jobs import JobState

pytestmark = pytest.mark.usefixtures("lab_module")


async def test_a_full_service_refuses_new_groups_alone_until_jobs_have_ended(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path, max_open_jobs=1) as bench:
        seconds = [0.0]
        bench.service._room = Room(bench.jobs, 1, lambda: seconds[0])
        await bench.submit("a")
        with pytest.raises(TooManyOpenJobs, match="PROVER_MAX_OPEN_JOBS"):
            await bench.submit("b")
        with pytest.raises(GroupNotFound):
            await bench.job("b")
        # The same request again is answered.
        await bench.submit("a")
        async with bench.worker():
            assert (await bench.ends("a")).state is JobState.SUCCEEDED
        seconds[0] += KEEP_SECONDS
        await bench.submit("b")

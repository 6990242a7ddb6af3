"""However many ask for the page of metrics, it is written now and then, and after they asked."""

import asyncio
from typing import cast

from prometheus_client.parser import text_string_to_metric_families

from prover_framework.database.database import Database
from prover_framework.metrics import Metrics
from prover_framework.monitoring.readiness import ReadinessChecks
from prover_framework.monitoring.sampling import Sample, Sampler
from prover_framework.monitoring.service import Monitoring

MANY = 50


class _Sampler(Sampler):
    def __init__(self) -> None:
        self.count = 0
        self.release = asyncio.Event()

    async def sample(self) -> Sample:
        self.count += 1
        await self.release.wait()
        return Sample()


class _Database(Database):
    def __init__(self) -> None:
        pass

    def use(self) -> tuple[()]:
        return ()


def monitoring() -> tuple[Monitoring, _Sampler]:
    sampler = _Sampler()
    made = Monitoring(Metrics(), sampler, cast(ReadinessChecks, object()), _Database())
    return made, sampler


def requests_in(page: bytes) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == "prover_http_request_seconds_count"
    )


async def test_all_who_wait_get_one_page() -> None:
    made, sampler = monitoring()
    asked = [asyncio.create_task(made.page()) for _ in range(MANY)]
    await asyncio.sleep(0)
    gone, *others = asked
    gone.cancel()
    sampler.release.set()
    pages = await asyncio.gather(*others)
    assert len(set(map(id, pages))) == sampler.count == 1
    assert gone.cancelled()


async def test_a_page_has_all_that_was_counted_before_it_was_asked_for() -> None:
    made, sampler = monitoring()
    sampler.release.set()
    for counted in range(1, 4):
        made.metrics.requests.labels("api/job", "GET", 200).observe(0.1)
        assert requests_in(await made.page()) == counted


async def test_a_page_that_cannot_be_written_is_not_the_end_of_them() -> None:
    made, sampler = monitoring()
    asked = asyncio.create_task(made.page())
    await asyncio.sleep(0)
    (writing,) = (t for t in asyncio.all_tasks() if t not in (asked, asyncio.current_task()))
    writing.cancel()
    await asyncio.wait({asked})
    assert asked.cancelled()
    sampler.release.set()
    assert await made.page()

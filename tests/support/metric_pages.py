"""Pages of metrics, read as Prometheus's own parser reads them."""

from collections.abc import Mapping
from typing import TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families
from waiting import PATIENCE_SECONDS

from prover_framework.monitoring.service import Monitored

Labels: TypeAlias = tuple[tuple[str, str], ...]
Samples: TypeAlias = Mapping[tuple[str, Labels], float]


def read(page: str) -> Samples:
    """Read a page of metrics: name and labels, and the value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def scrape(url: str) -> Samples:
    """Read the page of metrics of a running process."""
    answer = httpx.get(f"{url}/metrics", timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return read(answer.text)


async def samples_of(monitoring: Monitored) -> Samples:
    """Read the page of metrics of a service in this process."""
    return read((await monitoring.page()).decode())


def total(samples: Samples, name: str) -> float:
    """Return the sum of all series of a metric."""
    return sum(value for (each, _), value in samples.items() if each == name)

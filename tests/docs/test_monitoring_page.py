"""The reference of monitoring lists every metric and every check, and no other."""

import re
from collections.abc import Iterator
from typing import cast

from page_session import ROOT
from prometheus_client.core import Metric

from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.store import RecentHeaders
from prover_framework.database.database import Database
from prover_framework.jobs.outbox import Undelivered
from prover_framework.metrics import Metrics
from prover_framework.model.jobs import JobState
from prover_framework.monitoring.exposition import families
from prover_framework.monitoring.readiness import ReadinessChecks
from prover_framework.monitoring.sampling import OpenJobs, Sample, Sampler
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import QueueStatus
from prover_framework.seals.keys import KeyDirectory
from prover_framework.seals.making import SignatureMaker
from prover_framework.settings import Settings

PAGE = (ROOT / "docs" / "reference" / "monitoring.md").read_text()

EVERYTHING = Sample(
    at=1.0,
    jobs=(OpenJobs("twap", JobState.QUEUED, 1, 0, 0, 0),),
    undelivered=(Undelivered("webhook", 1, 0),),
    headers=RecentHeaders(
        chain=ChainFacts(1, simulated=True, source="test"),
        count=1,
        verified=1,
        missing_blocks=0,
        newest_block=1,
        newest_timestamp=0,
    ),
    queues={"default": QueueStatus(visible=0, in_flight=0, delayed=0, dead_letters=0)},
)


def rows() -> Iterator[str]:
    own = (m for m in Metrics().registry.collect() if m.name.startswith("prover_"))
    yield from (_row(metric, "") for metric in own)
    yield from (_row(metric, "shared: ") for metric in families(EVERYTHING))


def _row(metric: Metric, mark: str) -> str:
    suffix = "_total" if metric.type == "counter" else ""
    names = getattr(metric, "_labelnames", None) or ()
    what = metric.documentation
    return f"| `{metric.name}{suffix}` | {' '.join(f'`{name}`' for name in names)} | {mark}{what} |"


def listed() -> list[str]:
    table = PAGE.partition("## Metrics")[2].partition("\n## ")[0]
    return re.findall(r"^\| `prover_.*$", table, re.MULTILINE)


def test_every_metric_is_in_the_reference_and_no_other() -> None:
    without_labels = [re.sub(r" \|[^|]*\| ", " | ", row, count=1) for row in listed()]
    expected = [re.sub(r" \|[^|]*\| ", " | ", row, count=1) for row in rows()]
    assert without_labels == expected


async def test_every_check_is_in_the_reference_and_no_other() -> None:
    sampler = _Sampler()
    checks_of = ReadinessChecks(
        Settings(),
        cast(Database, object()),
        sampler,
        Plugins(found=(), hooks={}),
        SignatureMaker(KeyDirectory(Settings().key_path)),
    )
    checks = [check.name for check in (await checks_of.look()).checks]
    table = PAGE.partition("## Readiness")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == checks


def test_alerts_are_about_metrics_that_exist() -> None:
    alerts = PAGE.partition("## What to alert on")[2]
    known = {re.findall(r"`(\w+)`", row)[0] for row in listed()}
    assert set(re.findall(r"prover_\w+", alerts)) <= known


class _Sampler(Sampler):
    def __init__(self) -> None: ...

    async def sample(self) -> Sample:
        return Sample(problems={"database": "away"})

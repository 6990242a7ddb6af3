"""The reference of monitoring lists every metric and every check, and no other."""

import re
from collections.abc import Iterator
from typing import cast

from known_metrics import counted, shared, synced
from page_session import ROOT
from prometheus_client.core import Metric

from prover_framework.database.database import Database
from prover_framework.monitoring.readiness import ReadinessChecks
from prover_framework.monitoring.sampling import Sample, Sampler
from prover_framework.plugins.registry import Plugins
from prover_framework.seals.keys import KeyDirectory
from prover_framework.seals.making import SignatureMaker
from prover_framework.settings import Settings

PAGE = (ROOT / "docs" / "reference" / "monitoring.md").read_text()


def rows() -> Iterator[str]:
    for mark, metrics in (("", counted()), ("sync: ", synced()), ("shared: ", shared())):
        for metric, labels in metrics:
            yield _row(metric, labels, mark)


def _row(metric: Metric, labels: tuple[str, ...], mark: str) -> str:
    suffix = "_total" if metric.type == "counter" else ""
    told = " ".join(f"`{name}`" for name in labels)
    return f"| `{metric.name}{suffix}` | {told} | {mark}{metric.documentation} |"


def listed() -> list[str]:
    table = PAGE.partition("## Metrics")[2].partition("\n## ")[0]
    return re.findall(r"^\| `prover_.*$", table, re.MULTILINE)


def test_every_metric_is_in_the_reference_and_no_other() -> None:
    assert listed() == list(rows())


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


class _Sampler(Sampler):
    def __init__(self) -> None: ...

    async def sample(self) -> Sample:
        return Sample(problems={"database": "away"})

"""Charts of results: asked of the plugin when somebody looks first, and kept for those after."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from attrs import frozen

from prover_framework.errors import (
    ComputeError,
    DataNotYet,
    PluginError,
    ProofError,
    ReceiptMissing,
    RequestError,
    SettingsError,
    StoreError,
)
from prover_framework.jobs.records import StoredJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.charts import Axis, Chart, Curve, GroupCharts, JobCharts, Unit
from prover_framework.model.names import group_id_of, namespace_of
from prover_framework.model.series import HOUR_SECONDS, HourlySeries
from prover_framework.proofs.parameters import with_range
from prover_framework.proofs.proving import Proving
from prover_framework.receipts.documents import read_content
from prover_framework.sandbox import calls
from prover_framework.sandbox.hooks import GivenData, type_path
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import structure
from prover_framework.text import quote

T = TypeVar("T")

log = logging.getLogger(__name__)

# Jobs whose charts are kept in memory, each of some hundred kilobytes.
KEPT_JOBS = 64

# Jobs whose charts may be asked for and not be there yet; each waits for its turn.
MAX_UNDER_WAY = 32

# How long who asks for the charts of a group waits for them at the most: less than clients, and
# what stands between, wait for an answer.
WAIT_SECONDS = 45.0

# How long a failure stands before the next who looks has it tried again.
FAILED_SECONDS = 60.0


@frozen
class Drawn:
    """The charts of a result.

    Args:
        charts: Those that its plugin describes, or the hourly series that it was made from.
        failure: Why there are none; None where there are, or where there is nothing to draw.
    """

    charts: tuple[Chart, ...] = ()
    failure: str | None = None

    def named(self, name: str) -> Chart:
        """Return the chart of a name.

        Raises:
            ReceiptMissing: There is none, and what there is instead.
        """
        for chart in self.charts:
            if chart.name == name:
                return chart
        there = ", ".join(chart.name for chart in self.charts) or self.failure or "none"
        raise ReceiptMissing(f"there is no chart {quote(name)} of this result (there are: {there})")


class ChartService:
    """Has charts described by plugins, one after the other, in a process that can be ended.

    A result is stored once and does not change, nor do the plugins of a process, so what was
    described once is kept; how much of it is bounded.

    Args:
        jobs: Where the results are.
        proving: Makes what loads the data that they were made from; called when it is needed, since
            it needs the settings of plugins, which a process that only takes requests may not have.
        trace: Whether each call of a hook is logged.
    """

    def __init__(
        self, jobs: JobStore, proving: Callable[[], Proving], *, trace: bool = False
    ) -> None:
        self._jobs = jobs
        self._make_proving = proving
        self._slot = Slot(trace=trace)
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[str, Drawn] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, Drawn]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Drawn]] = {}

    async def close(self) -> None:
        """End what is under way, and the process."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._slot.kill()

    async def of_group(self, group_id: str, *, wait_seconds: float) -> Mapping[str, Drawn]:
        """Return the charts of a group's results by the ids of its jobs.

        Those that are not described within the time are on their way, and missing.

        Raises:
            GroupNotFound: There is no such group.
        """
        jobs = [job for job in await self._jobs.group(group_id) if job.receipt is not None]
        found = {job.name: drawn for job in jobs if (drawn := self._known(job)) is not None}
        asked = {
            task: job.name
            for job in jobs
            if job.name not in found and (task := self._begin(job)) is not None
        }
        if asked:
            done, _ = await asyncio.wait(asked, timeout=wait_seconds)
            found |= {asked[task]: task.result() for task in done if not task.cancelled()}
        return found

    async def document(self, group_id: str, *, wait_seconds: float = WAIT_SECONDS) -> GroupCharts:
        """Return the charts of a group's results, for whoever draws them elsewhere.

        Args:
            group_id: What the group is stored under.
            wait_seconds: How long to wait for those that nobody has looked at yet.

        Raises:
            GroupNotFound: There is no such group.
        """
        found = await self.of_group(group_id, wait_seconds=wait_seconds)
        jobs = [job.name for job in await self._jobs.group(group_id) if job.receipt is not None]
        later = Drawn(failure="the charts are being described; ask again soon")
        return GroupCharts(
            job_group_id=group_id_of(group_id),
            namespace=namespace_of(group_id),
            jobs=tuple(
                JobCharts(job_id=name, charts=drawn.charts, failure=drawn.failure)
                for name in jobs
                for drawn in (found.get(name, later),)
            ),
        )

    async def of_job(self, group_id: str, job_id: str) -> Drawn:
        """Return the charts of one result.

        Raises:
            GroupNotFound: There is no such group.
            ReceiptMissing: It has no such job, or that has no result.
        """
        jobs = await self._jobs.group(group_id)
        job = next((job for job in jobs if job.name == job_id), None)
        if job is None or job.receipt is None:
            raise ReceiptMissing(f"job group {group_id} has no result of {quote(job_id)}")
        if (known := self._known(job)) is not None:
            return known
        task = self._begin(job)
        if task is None:
            return Drawn(failure="as many charts are being described as may; look again soon")
        # Who gives up waiting leaves it to others.
        return await asyncio.shield(task)

    def _known(self, job: StoredJob) -> Drawn | None:
        if (kept := self._kept.get(job.id)) is not None:
            self._kept.move_to_end(job.id)
            return kept
        until, failed = self._failed.get(job.id, (0.0, None))
        return failed if asyncio.get_running_loop().time() < until else None

    def _begin(self, job: StoredJob) -> asyncio.Task[Drawn] | None:
        task = self._under_way.get(job.id)
        if task is None and len(self._under_way) < MAX_UNDER_WAY:
            task = self._under_way[job.id] = asyncio.create_task(self._describe(job))
            task.add_done_callback(lambda _: self._under_way.pop(job.id, None))
        return task

    async def _describe(self, job: StoredJob) -> Drawn:
        try:
            async with self._turn:
                drawn = Drawn(await self._ask(job))
        except (
            ProofError,
            ComputeError,
            DataNotYet,
            PluginError,
            RequestError,
            SettingsError,
            StoreError,
            OSError,
        ) as error:
            log.warning("%s %s: no charts: %s", job.group_id, job.name, error)
            drawn = Drawn(failure=str(error))
            until = asyncio.get_running_loop().time() + FAILED_SECONDS
            _keep(self._failed, job.id, (until, drawn))
            return drawn
        _keep(self._kept, job.id, drawn)
        return drawn

    @cached_property
    def _proving(self) -> Proving:
        return self._make_proving()

    async def _ask(self, job: StoredJob) -> tuple[Chart, ...]:
        read = self._proving.read(job)
        receipt = read_content(job.receipt or "", ())
        needs = await self._proving.needs(self._slot, read)
        inputs = await self._proving.data_of(read, needs, receipt)
        described = await calls.charts(
            self._slot,
            read.hooks,
            read.limits.memory_bytes,
            parameters=with_range(read.parameters, read.hours),
            inputs=inputs,
            seed=bytes.fromhex(receipt.statement.seed),
            result=receipt.statement.result,
            settings=self._proving.settings_of(read),
        )
        return described or tuple(_series_charts(inputs))


def _keep(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT_JOBS:
        kept.popitem(last=False)


def _series_charts(inputs: Mapping[str, GivenData]) -> Sequence[Chart]:
    """Describe the hourly series that a result was made from, where its plugin describes none."""
    wanted = type_path(HourlySeries)
    charts = []
    for name, given in inputs.items():
        if given.data_type == wanted:
            series = structure(given.form, HourlySeries)
            hours = range(series.first_hour, series.last_hour + 1, HOUR_SECONDS)
            charts.append(
                Chart(
                    name=name,
                    title="Hourly base fee that the result was made from",
                    x=Axis(title="Hour", unit=Unit.TIME),
                    y=Axis(title="Base fee", unit=Unit.WEI),
                    curves=(
                        Curve(
                            name="Mean of the hour",
                            x=tuple(map(float, hours)),
                            y=tuple(series.means_wei()),
                        ),
                    ),
                )
            )
    return charts

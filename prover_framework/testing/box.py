"""A service in a box: API, worker, queue and database, all real, in a directory of a test."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from prover_framework.app import Runtime, make_worker, open_runtime
from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.model.charts import GroupCharts
from prover_framework.model.jobs import FINAL
from prover_framework.model.names import DEFAULT_NAMESPACE, GROUP_ID_KEY, group_key
from prover_framework.model.receipts import GroupReceipt, Receipt
from prover_framework.model.resources import Resources
from prover_framework.model.series import HourlySeries
from prover_framework.model.views import GroupView
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import dump_receipt
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.settings import Settings
from prover_framework.testing.series import TEST_CHAIN_ID, headers_of
from prover_framework.verification.checks import Report
from prover_framework.verification.service import read_report
from prover_framework.verification.sources import open_source, verify_with
from prover_framework.verification.verifier import Verifier
from prover_framework.web.server import serve

T = TypeVar("T")

# Longer than a service takes to start or stop on the busiest machine.
START_SECONDS = 60.0

# Longer than any job of a test should take; one that takes longer has failed.
PATIENCE_SECONDS = 300.0

LOOK_AGAIN_SECONDS = 0.01

# A box serves one test: what it computes is computed one after the other.
SETTINGS = Settings(port=0, worker_slots=1, sweep_seconds=0.2, retry_seconds=0.05)


@frozen
class Box:
    """A running service with a few plugins.

    Args:
        url: Where its API answers, such as ``http://127.0.0.1:40123``.
    """

    url: str
    _runtime: Runtime
    _loop: asyncio.AbstractEventLoop
    _context: Context
    _numbers: "count[int]" = field(factory=count)

    def submit(self, document: Mapping[str, Any]) -> GroupView:
        """Submit the body of a ``POST /api/job`` and wait until all its jobs have ended.

        Raises:
            RequestError: The service refuses it.
            TimeoutError: Some job did not end within `PATIENCE_SECONDS`.
        """
        return self._call(self._submit(dump_json(dict(document)).encode()))

    def prove(self, name: str, parameters: object) -> GroupView:
        """Submit one proof under a group id of its own and wait until it has ended.

        Args:
            name: Name of the proof type.
            parameters: An instance of its parameter class.

        Raises:
            RequestError: The service refuses it.
            TimeoutError: The job did not end within `PATIENCE_SECONDS`.
        """
        group_id = f"box-{next(self._numbers)}"
        return self.submit({GROUP_ID_KEY: group_id, name: unstructure(parameters)})

    def verify(self, group_id: str) -> Report:
        """Check the receipt of a group with what the service has."""
        return self._call(self._verify(group_id))

    def verify_body(self, body: bytes) -> Report:
        """Check any receipt, as it was sent, with what the service has."""
        return self._call(self._verify_body(body))

    def sealed(self, group_id: str) -> GroupView:
        """Wait until no seal of a group is to be made any more; return the group.

        Raises:
            GroupNotFound: There is no such group.
            TimeoutError: Some seal did not come to an end within `PATIENCE_SECONDS`.
        """
        return self._call(self._sealed(group_id))

    def verify_with(self, body: bytes, attachments: Mapping[str, Path]) -> Report:
        """Check any receipt as ``prover verify`` does that is given files of its attachments.

        Args:
            body: The receipt, as it was sent.
            attachments: The files by the names of attachments, or ``JOB_ID/NAME``.
        """
        return self._call(self._verify_with(body, attachments))

    def attachment(self, group_id: str, job_id: str, name: str) -> bytes:
        """Return what is attached to the result of a job, under a name.

        Raises:
            ReceiptMissing: There is no such attachment.
        """
        return self._call(self._attachment(group_id, job_id, name))

    def notified(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until plugins have been notified of the ends of all groups that have ended so far.

        Raises:
            TimeoutError: One was not within these seconds.
        """
        self._call(self._notified(seconds))

    def receipt(self, group_id: str) -> GroupReceipt:
        """Return the receipt of a group, with those of its proofs."""
        return self._call(self._runtime.receipts.of_group(group_id))

    def receipt_of(self, group_id: str, job_id: str) -> Receipt:
        """Return the receipt of one proof of a group, with those that it rests on."""
        return self._call(self._runtime.receipts.of_proof(group_id, job_id))

    def charts(self, group_id: str) -> GroupCharts:
        """Return what illustrates the results of a group, as their plugins describe it."""
        return self._call(self._runtime.charts.document(group_key(DEFAULT_NAMESPACE, group_id)))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        # The ORM finds its database through the context in which the service runs.
        call = self._context.copy().run(asyncio.run_coroutine_threadsafe, work, self._loop)
        return call.result()

    async def _submit(self, body: bytes) -> GroupView:
        service = self._runtime.service
        request = service.parse(body)
        await service.submit(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The end of a job is noted in the database, which tells nobody.
            while (group := await service.status(request.group_id)).status not in FINAL:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return group

    async def _sealed(self, group_id: str) -> GroupView:
        # That of the group, with its seals queued.
        await self._runtime.receipts.of_group(group_id)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (group := await self._runtime.service.status(group_id)).has_open_seals:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return group

    async def _notified(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while await self._runtime.outbox.undelivered():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _verify(self, group_id: str) -> Report:
        receipt = await self._runtime.receipts.of_group(group_id)
        return await self._verify_body(dump_receipt(receipt))

    async def _verify_with(self, body: bytes, attachments: Mapping[str, Path]) -> Report:
        settings, plugins = self._runtime.settings, self._runtime.plugins
        verifier = Verifier(
            settings=settings, plugins=plugins, headers=None, attachments=attachments
        )
        async with open_source(settings, "this service's database") as source:
            return await verify_with(source, verifier, body)

    async def _attachment(self, group_id: str, job_id: str, name: str) -> bytes:
        found = await self._runtime.receipts.attachment(group_id, job_id, name)
        return b"".join([chunk async for chunk in found.chunks])

    async def _verify_body(self, body: bytes) -> Report:
        return read_report(await self._runtime.verification.verify(body))


@contextmanager
def service_in_a_box(
    *plugins: ModuleType,
    series: HourlySeries | None = None,
    headers: Iterable[Header | EncodedHeader] = (),
    settings: Settings = SETTINGS,
) -> Iterator[Box]:
    """Run a service with some plugins over the given data, for as long as the body takes.

    All its parts are those of an installed service: SQLite and the queue in it, in a temporary
    directory; a worker with a compute process; the API on a free port of this machine.

    Args:
        plugins: The plugins' modules; they need not be installed.
        series: The hours that its database holds, if any.
        headers: The headers that it holds in place of hours, of a simulated chain.
        settings: Settings of the service; its data directory is always the box's own.

    Raises:
        PluginError: A plugin cannot be used.
    """
    loaded = load(
        [Candidate(m.__name__, m.__name__, m.__name__, "in a box") for m in plugins], strict=True
    )
    with box_of(loaded, series=series, headers=headers, settings=settings) as box:
        yield box


@contextmanager
def box_of(
    loaded: Plugins,
    *,
    series: HourlySeries | None = None,
    headers: Iterable[Header | EncodedHeader] = (),
    settings: Settings = SETTINGS,
) -> Iterator[Box]:
    """Run a service like `service_in_a_box` with plugins that are loaded already."""
    started: Future[_Started] = Future()

    async def run(directory: str) -> None:
        chosen = attrs.evolve(
            settings, data_dir=Path(directory), worker_resources=_enough_for(loaded)
        )
        async with open_runtime(chosen, loaded) as runtime:
            if series is None:
                facts = ChainFacts(TEST_CHAIN_ID, simulated=True, source="a test")
                await runtime.headers.import_headers(headers, facts)
            else:
                facts = ChainFacts(series.chain_id, simulated=series.simulated, source="a test")
                await runtime.headers.import_headers(headers_of(series), facts)
            await _serve(runtime, started)

    def tell(ended: "Future[None]") -> None:
        if not started.done() and (error := ended.exception()):
            started.set_exception(error)

    with TemporaryDirectory(prefix="prover-box-") as directory, ThreadPoolExecutor(1) as thread:
        ended = thread.submit(lambda: asyncio.run(run(directory)))
        ended.add_done_callback(tell)
        running = started.result(START_SECONDS)
        try:
            yield running.box
        finally:
            running.stop()
            ended.result(START_SECONDS)


def _enough_for(plugins: Plugins) -> Resources:
    """Return as much of each resource as one computation of any proof type needs."""
    enough: dict[str, int] = {}
    for proof_type in plugins.proof_types.values():
        for name, amount in proof_type.resources.items():
            enough[name] = max(amount, enough.get(name, 0))
    return enough


@frozen
class _Started:
    box: Box
    stop: Callable[[], object]


async def _serve(runtime: Runtime, started: "Future[_Started]") -> None:
    loop, context, stopping = asyncio.get_running_loop(), copy_context(), asyncio.Event()
    worker = make_worker(runtime)

    def stop() -> None:
        worker.stop()
        stopping.set()

    def tell(url: str) -> None:
        started.set_result(
            _Started(Box(url, runtime, loop, context), lambda: loop.call_soon_threadsafe(stop))
        )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.run())
        host, port = runtime.settings.host, runtime.settings.port
        tasks.create_task(
            serve(
                runtime.service,
                host,
                port,
                stopping,
                tell,
                receipts=runtime.receipts,
                callers=runtime.callers,
                verification=runtime.verification,
                monitoring=runtime.monitoring,
                charts=runtime.charts,
                feed=runtime.feed,
            )
        )

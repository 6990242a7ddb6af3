"""One trace leads from a request through API, queue, worker and computation to the receipt."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import attrs
import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqs_contract import new_queue, use_emulator
from sqs_server import SqsEmulator
from waiting import PATIENCE_SECONDS

from prover_framework.app import Runtime, make_worker, open_runtime
from prover_framework.chain.ingest import ChainFacts
from prover_framework.errors import SettingsError
from prover_framework.jobs.messages import JobMessage, dump_message, parse_message
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.queues.sqs.client import open_client
from prover_framework.settings import Settings
from prover_framework.testing import series_of, stand_in
from prover_framework.testing.series import headers_of
from prover_framework.tracing import (
    NO_TRACING,
    TRACEPARENT,
    OpenTelemetry,
    SpanKind,
    open_tracing,
)
from prover_framework.web.server import serve

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"

# What each span is a part of.
PARENTS = {
    "POST /api/job": None,
    "submit": "POST /api/job",
    "validate": "submit",
    "store": "submit",
    "job": "submit",
    "slot": "job",
    "inputs": "job",
    "compute": "job",
    "receipt": "job",
    "settle": "job",
}


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exported: InMemorySpanExporter) -> Iterator[OpenTelemetry]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    yield OpenTelemetry(provider)
    provider.shutdown()


@asynccontextmanager
async def service(settings: Settings, tracing: OpenTelemetry) -> AsyncIterator[str]:
    """Run API and worker, which know of each other by database and queue alone."""
    plugins = load([Candidate(stand_in.__name__, stand_in.__name__, "stand-in", "a test")])
    async with open_runtime(settings, plugins, tracing=tracing) as runtime:
        series = series_of([(10, 2)] * 2)
        facts = ChainFacts(series.chain_id, simulated=True, source="a test")
        await runtime.headers.import_headers(headers_of(series), facts)
        worker = make_worker(runtime)
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            tasks.create_task(_serve(runtime, stopping, url))
            try:
                yield await url
            finally:
                worker.stop()
                stopping.set()


async def _serve(runtime: Runtime, stopping: asyncio.Event, url: "asyncio.Future[str]") -> None:
    await serve(
        runtime.service,
        "127.0.0.1",
        0,
        stopping,
        url.set_result,
        receipts=runtime.receipts,
        callers=runtime.callers,
        verification=runtime.verification,
        monitoring=runtime.monitoring,
        feed=runtime.feed,
    )


async def ask(url: str, group_id: str, headers: dict[str, str]) -> None:
    hours = {"start_timestamp": 0, "end_timestamp": 7200}
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
        body = {"job_group_id": group_id, stand_in.NAME: hours}
        (await client.post("/api/job", json=body, headers=headers)).raise_for_status()
        answer = await client.get(f"/api/job/{group_id}", params={"wait": 30})
        assert answer.json()["status"] == "succeeded", answer.text


def parents(spans: Sequence[ReadableSpan]) -> dict[str, str | None]:
    """Return for each span the name of the one that it is a part of."""
    names = {span.context.span_id: span.name for span in spans}
    return {
        span.name: None if span.parent is None else names.get(span.parent.span_id) for span in spans
    }


@pytest.mark.parametrize("queue", ["table", "sqs"])
async def test_one_trace_leads_from_the_request_to_the_receipt(
    queue: str,
    tmp_path: Path,
    exported: InMemorySpanExporter,
    tracing: OpenTelemetry,
    moto: SqsEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(data_dir=tmp_path, worker_slots=1)
    if queue == "sqs":
        use_emulator(moto, monkeypatch)
        async with open_client(connections=2) as client:
            queue_url, _ = await new_queue(client)
        settings = attrs.evolve(settings, sqs_queue_url=queue_url)
    async with service(settings, tracing) as url:
        await ask(url, "traced", {TRACEPARENT: CALLER})
        # One that is none begins a trace of its own.
        await ask(url, "other", {TRACEPARENT: "nonsense"})
    spans = exported.get_finished_spans()
    traced = [span for span in spans if format(span.context.trace_id, "032x") == TRACE]
    expected = {**PARENTS, **({"send": "submit"} if queue == "sqs" else {})}
    assert parents(traced) == expected
    by_name = {span.name: span for span in traced}
    assert by_name["POST /api/job"].parent is not None
    assert format(by_name["POST /api/job"].parent.span_id, "016x") == CALLER.split("-")[2]
    assert by_name["POST /api/job"].attributes == {
        "prover.group": "traced",
        "http.response.status_code": 200,
    }
    about = dict(by_name["job"].attributes or {})
    assert about.pop("prover.worker")
    assert about == {
        "prover.group": "traced",
        "prover.job": stand_in.NAME,
        "prover.attempt": 1,
        "prover.outcome": "succeeded",
    }
    others = {span.context.trace_id for span in spans if span not in traced}
    assert len(others) == 1


def test_the_documentation_names_each_span() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/monitoring.md").read_text()
    _, _, section = page.partition("## Traces")
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    # The receipt of a group is made by itself only where a plugin composes.
    assert sorted(rows) == sorted([*PARENTS, "send", "group receipt"])


def test_a_message_has_the_span_that_its_job_was_asked_for_in() -> None:
    message = JobMessage(job_id="twap", job_group_id="g", id="1", traceparent=CALLER)
    assert parse_message(dump_message(message)) == message
    assert TRACEPARENT not in dump_message(JobMessage(job_id="twap", job_group_id="g", id="1"))


async def test_nobody_who_does_not_ask_has_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)
    async with open_tracing(wanted=False) as tracing:
        assert tracing is NO_TRACING
        with tracing.span("job", SpanKind.CONSUMER, parent=CALLER) as note:
            note("prover.outcome", "succeeded")
            assert tracing.current() is None
    with pytest.raises(SettingsError, match=r"prover-framework\[tracing\]"):
        async with open_tracing(wanted=True):
            pass


async def test_opentelemetrys_own_variables_say_where_spans_go(
    monkeypatch: pytest.MonkeyPatch, exported: InMemorySpanExporter
) -> None:
    def entry_points(*, group: str, name: str) -> list[SimpleNamespace]:
        assert group == "opentelemetry_traces_exporter"
        return [SimpleNamespace(load=lambda: lambda: exported)] if name == "memory" else []

    monkeypatch.setattr("prover_framework.tracing.entry_points", entry_points)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "memory")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    async with open_tracing(wanted=True) as tracing:
        with tracing.span("store"):
            current = tracing.current()
            assert current
            assert len(current) == len(CALLER)
    (span,) = exported.get_finished_spans()
    assert (span.name, span.resource.attributes["service.name"]) == ("store", "mine")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nowhere")
    with pytest.raises(SettingsError, match="no package here has the exporter 'nowhere'"):
        async with open_tracing(wanted=True):
            pass

"""Traces by OpenTelemetry: where the time of a request goes, until its receipts are there.

A span is a part of a trace with a beginning and an end. The context of one, as W3C's header
``traceparent`` has it, is stored with a job and goes with its message, so that what a worker does
is in the trace of the request. Without the packages, or where nobody asks for traces, a span is
nothing at all.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from enum import Enum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeAlias

from prover_framework.errors import SettingsError
from prover_framework.text import quote

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

# The header of HTTP, and the field of a message.
TRACEPARENT = "traceparent"

# What the service is called where OpenTelemetry's own variables do not say it.
OUR_NAME = "prover"

PACKAGES_MISSING = (
    'PROVER_TRACING needs OpenTelemetry: pip install "prover-framework[tracing]", or leave it unset'
)

# Where a name of OpenTelemetry's leads to what sends spans, and the name of the usual one there.
EXPORTERS = "opentelemetry_traces_exporter"
EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
OTLP = "otlp_proto_http"

Value: TypeAlias = str | int | float | bool

Attributes: TypeAlias = Mapping[str, Value]

# Notes something of a span while it lasts: a name and a value.
Note: TypeAlias = Callable[[str, Value], None]


class SpanKind(Enum):
    """Which side of a call a span is on, by the names that OpenTelemetry gives them."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


def _note_nothing(name: str, value: Value) -> None:
    """Note nothing, where there is no span."""


_NO_SPAN: AbstractContextManager[Note] = nullcontext(_note_nothing)


class Tracing:
    """Makes spans; this one makes none."""

    def span(
        self,
        name: str,  # noqa: ARG002 - the form of those that make some
        kind: SpanKind = SpanKind.INTERNAL,  # noqa: ARG002
        *,
        parent: str | None = None,  # noqa: ARG002
        attributes: Attributes | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[Note]:
        """Return what a part of the work is done in; it gives what notes something of it.

        Args:
            name: What it is; one of a few.
            kind: Which side of a call it is on.
            parent: What it is a part of, as ``traceparent`` says it; None, or what is no such
                text: the span that it is in here, if there is one.
            attributes: What it is about.
        """
        return _NO_SPAN

    def current(self) -> str | None:
        """Return the span that this is in, as ``traceparent`` says it; None where there is none."""
        return None


NO_TRACING = Tracing()


class OpenTelemetry(Tracing):
    """Makes spans by OpenTelemetry.

    Args:
        provider: What samples, names and exports them.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer(__package__ or __name__)
        self._kinds = trace.SpanKind
        self._here = context.get_current
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> Iterator[Note]:
        """See `Tracing`."""
        context = self._here()
        if parent is not None:
            context = self._propagator.extract({TRACEPARENT: parent}, context)
        with self._tracer.start_as_current_span(
            name, context, kind=self._kinds[kind.value], attributes=attributes
        ) as span:
            yield span.set_attribute

    def current(self) -> str | None:
        """See `Tracing`."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(TRACEPARENT)


@asynccontextmanager
async def open_tracing(*, wanted: bool) -> AsyncIterator[Tracing]:
    """Make what makes spans; send what is left of them when the body is left.

    OpenTelemetry's own variables say the rest: OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_ENDPOINT
    where spans go, OTEL_TRACES_SAMPLER how many, OTEL_SERVICE_NAME what the service is called.

    Args:
        wanted: Whether there are to be any.

    Raises:
        SettingsError: They are wanted, and the packages for them are not there.
    """
    if not wanted:
        yield NO_TRACING
        return
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise SettingsError(PACKAGES_MISSING) from None
    # What the variables say comes before what is said here.
    ours = Resource.create({SERVICE_NAME: OUR_NAME})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(_exporter()))
    try:
        yield OpenTelemetry(provider)
    finally:
        # It sends what is left, and may have to wait for an answer.
        await asyncio.to_thread(provider.shutdown)


def _exporter() -> "SpanExporter":
    """Return what sends spans: by OTLP, or what OpenTelemetry's variable names.

    Raises:
        SettingsError: No package has it.
    """
    named = os.environ.get(EXPORTER_VARIABLE, "otlp")
    found = [*entry_points(group=EXPORTERS, name=OTLP if named == "otlp" else named)]
    if not found:
        raise SettingsError(f"{EXPORTER_VARIABLE}: no package here has the exporter {quote(named)}")
    exporter: SpanExporter = found[0].load()()
    return exporter

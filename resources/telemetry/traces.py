"""Traces: spans of commands, ticks, runs, requests, loads and commits, for OpenTelemetry.

Here: a span around a block, and how a trace goes on in another process. Not here: where spans are
opened, or log lines (logs.py).

OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) names a collector. Without it
nothing is imported, and a span costs a comparison. The SDK reads the other variables of its
standard itself (headers, sampling, resource attributes).
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resources.telemetry import context, logs, masks

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "wrdata"
FLUSHED_WITHIN_MS = 5_000
_TRACEPARENT = "traceparent"

Value = str | int | float | bool
"""What a span's attribute may be."""

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def is_wanted() -> bool:
    """Return whether the environment names a collector."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def begin() -> None:
    """Send spans from now on, if the environment names a collector and the SDK is installed."""
    if _tracer is not None or not is_wanted():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError:
        logs.logger("telemetry").warning(
            "no traces are sent: a collector is configured, and OpenTelemetry is not installed: "
            "install wrdata[tracing]"
        )
        return
    send_to(OTLPSpanExporter())


def send_to(exporter: "SpanExporter") -> None:
    """Send spans to an exporter from now on."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _provider, _tracer  # noqa: PLW0603  # one for the process, as OpenTelemetry has it
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE}
    # Not OpenTelemetry's global provider: other libraries of the process have their own.
    _provider = TracerProvider(resource=Resource.create(named))
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer(SERVICE)


def end() -> None:
    """Send what waits, and no spans any more."""
    global _provider, _tracer  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


def flush() -> None:
    """Send what waits: a worker of a run ends without the interpreter's own last steps."""
    if _provider is not None:
        _provider.force_flush(FLUSHED_WITHIN_MS)


@contextmanager
def span(name: str, *, parent: str = "", **attributes: Value | None) -> Generator[None]:
    """Measure the block as a span within the present one; an error that leaves it is recorded.

    The fields of the work at hand (context.py) become attributes, as ``attributes`` do.

    Args:
        name: Kind of the work, such as ``request``; what it is of belongs into the attributes.
        parent: ``traceparent`` of a span of another process, to go on with its trace.
        attributes: None leaves one out.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import Status, StatusCode

    every = {**context.current(), **attributes}
    with _tracer.start_as_current_span(
        name,
        context=_context_of(parent),
        attributes={key: _attribute(value) for key, value in every.items() if value is not None},
        # Its message might hold a secret: it is recorded below.
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield
        except Exception as error:
            opened.set_attribute("error.type", type(error).__name__)
            opened.set_status(Status(StatusCode.ERROR, masks.masked(str(error))))
            raise


def note(**attributes: Value | None) -> None:
    """Add attributes to the present span."""
    if _tracer is None:
        return
    from opentelemetry.trace import get_current_span

    present = get_current_span()
    for key, value in attributes.items():
        if value is not None:
            present.set_attribute(key, _attribute(value))


def traceparent() -> str:
    """Return the present span for another process, in the form of W3C; empty without one."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_TRACEPARENT, "")


def _context_of(parent: str):  # noqa: ANN202  # OpenTelemetry's own, which is imported here only
    if not parent:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({_TRACEPARENT: parent})


def _attribute(value: object) -> Value:
    return value if isinstance(value, bool | int | float) else masks.masked(str(value))

"""Spans: what they say, whose children they are, and that an absent collector costs nothing."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from resources.telemetry import context, masks, traces
from tests.fixtures.telemetry import Spans

pytestmark = pytest.mark.usefixtures("own_telemetry")


def test_a_span_within_another_is_its_child_across_tasks_and_threads(spans: Spans) -> None:
    """A batch is stored in a thread of the run's own loop."""

    def store() -> None:
        with traces.span("load", dataset="splits", rows=None):
            traces.note(rows=7)

    async def work() -> None:
        with traces.span("request", provider="fmp"):
            await asyncio.sleep(0)
        await asyncio.to_thread(store)

    with context.bound(correlation_id="c-1"), traces.span("run"):
        asyncio.run(work())

    (run,), (request,), (load,) = spans.named("run"), spans.named("request"), spans.named("load")
    assert run.context
    assert request.parent
    assert load.parent
    assert run.parent is None
    assert {request.parent.span_id, load.parent.span_id} == {run.context.span_id}
    assert load.attributes == {"correlation_id": "c-1", "dataset": "splits", "rows": 7}


def test_a_trace_goes_on_in_another_process(spans: Spans) -> None:
    """By one text, which travels as the run's tag."""
    with traces.span("tick"):
        carried = traces.traceparent()
    with traces.span("run", parent=carried):
        pass

    (tick,), (run,) = spans.named("tick"), spans.named("run")
    assert tick.context
    assert run.context
    assert run.parent
    assert run.context.trace_id == tick.context.trace_id
    assert run.parent.span_id == tick.context.span_id
    assert carried.startswith(f"00-{tick.context.trace_id:032x}-{tick.context.span_id:016x}-")


@pytest.mark.parametrize("parent", ["", "nonsense", "00-0-0-00"])
def test_without_a_readable_parent_a_trace_of_its_own_begins(parent: str, spans: Spans) -> None:
    """A tag that somebody has written by hand stops no run."""
    with traces.span("run", parent=parent):
        pass

    assert spans.named("run")[0].parent is None


def test_an_error_is_recorded_without_its_secrets_and_goes_on(spans: Spans) -> None:
    """By its class and its text."""
    masks.learn(["marked-key-1"])
    message = "refused: marked-key-1"
    with pytest.raises(ValueError, match="refused"), traces.span("load", operation="marked-key-1"):
        raise ValueError(message)

    (load,) = spans.named("load")
    assert load.attributes == {"operation": "***", "error.type": "ValueError"}
    assert load.status.description == "refused: ***"
    assert not load.events


@contextmanager
def collector() -> Generator[tuple[str, list[bytes]]]:
    """Serve a collector of spans; yield its address and what it has received."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_standards_variable_sends_spans_to_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, in the standard's own form."""
    with collector() as (address, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        traces.begin()
        with traces.span("run"):
            pass
        traces.flush()
        traces.end()

    sent = ExportTraceServiceRequest.FromString(b"".join(received))
    (resource,) = sent.resource_spans
    named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert named["service.name"] == "wrdata"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["run"]

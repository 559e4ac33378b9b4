"""The HTTP server of `wrdata exporter`: `/metrics` and `/health/…`, read-only.

Here: paths, status codes and content types. Not here: the metrics (collector.py), or the parts that
have to work (health.py).
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from marketdata.recovery import errors
from monitoring.health import Health

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
INDEX = b"wrdata exporter: /metrics /health/live /health/ready /health/startup\n"


class _Server(ThreadingHTTPServer):
    """Answers each request in a thread that ends with the process."""

    daemon_threads = True
    # A request under way must not delay the end: who asks will ask again.
    block_on_close = False

    def __init__(self, address: tuple[str, int], collector: Collector, health: Health) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(collector)
        self.health = health
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server_version = "wrdata"
    sys_version = ""
    timeout = 10
    """Seconds for which a client may be silent."""

    @property
    def _exporter(self) -> _Server:
        return cast("_Server", self.server)

    def do_GET(self) -> None:
        """Answer a request."""
        match self.path.partition("?")[0]:
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("accept") or "")
                self._send(HTTPStatus.OK, content_type, encode(self._exporter.registry))
            case "/health/live":
                self._send(HTTPStatus.OK, JSON, _as_json({"status": "live"}))
            case "/health/ready":
                self._send_ready()
            case "/health/startup":
                started = self._exporter.health.has_started()
                status = "started" if started else "starting"
                self._send(_status(ok=started), JSON, _as_json({"status": status}))
            case "/":
                self._send(HTTPStatus.OK, TEXT, INDEX)
            case _:
                self._send(HTTPStatus.NOT_FOUND, TEXT, INDEX)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
        """Log no requests: a scrape every few seconds is no news."""

    def _send_ready(self) -> None:
        states = self._exporter.health.ready()
        is_ready = all(state.ok for state in states.values())
        body = {
            "status": "ready" if is_ready else "not ready",
            "parts": {
                name: {"ok": state.ok, "reason": state.reason} for name, state in states.items()
            },
        }
        self._send(_status(ok=is_ready), JSON, _as_json(body))

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(host: str, port: int, collector: Collector, health: Health) -> Generator[str]:
    """Serve in a thread while the block runs; yield the address.

    Args:
        host: Address to bind: 127.0.0.1 lets nobody else in.
        port: 0 means any free one.
        collector: Yields the metrics.
        health: Knows the parts that have to work.

    Raises:
        ConfigurationError: The address cannot be bound.
    """
    try:
        server = _Server((host, port), collector, health)
    except OSError as error:
        message = f"{host}:{port} cannot be bound ({error.strerror}): choose another --port"
        raise errors.ConfigurationError(message) from error
    with server:
        # Polls often, so that the end comes at once.
        thread = Thread(target=server.serve_forever, args=(0.1,), name="exporter", daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _status(*, ok: bool) -> HTTPStatus:
    return HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE


def _as_json(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=2) + "\n").encode()

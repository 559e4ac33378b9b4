"""What tests of the exporter share: an answer of `/metrics` as a test reads it, and a cut wire.

Here: asking over HTTP, reading by prometheus_client's own parser, and a relay that stands for a
database which goes away. Not here: fixtures (conftest.py).
"""

import contextlib
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from machine.processes import NO_AUTHORITIES

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of `/metrics`."""

    text: str

    @property
    def families(self) -> list[Metric]:
        """The families, as Prometheus' parser reads them."""
        return list(text_string_to_metric_families(self.text))

    def values(self, name: str) -> dict[Labels, float]:
        """Return the values of all samples of this name, by their labels."""
        return {
            frozenset(sample.labels.items()): sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value with exactly these labels, or None."""
        return self.values(name).get(frozenset(labels.items()))


def get(url: str, accept: str = "") -> httpx.Response:
    """Ask for a page."""
    headers = {"accept": accept} if accept else {}
    return httpx.get(url, headers=headers, timeout=30, verify=NO_AUTHORITIES, trust_env=False)


def scrape(address: str) -> Answer:
    """Ask for the metrics, as Prometheus does; the answer has to be 200."""
    answer = get(f"{address}/metrics")
    assert answer.status_code == 200
    return Answer(answer.text)


class Relay:
    """Passes connections on to a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where to connect to."""
        return self._listener.getsockname()[1]

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._is_cut = True
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def mend(self) -> None:
        """Accept connections again."""
        self._is_cut = False

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(65_536):
                sink.sendall(received)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(url: str) -> Generator[tuple[str, Relay]]:
    """Yield a database's URL through a relay, and the relay."""
    parts = urlsplit(url)
    relay = Relay(parts.hostname or "", parts.port or 5432)
    user = parts.netloc.rpartition("@")[0]
    try:
        yield parts._replace(netloc=f"{user}@127.0.0.1:{relay.port}").geturl(), relay
    finally:
        relay.close()


def with_labels(values: Mapping[Labels, float], **labels: str) -> dict[Labels, float]:
    """Return the values whose labels hold these."""
    return {key: value for key, value in values.items() if labels.items() <= set(key)}

"""From a metric to a person: real Prometheus and Alertmanager, and somebody who is told."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from machine.processes import wait_until
from monitoring import alertmanager
from operate.watchers import REHEARSED, Watch, watching
from sandbox.monitoring_programs import Programs
from sandbox.monitoring_servers import serve_prometheus
from sandbox.simulators import serving
from tests.monitoring import metrics_page
from tests.monitoring.running_prometheus import asked, served, wait_for_scrapes, write_configuration

WITHIN_S = 90.0
"""For a machine that is busy; it takes 10 s where it is not."""


class Pipeline:
    """A pipeline as its exporter shows it."""

    def __init__(self) -> None:
        self.database_up = True
        self.page_works = True
        self.watch = Watch()
        self._scrapes = 0
        self._lock = threading.Lock()

    def metrics(self, request: Request) -> Response:
        """Answer as the exporter."""
        del request
        with self._lock:
            self._scrapes += 1
            scrape = self._scrapes
        if not self.page_works:
            return PlainTextResponse("", status_code=500)
        return PlainTextResponse(metrics_page.of_the_exporter(scrape, database_up=self.database_up))

    def await_told(self, alert: str, *, firing: bool) -> None:
        """Wait until people are told that an alert fires, or is resolved."""
        told = self.watch.await_message(alert, firing=firing, since=0.0, within_s=WITHIN_S)
        assert told is not None, self.watch.messages


@contextmanager
def watched(programs: Programs, folder: Path) -> Generator[Pipeline]:
    """Let Prometheus and Alertmanager watch a pipeline, with the rules of a rehearsal."""
    pipeline = Pipeline()
    application = Starlette(routes=[Route("/metrics", pipeline.metrics)])
    with (
        serving.serve(application) as origin,
        watching(programs, folder, {"wrdata": origin.removeprefix("http://")}) as pipeline.watch,
    ):
        yield pipeline


@pytest.fixture
def pipeline(programs: Programs, tmp_path: Path) -> Generator[Pipeline]:
    """A healthy pipeline that is watched."""
    with watched(programs, tmp_path) as running:
        yield running


def test_an_alert_reaches_people_and_is_taken_back_after_repair(pipeline: Pipeline) -> None:
    """A lost database pages once; what follows from it is not sent; repair is told as well."""
    pipeline.database_up = False
    pipeline.await_told("DatabaseDown", firing=True)
    assert wait_until(
        lambda: pipeline.watch.is_held_back("ExporterPartFailing"), within_s=WITHIN_S, every_s=0.2
    )
    assert {message.alert for message in pipeline.watch.messages} == {"DatabaseDown"}

    pipeline.database_up = True
    pipeline.await_told("DatabaseDown", firing=False)

    firing = pipeline.watch.messages[0]
    assert firing.receiver == alertmanager.PAGE
    assert firing.annotations["summary"].startswith("The database does not answer")
    assert firing.annotations["runbook"] == "docs/runbooks/database.md#database-lost"


def test_an_exporter_that_is_away_is_told(pipeline: Pipeline) -> None:
    """Without it nothing else would fire."""
    pipeline.page_works = False
    pipeline.await_told("ExporterAway", firing=True)

    pipeline.page_works = True
    pipeline.await_told("ExporterAway", firing=False)


def test_nobody_is_told_of_a_healthy_pipeline(programs: Programs, tmp_path: Path) -> None:
    """No alert fires or is about to, also where nobody writes the metrics of backups."""
    pages = {
        "wrdata": metrics_page.of_the_exporter,
        "node": metrics_page.of_the_host,
        "postgres": metrics_page.of_postgres,
    }
    with served(pages) as addresses:
        write_configuration(tmp_path, addresses, REHEARSED)
        with serve_prometheus(programs, tmp_path) as origin:
            wait_for_scrapes(origin, 15)
            alerts = asked(origin, "ALERTS")

    assert alerts == []

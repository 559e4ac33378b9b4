"""From a metric to a person: real Prometheus and Alertmanager, and somebody who is told."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from machine.processes import LOOPBACK, NO_AUTHORITIES, free_port, wait_until
from monitoring import alertmanager, prometheus
from monitoring.alerts import GROUPS, rehearsed
from monitoring.files import as_yaml
from sandbox.monitoring_programs import Programs
from sandbox.monitoring_servers import serve_alertmanager, serve_prometheus
from sandbox.simulators import serving
from tests.monitoring import metrics_page
from tests.monitoring.running_prometheus import asked, served, wait_for_scrapes, write_configuration

ONE_SECOND = timedelta(seconds=1)
QUICK = alertmanager.Pace(wait=3 * ONE_SECOND, interval=ONE_SECOND)
REHEARSED = {
    name: [rehearsed(rule, faster=60, shortest=timedelta(seconds=5)) for rule in rules]
    for name, rules in GROUPS.items()
}
WITHIN_S = 90.0
"""For a machine that is busy; it takes 10 s where it is not."""


class Pipeline:
    """A pipeline as its exporter shows it, and the people who watch it."""

    def __init__(self) -> None:
        self.database_up = True
        self.page_works = True
        self.told: list[dict[str, Any]] = []
        self.alertmanager = ""
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

    async def receive(self, request: Request) -> Response:
        """Take what Alertmanager sends, as PagerDuty or Slack would."""
        content = await request.json()
        for alert in content["alerts"]:
            self.told.append({"receiver": content["receiver"], **alert})
        return Response()

    def is_held_back(self, alert: str) -> bool:
        """Return whether Alertmanager knows an alert and does not send it."""
        known = httpx.get(
            f"{self.alertmanager}/api/v2/alerts", verify=NO_AUTHORITIES, timeout=30
        ).json()
        return any(
            held["labels"]["alertname"] == alert and held["status"]["state"] == "suppressed"
            for held in known
        )

    def has_told(self, alert: str, status: str) -> bool:
        """Return whether people were told that an alert fires, or is resolved."""
        return any(
            told["labels"]["alertname"] == alert and told["status"] == status for told in self.told
        )


@contextmanager
def watched(programs: Programs, folder: Path) -> Generator[Pipeline]:
    """Let Prometheus and Alertmanager watch a pipeline, with the rules of a rehearsal."""
    pipeline = Pipeline()
    application = Starlette(
        routes=[
            Route("/metrics", pipeline.metrics),
            Route("/told", pipeline.receive, methods=["POST"]),
        ]
    )
    port = free_port(None)
    with serving.serve(application) as origin:
        receivers = [
            {"name": name, "webhook_configs": [{"url": f"{origin}/told", "send_resolved": True}]}
            for name in (alertmanager.TELL, alertmanager.PAGE)
        ]
        texts = {
            "rules.yml": prometheus.rules_file(REHEARSED),
            "prometheus.yml": prometheus.configuration(
                scraped={"wrdata": origin.removeprefix("http://")},
                alertmanager=f"{LOOPBACK}:{port}",
                interval=ONE_SECOND,
            ),
            "alertmanager.yml": alertmanager.configuration(GROUPS, receivers=receivers, pace=QUICK),
        }
        for name, content in texts.items():
            (folder / name).write_text(as_yaml(content))
        with (
            serve_alertmanager(programs, folder, port) as pipeline.alertmanager,
            serve_prometheus(programs, folder),
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
    assert wait_until(
        lambda: (
            pipeline.has_told("DatabaseDown", "firing")
            and pipeline.is_held_back("ExporterPartFailing")
        ),
        within_s=WITHIN_S,
        every_s=0.2,
    ), pipeline.told
    assert {told["labels"]["alertname"] for told in pipeline.told} == {"DatabaseDown"}

    pipeline.database_up = True
    assert wait_until(
        lambda: pipeline.has_told("DatabaseDown", "resolved"), within_s=WITHIN_S, every_s=0.2
    ), pipeline.told

    firing = pipeline.told[0]
    assert firing["receiver"] == alertmanager.PAGE
    assert firing["annotations"]["summary"].startswith("The database does not answer")
    assert firing["annotations"]["runbook"] == "docs/runbooks/database.md#database-lost"


def test_an_exporter_that_is_away_is_told(pipeline: Pipeline) -> None:
    """Without it nothing else would fire."""
    pipeline.page_works = False
    assert wait_until(
        lambda: pipeline.has_told("ExporterAway", "firing"), within_s=WITHIN_S, every_s=0.2
    ), pipeline.told

    pipeline.page_works = True
    assert wait_until(
        lambda: pipeline.has_told("ExporterAway", "resolved"), within_s=WITHIN_S, every_s=0.2
    ), pipeline.told


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

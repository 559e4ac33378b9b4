"""Who watches: Prometheus with the rules of a rehearsal, Alertmanager, and a person who is told.

Here: starting them, and what was told when. Not here: the rules (monitoring/alerts/), or what is
watched (place.py).

The rules are those of production at the same thresholds; only their waiting times and ranges are
shorter. What takes production hours to see, such as a backup that is 26 hours old, stays that.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from machine.processes import LOOPBACK, NO_AUTHORITIES, free_port, wait_until
from monitoring import alertmanager, prometheus
from monitoring.alerts import GROUPS, rehearsed
from monitoring.files import as_yaml
from sandbox.monitoring_programs import Programs
from sandbox.monitoring_servers import serve_alertmanager, serve_prometheus
from sandbox.simulators import serving

FASTER = 60
"""What production's waiting times are divided by."""
ONE_SECOND = timedelta(seconds=1)
QUICK = alertmanager.Pace(wait=3 * ONE_SECOND, interval=ONE_SECOND)
REHEARSED = {
    name: [rehearsed(rule, faster=FASTER, shortest=5 * ONE_SECOND) for rule in rules]
    for name, rules in GROUPS.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person is told of one alert.

    Attributes:
        receiver: ``alertmanager.PAGE`` or ``alertmanager.TELL``.
        firing: Whether it fires; else it is resolved.
        labels: Of the alert; ``alertname`` among them.
        annotations: Its summary, first step, runbook and threshold.
        at: Monotonic time at which it came.
    """

    receiver: str
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    at: float

    @property
    def alert(self) -> str:
        """The alert's name."""
        return self.labels["alertname"]


@dataclass(slots=True, kw_only=True)
class Watch:
    """What the person on call has been told so far.

    Attributes:
        prometheus: Prometheus' origin, ``http://host:port``.
        alertmanager: Alertmanager's.
        messages: All that came, in order.
    """

    prometheus: str = ""
    alertmanager: str = ""
    messages: list[Message] = field(default_factory=list[Message])

    async def receive(self, request: Request) -> Response:
        """Take what Alertmanager sends, as PagerDuty or Slack would."""
        content = await request.json()
        self.messages += [
            Message(
                receiver=content["receiver"],
                firing=alert["status"] == "firing",
                labels=alert["labels"],
                annotations=alert["annotations"],
                at=time.monotonic(),
            )
            for alert in content["alerts"]
        ]
        return Response()

    def told(self, alert: str, *, firing: bool, since: float = 0.0) -> Message | None:
        """Return the first message since a monotonic time that an alert fires, or is resolved."""
        return next(
            (
                message
                for message in self.messages
                if message.alert == alert and message.firing is firing and message.at >= since
            ),
            None,
        )

    def await_message(
        self, alert: str, *, firing: bool, since: float, within_s: float
    ) -> Message | None:
        """Wait for such a message, and return it; None if it does not come in time."""
        wait_until(
            lambda: self.told(alert, firing=firing, since=since) is not None,
            within_s=within_s,
            every_s=0.1,
        )
        return self.told(alert, firing=firing, since=since)

    def firing(self) -> list[str]:
        """Return the names of all alerts that fire or are about to, by Prometheus."""
        return sorted({str(series["metric"]["alertname"]) for series in self.ask("ALERTS")})

    def is_held_back(self, alert: str) -> bool:
        """Return whether Alertmanager knows an alert and does not send it."""
        known = httpx.get(
            f"{self.alertmanager}/api/v2/alerts", verify=NO_AUTHORITIES, timeout=30
        ).json()
        return any(
            candidate["labels"]["alertname"] == alert
            and candidate["status"]["state"] == "suppressed"
            for candidate in known
        )

    def ask(self, expression: str) -> list[Any]:
        """Return Prometheus' answer to an expression, now."""
        answer = httpx.get(
            f"{self.prometheus}/api/v1/query",
            params={"query": expression},
            verify=NO_AUTHORITIES,
            timeout=30,
        )
        answer.raise_for_status()
        return list(answer.json()["data"]["result"])


@contextmanager
def watching(programs: Programs, folder: Path, scraped: Mapping[str, str]) -> Generator[Watch]:
    """Let Prometheus and Alertmanager watch exporters, with the rules of a rehearsal.

    Args:
        programs: The two servers.
        folder: Existing folder for their files and data.
        scraped: Host and port of each job's exporter.

    Raises:
        ConfigurationError: One of them does not start.
    """
    watch = Watch()
    application = Starlette(routes=[Route("/told", watch.receive, methods=["POST"])])
    port = free_port(None)
    with serving.serve(application) as origin:
        receivers = [
            {"name": name, "webhook_configs": [{"url": f"{origin}/told", "send_resolved": True}]}
            for name in (alertmanager.TELL, alertmanager.PAGE)
        ]
        texts = {
            "rules.yml": prometheus.rules_file(REHEARSED),
            "prometheus.yml": prometheus.configuration(
                scraped=scraped, alertmanager=f"{LOOPBACK}:{port}", interval=ONE_SECOND
            ),
            "alertmanager.yml": alertmanager.configuration(GROUPS, receivers=receivers, pace=QUICK),
        }
        for name, content in texts.items():
            (folder / name).write_text(as_yaml(content))
        with (
            serve_alertmanager(programs, folder, port) as watch.alertmanager,
            serve_prometheus(programs, folder) as watch.prometheus,
        ):
            yield watch

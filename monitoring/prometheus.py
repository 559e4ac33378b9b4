"""Prometheus' files: alert rules, and what it scrapes.

Here: the rules' form, and the configuration. Not here: the rules (alerts/), or Alertmanager's
routes (alertmanager.py).
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from monitoring.alerts import AlertRule

RULES_FILE = "rules.yml"
SCRAPED = {"wrdata": "127.0.0.1:9464", "node": "127.0.0.1:9100", "postgres": "127.0.0.1:9187"}
"""Jobs that rules name, and where their exporters listen by default."""
ALERTMANAGER = "127.0.0.1:9093"
_INTERVAL = timedelta(seconds=15)
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def rules_file(groups: Mapping[str, Sequence[AlertRule]]) -> dict[str, Any]:
    """Return the file of alert rules."""
    return {
        "groups": [
            {"name": name, "rules": [_rule(rule) for rule in rules]}
            for name, rules in groups.items()
        ]
    }


def configuration(
    *,
    scraped: Mapping[str, str] = SCRAPED,
    alertmanager: str = ALERTMANAGER,
    interval: timedelta = _INTERVAL,
) -> dict[str, Any]:
    """Return Prometheus' configuration; the file of rules lies beside it.

    Args:
        scraped: Host and port of each job's exporter.
        alertmanager: Its host and port.
        interval: How often exporters are asked and rules are evaluated.
    """
    return {
        "global": {"scrape_interval": lasting(interval), "evaluation_interval": lasting(interval)},
        "rule_files": [RULES_FILE],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]}
            for job, address in scraped.items()
        ],
    }


def lasting(time: timedelta) -> str:
    """Return a time of whole milliseconds as Prometheus and Alertmanager write it."""
    seconds = time.total_seconds()
    for unit, length in _UNITS.items():
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def _rule(rule: AlertRule) -> dict[str, Any]:
    return {
        "alert": rule.name,
        "expr": rule.expression,
        "for": lasting(rule.lasts),
        "labels": {"severity": rule.severity.value},
        "annotations": {
            "summary": rule.summary,
            "first_step": rule.first_step,
            "runbook": f"docs/runbooks/{rule.runbook}",
            "threshold": rule.threshold,
        },
    }

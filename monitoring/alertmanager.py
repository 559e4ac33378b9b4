"""Alertmanager's file: who is told what, and what is not sent because something else explains it.

Here: routes, receivers, inhibition. Not here: the alerts (alerts/).
https://prometheus.io/docs/alerting/latest/configuration/

Secrets are in files beside the configuration, which hold nothing else: the address of Slack's
webhook and PagerDuty's routing key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

from monitoring.alerts import AlertRule, Cause, Severity
from monitoring.prometheus import lasting

SLACK_URL_FILE = "secrets/slack_url"
PAGERDUTY_KEY_FILE = "secrets/pagerduty_key"
PAGE = "pagerduty_and_slack"
"""Receiver of what is critical."""
TELL = "slack"
"""Receiver of warnings, and of all that nobody has thought of."""

_TITLE = "{{ .Status | toUpper }} {{ .CommonLabels.severity }}: {{ .CommonLabels.alertname }}"
_TEXT = (
    "{{ range .Alerts }}{{ .Annotations.summary }}\n"
    "First: {{ .Annotations.first_step }}\n"
    "Then: {{ .Annotations.runbook }}\n{{ end }}"
)
_DESCRIPTION = "{{ (index .Alerts 0).Annotations.summary }}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When groups of alerts are sent.

    Attributes:
        wait: How long the first alert of a group waits for others.
        interval: How long later changes of a group wait.
        repeat: After how long what still fires is sent again.
        repeat_page: The same for what is critical.
        repeat_symptom: The same for a warning that another alert explains. Alertmanager forgets to
            tell that an alert ended while it was held back, and then takes the next one for told:
            https://github.com/prometheus/alertmanager/issues/226. So late it tells it at most.
    """

    wait: timedelta = timedelta(seconds=30)
    interval: timedelta = timedelta(minutes=5)
    repeat: timedelta = timedelta(hours=12)
    repeat_page: timedelta = timedelta(hours=1)
    repeat_symptom: timedelta = timedelta(hours=1)


PRODUCTION = Pace()


def configuration(
    groups: Mapping[str, Sequence[AlertRule]],
    *,
    receivers: Sequence[Mapping[str, Any]] | None = None,
    pace: Pace = PRODUCTION,
) -> dict[str, Any]:
    """Return Alertmanager's configuration.

    Args:
        groups: Every alert rule: inhibition follows from what explains what.
        receivers: In place of Slack and PagerDuty, named ``TELL`` and ``PAGE``.
        pace: When groups are sent.
    """
    rules = list(chain.from_iterable(groups.values()))
    symptoms = "|".join(rule.name for rule in rules if rule.symptom_of)
    return {
        "route": {
            "receiver": TELL,
            "group_by": ["alertname"],
            "group_wait": lasting(pace.wait),
            "group_interval": lasting(pace.interval),
            "repeat_interval": lasting(pace.repeat),
            "routes": [
                {
                    "matchers": [f"severity = {Severity.CRITICAL}"],
                    "receiver": PAGE,
                    "repeat_interval": lasting(pace.repeat_page),
                },
                {
                    "matchers": [f"severity = {Severity.WARNING}", f'alertname =~ "{symptoms}"'],
                    "receiver": TELL,
                    "repeat_interval": lasting(pace.repeat_symptom),
                },
                {"matchers": [f"severity = {Severity.WARNING}"], "receiver": TELL},
            ],
        },
        "inhibit_rules": _inhibitions(rules),
        "receivers": list(receivers or _receivers()),
    }


def _receivers() -> list[dict[str, Any]]:
    slack = {
        "api_url_file": SLACK_URL_FILE,
        "send_resolved": True,
        "title": _TITLE,
        "text": _TEXT,
    }
    pagerduty = {
        "routing_key_file": PAGERDUTY_KEY_FILE,
        "send_resolved": True,
        "description": _DESCRIPTION,
        "severity": Severity.CRITICAL.value,
        "details": {"what": _TEXT},
    }
    return [
        {"name": TELL, "slack_configs": [slack]},
        {"name": PAGE, "pagerduty_configs": [pagerduty], "slack_configs": [slack]},
    ]


def _inhibitions(rules: Iterable[AlertRule]) -> list[dict[str, Any]]:
    """Return one inhibition for each cause, over all of its symptoms."""
    symptoms: dict[Cause, list[str]] = {}
    for rule in rules:
        for cause in rule.symptom_of:
            symptoms.setdefault(cause, []).append(rule.name)
    return [
        {
            "source_matchers": [f"alertname = {cause.alert}"],
            "target_matchers": [f'alertname =~ "{"|".join(names)}"'],
            **({"equal": list(cause.same)} if cause.same else {}),
        }
        for cause, names in symptoms.items()
    ]

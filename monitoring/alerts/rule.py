"""What an alert rule is.

Here: a rule's fields, and the same rule in less time for rehearsals. Not here: the rules
(providers.py, pipeline.py, data.py, database.py, recovery.py), or their form in Prometheus' and
Alertmanager's files (monitoring/prometheus.py, monitoring/alertmanager.py).
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

_RANGE = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
AT_ONCE = timedelta(0)


class Severity(StrEnum):
    """Who is told: CRITICAL pages a person at any hour, WARNING is read in working hours."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Another alert that explains this one: while it fires, this one is not sent.

    Attributes:
        alert: Its name.
        same: Labels in which the two have to agree, such as the provider.
    """

    alert: str
    same: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One alert. Texts may hold Prometheus' templates, such as ``{{ $labels.provider }}``.

    Attributes:
        expression: PromQL; each series of its answer is an alert.
        lasts: How long the expression has to hold before the alert fires.
        summary: One sentence that a person understands who has never seen the rule.
        first_step: What to do first.
        runbook: Page below docs/runbooks, and its heading's anchor.
        threshold: The figure, and whose it is; see docs/how-to/alert.md.
        symptom_of: Alerts that explain this one.
    """

    name: str
    expression: str
    lasts: timedelta = AT_ONCE
    severity: Severity
    summary: str
    first_step: str
    runbook: str
    threshold: str
    symptom_of: tuple[Cause, ...] = ()


def rehearsed(rule: AlertRule, *, faster: int, shortest: timedelta) -> AlertRule:
    """Return the rule for a rehearsal: it fires and clears sooner, at the same threshold.

    Args:
        rule: As production has it.
        faster: What waiting time and ranges are divided by.
        shortest: No range gets shorter: a rate needs two samples.
    """

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[1] or match[3]) * _SECONDS[match[2] or match[4]]
        return f"{max(round(seconds / faster), int(shortest.total_seconds()))}s"

    return replace(rule, lasts=rule.lasts / faster, expression=_RANGE.sub(shorter, rule.expression))

"""Alert rules as data."""

from collections.abc import Mapping

from monitoring.alerts import data, database, pipeline, providers, recovery
from monitoring.alerts.rule import AlertRule, Cause, Severity, rehearsed

GROUPS: Mapping[str, tuple[AlertRule, ...]] = {
    "providers": providers.RULES,
    "pipeline": pipeline.RULES,
    "data": data.RULES,
    "database": database.RULES,
    "recovery": recovery.RULES,
}
"""Every rule, by what it is about."""

__all__ = ["GROUPS", "AlertRule", "Cause", "Severity", "rehearsed"]

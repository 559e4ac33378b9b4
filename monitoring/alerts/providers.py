"""Alerts about providers: failures, slowness, keys, budgets and breakers.

Here: the rules. Not here: what a rule is (rule.py), or what a person does (docs/runbooks/).
"""

from datetime import timedelta

from monitoring import queries
from monitoring.alerts.rule import AlertRule, Cause, Severity

_PROVIDER = ("provider",)
_FEWEST = 5
"""Fewer failures in ten minutes are no rate; the breaker opens after as many in a row."""
_ENOUGH_FAILED = f"{queries.FAILED_REQUESTS} >= {_FEWEST} and {queries.SEEN_BEFORE}"

RULES = (
    AlertRule(
        name="ProviderDown",
        expression=f"{queries.BREAKER_OPEN} == 1",
        lasts=timedelta(minutes=15),
        severity=Severity.CRITICAL,
        summary="{{ $labels.provider }} has not answered for a quarter of an hour.",
        first_step="Look at the provider's status page; its work waits in dead letters.",
        runbook="providers.md#provider-down",
        threshold="15 minutes, the time after which a dead letter is late (TradeSense)",
    ),
    AlertRule(
        name="CircuitBreakerOpen",
        expression=f"{queries.BREAKER_OPEN} == 1",
        lasts=timedelta(minutes=1),
        severity=Severity.WARNING,
        summary="Nothing is sent to {{ $labels.provider }}: five requests in a row failed.",
        first_step="Wait: every 30 seconds one request is tried, and a success closes it.",
        runbook="providers.md#provider-down",
        threshold="5 failures open a breaker (retirement platform)",
        symptom_of=(Cause(alert="ProviderDown", same=_PROVIDER),),
    ),
    AlertRule(
        name="ProviderErrorRateHigh",
        expression=f"{queries.FAILED_REQUESTS_RATIO} > 0.05 and {_ENOUGH_FAILED}",
        lasts=timedelta(minutes=5),
        severity=Severity.CRITICAL,
        summary="{{ $value | humanizePercentage }} of requests to {{ $labels.provider }} fail.",
        first_step="See which errors they are: wrdata dlq list, column reason.",
        runbook="providers.md#requests-fail",
        threshold="5 % of requests (WRData)",
        symptom_of=(Cause(alert="ProviderDown", same=_PROVIDER),),
    ),
    AlertRule(
        name="ProviderErrorRateRaised",
        expression=f"{queries.FAILED_REQUESTS_RATIO} > 0.01 and {_ENOUGH_FAILED}",
        lasts=timedelta(minutes=5),
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of requests to {{ $labels.provider }} fail.",
        first_step="See which errors they are: wrdata dlq list, column reason.",
        runbook="providers.md#requests-fail",
        threshold="1 % of requests (MyCFATool, retirement platform)",
        symptom_of=(
            Cause(alert="ProviderDown", same=_PROVIDER),
            Cause(alert="ProviderErrorRateHigh", same=_PROVIDER),
        ),
    ),
    AlertRule(
        name="ProviderSlow",
        expression=f"{queries.REQUEST_P95} > 2",
        lasts=timedelta(minutes=10),
        severity=Severity.WARNING,
        summary="{{ $labels.provider }} answers slowly:"
        " one request in twenty takes {{ $value | humanizeDuration }} or longer.",
        first_step="Look at the provider's status page; loads take longer and lose nothing.",
        runbook="providers.md#requests-are-slow",
        threshold="2 s at the 95th percentile (MyCFATool, retirement platform; TradeSense: 5 s)",
        symptom_of=(Cause(alert="ProviderDown", same=_PROVIDER),),
    ),
    AlertRule(
        name="ProviderKeyRefused",
        expression=f"{queries.KEYS_REFUSED} > 0 and {queries.SEEN_BEFORE}",
        severity=Severity.CRITICAL,
        summary="{{ $labels.provider }} refuses our key: nothing more comes from there.",
        first_step="wrdata doctor says which key is refused; set the right one.",
        runbook="providers.md#key-refused",
        threshold="one request: every further one would fail too",
    ),
    AlertRule(
        name="BudgetSpent",
        expression=f"{queries.QUOTA_USED_RATIO} >= 1",
        severity=Severity.WARNING,
        summary="The quota {{ $labels.budget }} is used up for this {{ $labels.period }}.",
        first_step="Wait until the {{ $labels.period }} ends: the work is kept in dead letters.",
        runbook="providers.md#budget-spent",
        threshold="all of the quota",
    ),
    AlertRule(
        name="BudgetNearlySpent",
        expression=f"{queries.QUOTA_USED_RATIO} >= 0.9",
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of the quota {{ $labels.budget }} is used"
        " for this {{ $labels.period }}.",
        first_step="wrdata plan tells which schedules it is too small for.",
        runbook="providers.md#budget-spent",
        threshold="90 % of the quota (MyCFATool: alerts when the limit is near)",
        symptom_of=(Cause(alert="BudgetSpent", same=("budget", "period")),),
    ),
)

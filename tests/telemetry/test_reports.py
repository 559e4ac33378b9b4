"""What Sentry gets."""

from typing import Any

import pytest

from resources.telemetry import masks, reports

pytestmark = pytest.mark.usefixtures("own_telemetry")


def _report(**details: object) -> None:
    reports.report(
        "ProviderUnavailableError",
        "fmp quote: no answer for marked-key-1",
        tags={"provider": "fmp", "correlation_id": "c-1"},
        group=("daily_bars", "", "ProviderUnavailableError"),
        details=details,
    )


def test_a_report_says_what_happened_to_what_and_where(reported: list[dict[str, Any]]) -> None:
    """The environment and the release are those of this process."""
    _report(traceback="line 1")
    reports.flush()

    (event,) = reported
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ProviderUnavailableError"
    assert event["tags"] == {"provider": "fmp", "correlation_id": "c-1"}
    assert event["fingerprint"] == ["daily_bars", "", "ProviderUnavailableError"]
    assert event["environment"] == "staging"
    assert event["release"].startswith("wrdata@")
    assert event["extra"]["traceback"] == "line 1"


def test_a_report_has_no_secret(reported: list[dict[str, Any]]) -> None:
    """Neither in its words nor in what the SDK adds."""
    masks.learn(["marked-key-1"])
    _report(request={"url": "/quote?apikey=unknown-2", "headers": {"authorization": "unknown-3"}})
    reports.flush()

    (event,) = reported
    assert "marked" not in str(event)
    assert "unknown" not in str(event)
    assert event["exception"]["values"][0]["value"] == "fmp quote: no answer for ***"
    assert not {"modules", "user", "request"} & set(event)
    assert not event.get("breadcrumbs", {}).get("values")


def test_nothing_is_reported_where_no_project_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A development machine."""
    monkeypatch.delenv(reports.DSN, raising=False)
    reports.begin()

    assert not reports.is_wanted()
    _report()

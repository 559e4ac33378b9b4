"""The requested days of a run config: valid and refused values in the launchpad."""

from datetime import date

import pytest

from marketdata.recovery import errors
from tests.fixtures.pipeline import Pipeline
from usecases.requested_days import requested_days


def test_days_are_iso_dates_or_left_out() -> None:
    """The same day twice is one day."""
    assert requested_days("", "") == (None, None)
    assert requested_days("2024-03-31", "") == (date(2024, 3, 31), None)
    assert requested_days("2024-03-31", "2024-03-31") == (date(2024, 3, 31), date(2024, 3, 31))


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2024-05-01", "2024-01-31", "reversed: start 2024-05-01 is after end 2024-01-31"),
        ("2024-5", "", "start is '2024-5', which is no day"),
        ("", "yesterday", "end is 'yesterday', which is no day"),
    ],
)
def test_a_slip_is_told_in_one_line(start: str, end: str, message: str) -> None:
    """Which field, what it holds, and how a day is written."""
    with pytest.raises(errors.ConfigurationError, match=message):
        requested_days(start, end)


@pytest.mark.parametrize(
    ("job", "asset"),
    [
        ("archive", "archive__closed_periods"),
        ("crypto_bars", "curated__crypto__crypto_bars_refresh"),
    ],
)
def test_a_run_with_reversed_days_fails_and_says_so(
    pipeline: Pipeline, job: str, asset: str
) -> None:
    """It would do nothing, and succeed."""
    config = {"start": "2024-05-01", "end": "2024-01-31"}

    result = pipeline.run(job, config={asset: {"config": config}})

    assert not result.success
    data = result.failure_data_for_node(asset)
    assert data
    assert data.user_failure_data
    assert "the days are reversed" in (data.user_failure_data.description or "")

"""Run configs of loads, and the routes of sessions, without a run."""

import os
from datetime import date

import pytest

from assets.datasets import LoadRunConfig
from marketdata.datasets import DATASETS
from marketdata.planning import Wanted
from marketdata.recovery import errors
from resources.settings import SessionRoute, route_of, unread_variables, wrong_values
from usecases.load_plan import LoadRequest


def test_a_load_request_comes_back_from_its_run_config() -> None:
    """What a plan asks for is what its run loads."""
    load = LoadRequest(
        dataset=DATASETS["minute_bars"],
        provider="tiingo",
        symbols=("AAPL", "BRK.B"),
        wanted=Wanted(only_missing=False, start=date(2024, 3, 4), end=date(2024, 3, 8), again=True),
        letters=(3, 4),
    )

    assert LoadRunConfig.of(load).request(load.dataset) == load


def test_a_session_goes_the_route_of_its_own_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named after the dataset; without it each ticker is asked for."""
    monkeypatch.delenv("WRDATA_DAILY_BARS_ROUTE", raising=False)
    monkeypatch.setenv("WRDATA_MINUTE_BARS_ROUTE", "bulk")

    assert route_of("daily_bars") is SessionRoute.PER_TICKER
    assert route_of("minute_bars") is SessionRoute.BULK

    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", "fast")
    with pytest.raises(errors.ConfigurationError, match="it should be 'bulk' or 'per_ticker'"):
        route_of("daily_bars")


def test_the_route_of_a_dataset_without_sessions_is_never_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its value cannot be wrong; that of a dataset with sessions can."""
    monkeypatch.setenv("WRDATA_MINUTE_BARS_ROUTE", "fast")

    (unread,) = unread_variables(os.environ)
    assert unread.startswith("WRDATA_MINUTE_BARS_ROUTE is set, but never read")
    assert wrong_values() == []

    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", "fast")
    (wrong,) = wrong_values()
    assert wrong.startswith("WRDATA_DAILY_BARS_ROUTE is 'fast'")

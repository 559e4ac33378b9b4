"""Requests of readers, validated before anything is opened."""

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marketdata.recovery import errors
from resources.reading.bars import read_bars
from resources.reading.request import BarsRequest, parse_request

NEW_YEAR = date(2024, 1, 2)


def asked(
    tickers: Any = "AAPL", start: Any = None, end: Any = None, interval: str = "1d"
) -> BarsRequest:
    """Validate a request with these fields only."""
    return parse_request(tickers, start, end, interval, None, None, None)


@pytest.mark.parametrize("wrong", [123, 1.5, object(), [123], ["AAPL", None], [b"AAPL"], {1: 2}])
def test_what_is_no_ticker_is_refused_in_a_line(wrong: Any) -> None:
    """A number was a TypeError."""
    with pytest.raises(errors.ConfigurationError, match="is no ticker: give texts such as AAPL"):
        read_bars(wrong)


@pytest.mark.parametrize("nothing", [None, "", " ", [], (), [""]])
def test_no_ticker_at_all_is_told(nothing: Any) -> None:
    """An empty list does not mean all."""
    with pytest.raises(errors.ConfigurationError, match="no ticker is given"):
        read_bars(nothing)


@pytest.mark.parametrize(
    "several",
    [
        ["MSFT", "AAPL"],
        ("aapl", "msft"),
        pd.Index(["AAPL", "MSFT"]),
        pd.Series(["MSFT", "AAPL"]),
        np.array(["AAPL", "MSFT"]),
        {"AAPL": 1, "MSFT": 2}.keys(),
        (ticker for ticker in ["AAPL", "MSFT"]),
    ],
    ids=lambda several: type(several).__name__,
)
def test_tickers_come_in_whatever_holds_texts(several: Any) -> None:
    """What pandas and numpy hold too, whose truth is ambiguous."""
    assert asked(several).tickers == ("AAPL", "MSFT")


@pytest.mark.parametrize(
    "day",
    [
        NEW_YEAR,
        "2024-01-02",
        "2024-01-02T00:00:00",
        datetime(2024, 1, 2),  # noqa: DTZ001
        pd.Timestamp("2024-01-02"),
        pd.Timestamp("2024-01-02", tz="America/New_York"),
        pd.DatetimeIndex(["2024-01-02"])[0],
    ],
    ids=repr,
)
@pytest.mark.parametrize("interval", ["1d", "1w", "1y"])
def test_a_moment_at_which_a_day_begins_is_that_day_for_bars_of_days(
    day: Any, interval: str
) -> None:
    """Pandas has no other way to write a day."""
    request = asked(start=day, end=day, interval=interval)

    assert (request.start, request.end) == (NEW_YEAR, NEW_YEAR)
    assert type(request.start) is date


@pytest.mark.parametrize("moment", ["2024-01-02T09:30:00", pd.Timestamp("2024-01-02 09:30")])
def test_a_time_of_the_day_is_no_day(moment: Any) -> None:
    """It would be truncated silently."""
    with pytest.raises(errors.ConfigurationError, match="a date"):
        asked(start=moment)


def test_minutes_still_want_a_zone() -> None:
    """Its zone cannot be guessed; a date is New York's day for shares."""
    with pytest.raises(errors.ConfigurationError, match="has no time zone"):
        asked(start=pd.Timestamp("2024-01-02"), interval="1m")
    assert asked(start=NEW_YEAR, interval="1m").start == NEW_YEAR


@pytest.mark.parametrize("wrong", [pd.NaT, 20240102, "tomorrow", np.datetime64("2024-01-02")])
def test_what_is_no_day_is_named_with_what_would_do(wrong: Any) -> None:
    """NaT is a datetime to Python."""
    with pytest.raises(errors.ConfigurationError, match="neither a day"):
        asked(start=wrong)


def test_the_help_of_read_bars_shows_how_it_is_used() -> None:
    """With a frame that has its index."""
    assert '>>> closes = bars.pivot(columns="ticker", values="close")' in (read_bars.__doc__ or "")

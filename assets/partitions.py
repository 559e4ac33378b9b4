"""Every partitions definition of the project.

Here: the keys and where they come from. Not here: when partitions are materialized
(pipelines/schedules.py), or what is known of ticker and session together: that is the coverage
ledger, since tickers times days are too many keys for Dagster.
https://docs.dagster.io/guides/build/partitions-and-backfills
"""

import warnings
from collections.abc import Mapping
from datetime import datetime, time

import dagster as dg

from marketdata import symbols
from marketdata.archiving import Portion
from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE, calendar
from marketdata.datasets import InstrumentKind

# Backfill policies have been in beta since 2023; every process would warn at every start.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

TICKERS = dg.DynamicPartitionsDefinition(name="tickers")
"""One key per ticker that ever was in the universe; the universe asset adds keys, none go away."""

STATIC = {
    kind: dg.StaticPartitionsDefinition(list(symbols.static_symbols(kind)))
    for kind in InstrumentKind
    if kind is not InstrumentKind.EQUITY
}
"""One key per pair, series or index, as the data files name them."""


def partitions_of(kind: InstrumentKind) -> dg.PartitionsDefinition[str]:
    """Return the partitions of a dataset about instruments of ``kind``."""
    return TICKERS if kind is InstrumentKind.EQUITY else STATIC[kind]


_YEARS_AHEAD = 25
"""Longest life of a code server: after the calendar's end every weekday would have a key."""

TRADING_DAYS = dg.TimeWindowPartitionsDefinition(
    start=datetime.combine(HISTORY_START, time(), NEW_YORK_ZONE),
    cron_schedule="0 0 * * 1-5",
    fmt="%Y-%m-%d",
    timezone=str(NEW_YORK_ZONE),
    exclusions=[
        datetime.combine(day, time(), NEW_YORK_ZONE)
        for day in calendar(years_ahead=_YEARS_AHEAD).closed_weekdays()
        if day >= HISTORY_START
    ],
    # A session's key exists on its own day: the schedule asks for it on the same evening.
    end_offset=1,
)
"""One key per session of the New York exchanges; half days are sessions, closures have no key."""

MONTHS = dg.MonthlyPartitionsDefinition(
    start_date=f"{HISTORY_START:%Y-%m}", fmt="%Y-%m", timezone=str(NEW_YORK_ZONE)
)
"""One key per closed month, spelt as in the archive."""

YEARS = dg.TimeWindowPartitionsDefinition(
    start=f"{HISTORY_START:%Y}",
    cron_schedule="0 0 1 1 *",
    fmt="%Y",
    timezone=str(NEW_YORK_ZONE),
    # The months of a year are archived as they close.
    end_offset=1,
)
"""One key per year, this one included."""

PORTIONS: Mapping[Portion, dg.TimeWindowPartitionsDefinition | None] = {
    Portion.MONTH: MONTHS,
    Portion.YEAR: YEARS,
    Portion.WHOLE: None,
}
"""The partitions of a dataset's archive; one that is archived whole has none."""

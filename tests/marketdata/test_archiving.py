"""Archived columns and portions of each dataset."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.archiving import (
    ARCHIVED,
    ArchivedDataset,
    Portion,
    archived_dataset,
    as_archived,
    is_within,
)
from marketdata.datasets import DATASETS
from marketdata.recovery import errors

TODAY = date(2026, 11, 21)
BY_TIME = [archived for archived in ARCHIVED.values() if archived.portion is not Portion.WHOLE]


def test_every_dataset_is_archived() -> None:
    """The daily bars and all of the catalogue."""
    assert set(ARCHIVED) == {"daily_bars", *DATASETS}


@pytest.mark.parametrize("dataset", ARCHIVED.values(), ids=lambda dataset: dataset.name)
def test_rows_are_named_by_columns_that_are_never_null(dataset: ArchivedDataset) -> None:
    """Otherwise their order would depend on the sorter; the origin of a row is kept too."""
    for name in (*dataset.order, "provider", "ingest_id", "known_from"):
        assert not dataset.schema.field(name).nullable, name
    assert len(set(dataset.schema.names)) == len(dataset.schema.names)
    if dataset.dated_by:
        assert dataset.dated_by in dataset.order


def test_a_dataset_by_day_in_a_new_table_is_archived_by_the_month() -> None:
    """Its entry says all that the archive has to know."""
    quotes = replace(DATASETS["crypto_trades"], name="quotes", table="quote")

    assert as_archived(quotes).dated_by == "traded_at"
    assert as_archived(quotes).portion is Portion.MONTH


@given(
    st.sampled_from(BY_TIME),
    st.dates(date(2016, 1, 1), date(2030, 1, 1)),
    st.dates(date(2016, 1, 1), date(2030, 1, 1)),
)
def test_closed_periods_follow_each_other_and_hold_no_day_of_this_month(
    dataset: ArchivedDataset, first: date, today: date
) -> None:
    """Every day from the first to the end of last month is in exactly one of them."""
    periods = dataset.closed_periods(first, today)
    assert all(period.start < period.end <= today.replace(day=1) for period in periods)
    assert all(period.end == other.start for period, other in pairwise(periods))
    assert bool(periods) == (dataset.period_of(first, today).start < today.replace(day=1))
    if periods:
        assert periods[0].start <= first
        assert periods[-1].end == today.replace(day=1)
        assert [dataset.period_of(period.start, today) for period in periods] == periods


def test_a_year_is_archived_as_its_months_close() -> None:
    """The year that is not over ends with its last closed month."""
    bars = ARCHIVED["daily_bars"]
    *_, before, latest = bars.closed_periods(date(2016, 1, 1), TODAY)
    assert (before.label, before.end) == ("2025", date(2026, 1, 1))
    assert (latest.label, latest.start, latest.end) == ("2026", date(2026, 1, 1), date(2026, 11, 1))
    assert bars.closed_periods(date(2026, 1, 1), date(2026, 1, 31)) == []


@given(
    st.dates(date(2016, 1, 1), date(2026, 10, 31)), st.dates(date(2016, 1, 1), date(2026, 10, 31))
)
def test_labels_tell_which_days_lie_within_others(day: date, other: date) -> None:
    """As the days themselves do, whatever portions the labels are of."""
    month = ARCHIVED["minute_bars"].period_of(day, TODAY)
    year = ARCHIVED["daily_bars"].period_of(other, TODAY)
    assert is_within(month.label, year.label) == (year.start <= month.start < year.end)
    assert is_within(month.label, "all")
    assert is_within(month.label, month.label)
    assert not is_within(year.label, month.label)
    assert month.overlaps(year) == is_within(month.label, year.label)


def test_periods_that_touch_hold_no_day_together() -> None:
    """The end is not part of a period."""
    minutes = ARCHIVED["minute_bars"]
    march = minutes.period_of(date(2024, 3, 31), TODAY)
    april = minutes.period_of(march.end, TODAY)
    assert not march.overlaps(april)
    assert april.start - march.end == timedelta(0)


def test_names_that_mean_nothing_are_answered_with_those_that_do() -> None:
    """A person at the command line mistyped."""
    with pytest.raises(errors.ConfigurationError, match="'bars' is no dataset; there are daily_b"):
        archived_dataset("bars")
    with pytest.raises(errors.ConfigurationError, match="called 2016-01 to 2026-10"):
        ARCHIVED["minute_bars"].named("2026-11", TODAY)
    with pytest.raises(errors.ConfigurationError, match="called all to all"):
        ARCHIVED["splits"].named("2026-11", TODAY)

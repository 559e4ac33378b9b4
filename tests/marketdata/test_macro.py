"""Macroeconomic observations: which are accepted, and which series there are."""

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import macro

FOREVER = date(9999, 12, 31)
Row = tuple[date, date, date, str | None]


def _wire_rows(*rows: Row, symbol: str = "GDP") -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "symbol": symbol,
                "observed_on": observed_on,
                "realtime_start": start,
                "realtime_end": end,
                "value": None if value is None else Decimal(value),
            }
            for observed_on, start, end, value in rows
        ],
        schema=macro.WIRE_OBSERVATIONS,
    )


FIRST = (date(2026, 1, 1), date(2026, 4, 29), date(2026, 5, 27), "23010.5")
SECOND = (date(2026, 1, 1), date(2026, 5, 28), FOREVER, "23002.1")


def test_revisions_of_a_period_and_missing_values_are_accepted() -> None:
    """A gap between two values is one in which there was none."""
    later = (date(2025, 10, 1), date(2026, 6, 30), FOREVER, None)
    wire_rows = pa.concat_tables([_wire_rows(FIRST, later), _wire_rows(SECOND)])
    validated = macro.validate(wire_rows)
    assert validated.rejected == ()
    assert validated.accepted.equals(wire_rows)


@pytest.mark.parametrize(
    ("rows", "refused", "reason"),
    [
        ([(date(2026, 1, 1), date(2026, 5, 28), date(2026, 5, 27), "1")], ["2026-05-28"], "ends"),
        ([(*FIRST[:2], SECOND[1], "1"), SECOND], ["2026-04-29"], "reaches into the next"),
        ([SECOND, (*FIRST[:2], FOREVER, "1")], ["2026-04-29"], "reaches into the next"),
        ([SECOND, (*SECOND[:3], "7")], ["2026-05-28"], "more than once, with different values"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused_with_its_reason(
    rows: list[Row], refused: list[str], reason: str
) -> None:
    """In whatever order rows come; those beside it stay."""
    validated = macro.validate(_wire_rows(*rows))
    assert [rejection.what.split()[1] for rejection in validated.rejected] == refused
    assert all(reason in rejection.reason for rejection in validated.rejected)
    assert {rejection.day for rejection in validated.rejected} == {date(2026, 1, 1)}
    kept = {row["realtime_start"].isoformat() for row in validated.accepted.to_pylist()}
    assert kept == {row[1].isoformat() for row in rows} - set(refused)


def test_an_equal_repeated_row_is_one_and_overlaps_nothing() -> None:
    """Also where the series' other rows follow it."""
    validated = macro.validate(_wire_rows(FIRST, FIRST, SECOND))
    assert (validated.accepted.num_rows, validated.rejected) == (2, ())


def test_the_same_days_of_two_series_do_not_overlap() -> None:
    """Spans are compared within a series."""
    wire_rows = pa.concat_tables(
        [_wire_rows((*FIRST[:2], FOREVER, "1")), _wire_rows(SECOND, symbol="GDPC1")]
    )
    assert macro.validate(wire_rows).rejected == ()


def test_nothing_is_accepted_as_nothing() -> None:
    """A series without vintages."""
    validated = macro.validate(_wire_rows())
    assert (validated.accepted.num_rows, validated.rejected) == (0, ())


@given(
    spans=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 30)), max_size=12
    )
)
def test_no_day_has_two_latest_values_among_accepted_rows(
    spans: list[tuple[int, int, int]],
) -> None:
    """Whatever an answer holds."""
    rows = [
        (date(2026, 1, 1 + period), date(2026, 2, 1 + start % 28), date(2026, 3, 1 + end), "1")
        if end % 2
        else (date(2026, 1, 1 + period), date(2026, 2, 1 + start % 28),
              date(2026, 2, 1 + end % 28), "1")
        for period, start, end in spans
    ]  # fmt: skip
    accepted = macro.validate(_wire_rows(*rows)).accepted.to_pylist()
    for place, row in enumerate(accepted):
        for other in accepted[place + 1 :]:
            if row["observed_on"] == other["observed_on"]:
                assert (
                    row["realtime_end"] < other["realtime_start"]
                    or other["realtime_end"] < row["realtime_start"]
                )


def test_the_series_that_are_kept_are_described_in_freds_words() -> None:
    """Ids are FRED's; each belongs to a release."""
    listed = macro.series()
    assert len(listed) == 31
    assert listed["GDP"] == macro.Series(
        series="GDP",
        title="Gross Domestic Product",
        frequency="Quarterly",
        units="Billions of Dollars",
        release="Gross Domestic Product",
    )
    assert listed["ICSA"].frequency == "Weekly, Ending Saturday"
    assert all(name == series.series and series.release for name, series in listed.items())


def test_exchange_rates_tell_which_way_they_are_quoted() -> None:
    """FRED names a series by it: DEXUS.. is dollars for one unit, DEX..US units for one dollar."""
    rates = {name: series for name, series in macro.series().items() if series.currency}
    assert {rate.currency for rate in rates.values()} >= {"CAD", "EUR", "GBP", "CHF", "JPY"}
    assert len({rate.currency for rate in rates.values()}) == len(rates) == 11
    assert all(name.startswith("DEX") for name in rates)
    assert all(rate.per_dollar is name.endswith("US") for name, rate in rates.items())
    assert {name for name in macro.series() if name.startswith("DEX")} == set(rates)

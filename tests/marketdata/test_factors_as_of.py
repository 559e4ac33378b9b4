"""Factors as of a moment: few prices give the same as all, and no later verdict counts."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.adjusting import FactorSteps
from marketdata.bars import Adjustment
from marketdata.factors_as_of import HeldCheck, KnownActions, KnownSplit, factors_as_of
from marketdata.price_factors import DividendTerms, price_factors
from marketdata.split_checks import USABLE, PricePoint, SplitTerms, SplitVerdict, check_splits

FIRST = date(2024, 1, 1)
MOMENT = datetime(2024, 6, 1, tzinfo=UTC)
BEFORE, AFTER = MOMENT - timedelta(days=1), MOMENT + timedelta(days=1)
EX_DATE = date(2024, 1, 4)
SPLIT = SplitTerms(ex_date=EX_DATE, new_shares=Decimal(2), old_shares=Decimal(1))


def table(prices: Sequence[PricePoint]) -> pa.Table:
    """Return daily bars of one instrument that came at noon."""
    days = [price.known_on for price in prices]
    noon = [datetime(day.year, day.month, day.day, 12) for day in days]  # noqa: DTZ001
    return pa.table(
        {
            "bucket_start": pa.array([price.session_date for price in prices], pa.date32()),
            "open": [price.open for price in prices],
            "close": [price.close for price in prices],
            "adjustment": [price.adjustment.value for price in prices],
            "known_from": pa.array(noon, pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def days(*closes: float, adjustment: Adjustment = Adjustment.AS_TRADED) -> pa.Table:
    """Return daily bars from FIRST on that came long after, each with one price."""
    return table(
        [
            PricePoint(
                session_date=FIRST + timedelta(days=number),
                open=close,
                close=close,
                adjustment=adjustment,
                known_on=date(2024, 5, 1),
            )
            for number, close in enumerate(closes)
        ]
    )


def steps(factors: FactorSteps) -> list[tuple[int, float, float]]:
    """Return all steps."""
    columns = (factors.first_days, factors.split_factors, factors.dividend_factors)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def actions_of(
    *splits: SplitTerms, is_past: bool = False, check: HeldCheck | None = None
) -> KnownActions:
    """Return splits, and the check that is held of one."""
    return KnownActions(
        splits=[KnownSplit(terms=split, is_past=is_past) for split in splits],
        checks={} if check is None else {check.terms.ex_date: check},
    )


def check(
    verdict: SplitVerdict,
    checked_at: datetime,
    *,
    terms: SplitTerms = SPLIT,
    confirmed_at: datetime | None = None,
) -> HeldCheck:
    """Return a check as it is held now."""
    return HeldCheck(terms=terms, verdict=verdict, checked_at=checked_at, confirmed_at=confirmed_at)


@st.composite
def prices(draw: st.DrawFn) -> list[PricePoint]:
    """Sessions with gaps, of which some came adjusted before or after the actions."""
    offsets = draw(st.lists(st.integers(0, 150), min_size=1, max_size=110, unique=True))
    points: list[PricePoint] = []
    for offset in sorted(offsets):
        day = FIRST + timedelta(days=offset)
        level = draw(st.sampled_from([100.0, 50.0, 25.0])) * draw(st.floats(0.97, 1.03))
        points.append(
            PricePoint(
                session_date=day,
                open=level,
                close=level * draw(st.floats(0.99, 1.01)),
                adjustment=draw(st.sampled_from([Adjustment.AS_TRADED, Adjustment.SPLITS])),
                known_on=day + timedelta(days=draw(st.integers(0, 60))),
            )
        )
    return points


ex_dates = st.integers(-3, 155).map(lambda offset: FIRST + timedelta(days=offset))


@given(
    given_prices=prices(),
    splits=st.dictionaries(ex_dates, st.sampled_from([2, 3, 4]), max_size=3),
    dividends=st.dictionaries(ex_dates, st.integers(1, 120), max_size=5),
)
def test_few_prices_make_the_same_factors_as_all(
    given_prices: list[PricePoint], splits: dict[date, int], dividends: dict[date, int]
) -> None:
    """To the last bit: omitted prices do not matter."""
    terms = [
        SplitTerms(ex_date=day, new_shares=Decimal(new), old_shares=Decimal(1))
        for day, new in sorted(splits.items())
    ]
    paid = [
        DividendTerms(ex_date=day, amount=Decimal(dividend)) for day, dividend in dividends.items()
    ]
    usable = [
        check_split.split
        for check_split in check_splits(terms, given_prices)
        if check_split.verdict in USABLE
    ]
    expected = price_factors(usable, paid, given_prices).steps

    known = KnownActions(
        splits=[KnownSplit(terms=term, is_past=False) for term in terms], dividends=paid, checks={}
    )
    factors = factors_as_of(known, table(given_prices), MOMENT)

    epoch = date(1970, 1, 1)
    assert steps(factors) == [
        ((step.first_day - epoch).days, float(step.split_factor), float(step.dividend_factor))
        for step in expected
    ]
    assert factors.first_days.dtype == np.int32


JUMP, FLAT = days(100, 100, 100, 50, 50), days(100, 100, 100, 100, 100)
HIDDEN = days(50, 50, 50, 50, 50, adjustment=Adjustment.SPLITS)
MENDED = SplitTerms(ex_date=EX_DATE, new_shares=Decimal(4), old_shares=Decimal(1))
CONFIRMED, NO_JUMP = SplitVerdict.CONFIRMED, SplitVerdict.NO_JUMP
UNPROVEN = SplitVerdict.UNPROVEN


@pytest.mark.parametrize(
    ("bars", "held", "counted"),
    [
        # No later verdict overrides prices of the moment.
        (JUMP, None, True),
        (JUMP, check(NO_JUMP, AFTER), True),
        (JUMP, check(NO_JUMP, BEFORE), True),
        (FLAT, None, False),
        (FLAT, check(CONFIRMED, AFTER), False),
        # Where they prove nothing, the verdict of then counts.
        (HIDDEN, None, True),
        (HIDDEN, check(UNPROVEN, BEFORE), True),
        (HIDDEN, check(CONFIRMED, BEFORE), True),
        (HIDDEN, check(NO_JUMP, BEFORE), False),
        (HIDDEN, check(NO_JUMP, BEFORE, terms=MENDED), True),
        # A person's word counts from when it was given, for those terms.
        (FLAT, check(NO_JUMP, BEFORE, confirmed_at=BEFORE), True),
        (FLAT, check(NO_JUMP, AFTER, confirmed_at=BEFORE), True),
        (FLAT, check(NO_JUMP, BEFORE, confirmed_at=AFTER), False),
        (FLAT, check(NO_JUMP, BEFORE, confirmed_at=BEFORE, terms=MENDED), False),
        (HIDDEN, check(UNPROVEN, AFTER, confirmed_at=BEFORE), True),
    ],
)
def test_a_split_counts_as_it_did_then(
    bars: pa.Table, held: HeldCheck | None, *, counted: bool
) -> None:
    """By prices, by the stored verdict, or by a person's confirmation."""
    factors = factors_as_of(actions_of(SPLIT, check=held), bars, MOMENT)

    assert factors.split_factors.tolist() == ([0.5, 1.0] if counted else [1.0])


@pytest.mark.parametrize(
    ("bars", "held", "is_past"),
    [
        # Prices prove nothing, and the verdict of then has been overwritten.
        (HIDDEN, check(CONFIRMED, AFTER), False),
        (HIDDEN, check(NO_JUMP, AFTER), False),
        (HIDDEN, check(UNPROVEN, AFTER, terms=MENDED), True),
        # They refute it, but a confirmation may have gone with its terms.
        (FLAT, check(CONFIRMED, AFTER, terms=MENDED), True),
        (FLAT, check(NO_JUMP, AFTER), True),
    ],
)
def test_what_is_not_known_any_more_is_no_guess(
    bars: pa.Table, held: HeldCheck, *, is_past: bool
) -> None:
    """It is an error with split, moment and cure, unless no price is after the split."""
    known = actions_of(SPLIT, is_past=is_past, check=held)
    with pytest.raises(ValueError, match="its split of 2024-01-04 counted on 2024-06-01T00:00:00Z"):
        factors_as_of(known, bars, MOMENT)

    assert factors_as_of(known, bars.slice(0, 3), MOMENT).split_factors.tolist() == [1.0]


def test_a_dividend_of_a_price_without_dividends_has_no_factor() -> None:
    """As when factors are derived."""
    paid = DividendTerms(ex_date=EX_DATE, amount=Decimal(1))
    bars = days(10, 10, 10, 10, adjustment=Adjustment.SPLITS_AND_DIVIDENDS)
    with pytest.raises(ValueError, match="2024-01-03 is adjusted for dividends already"):
        factors_as_of(KnownActions(dividends=[paid], checks={}), bars, MOMENT)

"""Splits and dividends: which are stored, which are used, and how they adjust prices."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.actions import (
    NUMBERED_DIVIDENDS,
    WIRE_DIVIDENDS,
    WIRE_SPLITS,
    validate_dividends,
    validate_splits,
)
from marketdata.bars import Adjustment
from marketdata.price_factors import BEGINNING, END, DividendTerms, FactorStep, price_factors
from marketdata.split_checks import (
    USABLE,
    PricePoint,
    SplitFinding,
    SplitTerms,
    SplitVerdict,
    check_splits,
    combined,
    verdicts,
    without_duplicates,
)

MONDAY = date(2024, 6, 3)
RAW, SPLITS = Adjustment.AS_TRADED, Adjustment.SPLITS
RECORDINGS = Path(__file__).parents[1] / "recordings"


def splits_table(*rows: Mapping[str, object]) -> pa.Table:
    """Return WIRE_SPLITS of a good row changed by each of ``rows``."""
    good = {
        "symbol": "AAA",
        "ex_date": MONDAY,
        "new_shares": Decimal(4),
        "old_shares": Decimal(1),
        "kind": "stock-split",
    }
    return pa.Table.from_pylist([{**good, **row} for row in rows], schema=WIRE_SPLITS)


def dividends_table(*rows: Mapping[str, object]) -> pa.Table:
    """Return WIRE_DIVIDENDS of a good row changed by each of ``rows``."""
    good = {"symbol": "AAA", "ex_date": MONDAY, "kind": "regular", "amount": Decimal("0.25")}
    return pa.Table.from_pylist([{**good, **row} for row in rows], schema=WIRE_DIVIDENDS)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"new_shares": None}, "new_shares is missing or no number"),
        ({"old_shares": None}, "old_shares is missing or no number"),
        ({"new_shares": Decimal(0)}, "new_shares is not above zero"),
        ({"old_shares": Decimal(-1)}, "old_shares is not above zero"),
        ({"new_shares": Decimal(1)}, "as many new shares as old ones are no split"),
    ],
)
def test_a_split_that_breaks_a_rule_is_rejected_with_the_reason(
    wrong: dict[str, object], reason: str
) -> None:
    """The others of the answer are accepted."""
    other = {"ex_date": date(2020, 8, 31), "kind": None}
    judged = validate_splits(splits_table(wrong, other))
    assert judged.accepted.to_pylist() == splits_table(other).to_pylist()
    [rejected] = judged.rejected
    assert (rejected.reason, rejected.day, rejected.what) == (reason, MONDAY, "2024-06-03")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"amount": None}, "amount is missing or no number"),
        ({"amount": Decimal(0)}, "amount is not above zero"),
        ({"amount": Decimal("-0.1")}, "amount is not above zero"),
        ({"kind": "yearly"}, "kind is neither regular nor special"),
        ({"currency": "usd"}, "currency is no code of three capital letters"),
    ],
)
def test_a_dividend_that_breaks_a_rule_is_rejected_with_the_reason(
    wrong: dict[str, object], reason: str
) -> None:
    """An unknown currency breaks no rule."""
    other = {"ex_date": date(2020, 8, 31), "currency": "USD"}
    judged = validate_dividends(dividends_table(wrong, other, {"ex_date": date(2020, 3, 2)}))
    assert judged.accepted.num_rows == 2
    assert [(rejection.reason, rejection.day) for rejection in judged.rejected] == [
        (reason, MONDAY)
    ]


def test_one_of_equal_rows_is_kept_and_none_of_contradicting_ones() -> None:
    """It is unknown which ratio is right; a regular and a special dividend are two rows."""
    assert validate_splits(splits_table({}, {})).accepted.num_rows == 1
    judged = validate_splits(splits_table({}, {"new_shares": Decimal(2)}))
    assert judged.accepted.num_rows == 0
    assert len(judged.rejected[0].received) == 2
    assert validate_dividends(dividends_table({}, {"kind": "special"})).rejected == ()


DECLARED = {day: {"declaration_date": date(2024, 5, day)} for day in (1, 3)}
PAID = {day: {"payment_date": date(2024, 6, day)} for day in (20, 27)}
IN = {code: {"currency": code} for code in ("USD", "CAD")}


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        # What the issue saw refused: two of one kind on one day, and a special beside another.
        ([{"amount": "0.5"}, {"amount": "0.83"}], ["0.5", "0.83"]),
        (
            [
                {"kind": "special", "amount": "2", "frequency": "Irregular"},
                {"kind": "special", "amount": "0.3", "frequency": "Supplemental"},
            ],
            ["2", "0.3"],
        ),
        ([{"amount": "0.5", **DECLARED[1]}, {"amount": "0.8", **DECLARED[1]}], ["0.5", "0.8"]),
        ([{"amount": "0.5", **PAID[20]}, {"amount": "0.5", **PAID[27]}], ["0.5", "0.5"]),
        ([{"amount": "0.5", **IN["USD"]}, {"amount": "0.5", **IN["CAD"]}], ["0.5", "0.5"]),
        # Duplicates: equal, equal as far as both tell, and corrected by a later declaration.
        ([{"amount": "0.5"}, {"amount": "0.5"}], ["0.5"]),
        ([{"amount": "0.5"}, {"amount": "0.5", **PAID[20]}], ["0.5"]),
        ([{"amount": "0.5", **DECLARED[1]}, {"amount": "0.52", **DECLARED[3]}], ["0.52"]),
        ([{"amount": "0.5", **DECLARED[1]}, {"amount": "0.5", **DECLARED[3]}], ["0.5"]),
    ],
)  # fmt: skip
def test_dividends_of_one_day_are_told_apart_and_duplicates_count_once(
    rows: list[dict[str, object]], counted: list[str]
) -> None:
    """In any order of the answer, numbered from 1."""
    given_rows = [{**row, "amount": Decimal(str(row["amount"]))} for row in rows]
    results = [
        validate_dividends(dividends_table(*order)) for order in itertools.permutations(given_rows)
    ]
    for judged in results:
        assert judged.rejected == ()
        assert judged.accepted.schema.equals(NUMBERED_DIVIDENDS)
        numbers = judged.accepted["ordinal"].to_pylist()
        assert sorted(numbers) == list(range(1, len(counted) + 1))
        amounts = [amount.normalize() for amount in judged.accepted["amount"].to_pylist()]
        assert sorted(amounts) == sorted(Decimal(amount).normalize() for amount in counted)
    tables = [result.accepted.sort_by("ordinal") for result in results]
    assert all(table.equals(tables[0]) for table in tables)


def test_a_bad_row_takes_no_number_and_its_letter_names_day_and_kind() -> None:
    """The good one beside it is stored."""
    judged = validate_dividends(dividends_table({"amount": None}, {}))
    assert judged.accepted["ordinal"].to_pylist() == [1]
    assert [rejection.what for rejection in judged.rejected] == [f"{MONDAY} regular"]


def weekdays(count: int) -> list[date]:
    """Return ``count`` weekdays, the middle one MONDAY."""
    days = [MONDAY + timedelta(days=offset) for offset in range(-2 * count, 2 * count)]
    days = [day for day in days if day.weekday() < 5]
    at = days.index(MONDAY)
    return days[at - count // 2 : at + count // 2]


def prices(
    jump: float,
    *,
    at: date = MONDAY,
    adjustment: Adjustment = RAW,
    known_on: date = date(2026, 1, 2),
    wobble: float = 0.01,
) -> list[PricePoint]:
    """Return 60 bars that wobble, and are ``jump`` times as high from ``at`` on."""
    points: list[PricePoint] = []
    for place, day in enumerate(weekdays(60)):
        level = 100.0 * (jump if day >= at else 1.0)
        close = level * (1.0 + wobble * (-1) ** place)
        points.append(
            PricePoint(
                session_date=day, open=level, close=close, adjustment=adjustment, known_on=known_on
            )
        )
    return points


def terms(new: float, old: float = 1, ex_date: date = MONDAY) -> SplitTerms:
    """Return a split's terms."""
    return SplitTerms(ex_date=ex_date, new_shares=Decimal(new), old_shares=Decimal(old))


BEFORE_IT = MONDAY - timedelta(days=1)


@pytest.mark.parametrize(
    ("split", "given_prices", "verdict"),
    [
        (terms(4), prices(1 / 4), SplitVerdict.CONFIRMED),
        (terms(1, 8), prices(8), SplitVerdict.CONFIRMED),
        (terms(3, 2), prices(2 / 3 * 1.05), SplitVerdict.CONFIRMED),
        (terms(4), prices(4), SplitVerdict.INVERSE),
        (terms(1, 4), prices(1 / 4), SplitVerdict.INVERSE),
        (terms(4), prices(1), SplitVerdict.NO_JUMP),
        (terms(4), prices(1 / 2), SplitVerdict.MISMATCH),
        (terms(21, 20), prices(20 / 21), SplitVerdict.UNPROVEN),
        (terms(21, 20), prices(0.7), SplitVerdict.MISMATCH),
        (terms(4), prices(1 / 4, wobble=0.2), SplitVerdict.UNPROVEN),
        (terms(4), [], SplitVerdict.UNPROVEN),
        (terms(4, ex_date=date(2024, 7, 30)), prices(1), SplitVerdict.UNPROVEN),
        (terms(4, ex_date=date(2024, 3, 1)), prices(1), SplitVerdict.UNPROVEN),
        # Prices that the provider has adjusted since prove nothing, unless they contradict.
        (terms(4), prices(1, adjustment=SPLITS), SplitVerdict.UNPROVEN),
        (terms(4), prices(4, adjustment=SPLITS), SplitVerdict.NO_JUMP),
        (terms(4), prices(16, adjustment=SPLITS), SplitVerdict.INVERSE),
        (terms(4), prices(1 / 4, adjustment=SPLITS), SplitVerdict.CONFIRMED),
        # Prices that it had adjusted before the split are as good as paid ones.
        (terms(4), prices(1 / 4, adjustment=SPLITS, known_on=BEFORE_IT), SplitVerdict.CONFIRMED),
        (terms(4), prices(1, adjustment=SPLITS, known_on=BEFORE_IT), SplitVerdict.NO_JUMP),
        (terms(4), prices(4, adjustment=SPLITS, known_on=BEFORE_IT), SplitVerdict.INVERSE),
    ],
)
def test_prices_tell_true_splits_from_wrong_ones(
    split: SplitTerms, given_prices: list[PricePoint], verdict: SplitVerdict
) -> None:
    """By the jump over the ex-date, as far as it stands out."""
    [finding] = check_splits([split], given_prices)
    assert (finding.split, finding.verdict) == (split, verdict)
    assert finding.reason


@pytest.mark.parametrize(
    ("adjustment", "jump", "kept"),
    [
        (RAW, 1 / 4, SplitVerdict.CONFIRMED),
        (SPLITS, 1.0, SplitVerdict.UNPROVEN),
    ],
)
def test_the_same_split_under_two_dates_counts_once(
    adjustment: Adjustment, jump: float, kept: SplitVerdict
) -> None:
    """The one whose date prices confirm, or the earlier one if they cannot."""
    real, again = terms(4), terms(4, ex_date=MONDAY + timedelta(days=3))
    early = terms(8, 2, ex_date=MONDAY - timedelta(days=3))
    findings = check_splits([real, again], prices(jump, adjustment=adjustment))
    assert [finding.verdict for finding in findings] == [kept, SplitVerdict.DUPLICATE]
    if adjustment is RAW:
        findings = check_splits([early, real], prices(jump))
        assert [finding.verdict for finding in findings] == [
            SplitVerdict.DUPLICATE,
            SplitVerdict.CONFIRMED,
        ]


def test_two_splits_of_other_ratios_or_far_apart_are_two() -> None:
    """Different splits are no duplicates."""
    far = terms(4, ex_date=MONDAY + timedelta(days=14))
    findings = check_splits([terms(4), far], prices(1 / 4))
    assert [finding.verdict for finding in findings] == [
        SplitVerdict.CONFIRMED,
        SplitVerdict.NO_JUMP,
    ]


def jumping(*jumps: tuple[date, float], adjustment: Adjustment = RAW) -> list[PricePoint]:
    """Return prices that jump on several days."""
    points = prices(1.0, adjustment=adjustment)
    for day, jump in jumps:
        points = [
            replace(point, open=point.open * jump, close=point.close * jump)
            if point.session_date >= day
            else point
            for point in points
        ]
    return points


def test_a_second_split_of_another_ratio_is_none_of_the_first() -> None:
    """4:3 and 1:2 of one share a week apart, whether the provider has adjusted prices or not."""
    first, second = terms(4, 3), terms(1, 2, ex_date=MONDAY + timedelta(days=7))
    paid = jumping((first.ex_date, 3 / 4), (second.ex_date, 2.0))
    for given_prices in (paid, prices(1, adjustment=SPLITS)):
        assert {
            check_split.verdict for check_split in check_splits([first, second], given_prices)
        } <= USABLE
    equal = terms(1, 2), second
    findings = check_splits(equal, jumping((MONDAY, 2.0), (second.ex_date, 2.0)))
    assert [finding.verdict for finding in findings] == [SplitVerdict.CONFIRMED] * 2


def test_splits_between_the_same_two_sessions_are_judged_together() -> None:
    """One is on a Saturday: Friday's close and Monday's open show both, or one twice."""
    saturday = MONDAY - timedelta(days=2)
    both = [terms(4, 3, ex_date=saturday), terms(1, 2)]
    findings = check_splits(both, prices(3 / 2))
    assert [finding.verdict for finding in findings] == [SplitVerdict.CONFIRMED] * 2
    twice = [terms(4, ex_date=saturday), terms(4)]
    findings = check_splits(twice, prices(1 / 4))
    assert [finding.verdict for finding in findings] == [
        SplitVerdict.DUPLICATE,
        SplitVerdict.CONFIRMED,
    ]


def test_a_duplicate_follows_from_what_is_known_of_the_other_split() -> None:
    """Evidence that proves both undoes it, and evidence that refutes one leaves the other."""
    early, late = terms(2), terms(2, ex_date=MONDAY + timedelta(days=7))
    both, silent = [early, late], prices(1, adjustment=SPLITS)
    findings = check_splits(both, silent)
    assert [finding.verdict for finding in findings] == [
        SplitVerdict.UNPROVEN,
        SplitVerdict.DUPLICATE,
    ]

    def verdicts_of(
        told_by: list[PricePoint], kept: Sequence[SplitFinding], of: Sequence[SplitTerms] = both
    ) -> list[SplitVerdict]:
        alone = [verdicts(of, points, {}) for points in (silent, told_by)]
        return [
            without_duplicate.verdict
            for without_duplicate in without_duplicates(combined(*alone, kept))
        ]

    twice = jumping((MONDAY, 0.5), (late.ex_date, 0.5))
    assert verdicts_of(twice, []) == [SplitVerdict.CONFIRMED] * 2
    once = jumping((late.ex_date, 0.5))
    assert verdicts_of(once, []) == [SplitVerdict.DUPLICATE, SplitVerdict.CONFIRMED]
    # Its kept verdict is checked again: alone it may be true, but not beside a proven one.
    kept = SplitFinding(split=late, verdict=SplitVerdict.DUPLICATE, reason="then")
    assert verdicts_of([], [kept], [late]) == [SplitVerdict.UNPROVEN]
    proven = SplitFinding(split=late, verdict=SplitVerdict.CONFIRMED, reason="then")
    assert verdicts_of([], [proven]) == [SplitVerdict.DUPLICATE, SplitVerdict.CONFIRMED]
    # Prices that refute it now override the kept verdict.
    refuted = verdicts([early], prices(1), {})
    assert combined(refuted, [replace(proven, split=early)]) == refuted


@pytest.mark.parametrize("adjustment", [RAW, SPLITS])
def test_a_spin_off_on_the_day_of_a_split_is_no_mismatch(adjustment: Adjustment) -> None:
    """A reverse split of 1:3 promises 300 for 100; 120 of them went elsewhere."""
    split = terms(1, 3)
    jump = 3.0 * 0.6 if adjustment is RAW else 0.6
    before = 100.0 if adjustment is RAW else 300.0
    points = jumping((MONDAY, jump), adjustment=adjustment)
    points = [
        replace(point, open=point.open * before / 100, close=point.close * before / 100)
        for point in points
    ]
    assert check_splits([split], points)[0].verdict is SplitVerdict.MISMATCH
    [finding] = check_splits([split], points, {MONDAY: Decimal(120)})
    assert finding.verdict in USABLE


def test_what_prices_once_said_is_kept_when_they_can_tell_no_longer() -> None:
    """But not about other terms, and not against prices that prove otherwise."""
    silent = SplitFinding(split=terms(4), verdict=SplitVerdict.UNPROVEN, reason="adjusted")
    inverse = SplitFinding(split=terms(4), verdict=SplitVerdict.INVERSE, reason="then")
    mended = SplitFinding(split=terms(1, 4), verdict=SplitVerdict.UNPROVEN, reason="adjusted")
    proven = SplitFinding(split=terms(4), verdict=SplitVerdict.CONFIRMED, reason="now")
    assert combined([silent], [inverse]) == [inverse]
    assert combined([mended], [inverse]) == [mended]
    assert combined([proven], [inverse]) == [proven]


def step_on(steps: Sequence[FactorStep], day: date) -> FactorStep:
    """Return the step of ``day``."""
    [step] = [part for part in steps if part.first_day <= day < part.before_day]
    return step


RATIOS = st.sampled_from([(2, 1), (3, 2), (1, 8), (21, 20), (7, 1)])
DAYS = weekdays(60)


@given(
    splits=st.lists(st.tuples(st.sampled_from(DAYS), RATIOS), unique_by=lambda row: row[0]),
    dividends=st.lists(st.tuples(st.sampled_from(DAYS), st.integers(1, 900)), max_size=6),
)
def test_factors_of_a_day_are_the_products_over_all_later_actions(
    splits: list[tuple[date, tuple[int, int]]], dividends: list[tuple[date, int]]
) -> None:
    """Steps adjoin from beginning to end, and the latest one changes nothing."""
    real = [terms(new, old, ex_date=day) for day, (new, old) in splits]
    paid = [DividendTerms(ex_date=day, amount=Decimal(cents) / 100) for day, cents in dividends]
    points = prices(1.0)
    steps = price_factors(real, paid, points).steps
    assert (steps[0].first_day, steps[-1].before_day) == (BEGINNING, END)
    assert all(step.before_day == other.first_day for step, other in itertools.pairwise(steps))
    assert (steps[-1].split_factor, steps[-1].dividend_factor) == (1, 1)
    for day in DAYS:
        later = [split for split in real if split.ex_date > day]
        expected = math.prod(
            (Fraction(split.old_shares) / Fraction(split.new_shares) for split in later),
            start=Fraction(1),
        )
        assert step_on(steps, day).split_factor == expected
        ahead = step_on(steps, day).dividend_factor
        assert ahead <= step_on(steps, day + timedelta(days=1)).dividend_factor
        if not any(dividend.ex_date > day for dividend in paid):
            assert ahead == 1


@given(st.lists(st.tuples(st.sampled_from(DAYS[1:]), RATIOS), unique_by=lambda row: row[0]))
def test_a_dividend_takes_the_same_share_whatever_its_prices_are_adjusted_for(
    splits: list[tuple[date, tuple[int, int]]],
) -> None:
    """As traded, or adjusted by the provider for the splits that had come by then."""
    real = [terms(new, old, ex_date=day) for day, (new, old) in splits]
    paid = [DividendTerms(ex_date=DAYS[40], amount=Decimal("0.5"))]
    known_on = DAYS[50]

    def point(day: date, adjustment: Adjustment) -> PricePoint:
        shares_of = day if adjustment is RAW else max(day, known_on)
        level = 100.0
        for split in real:
            if split.ex_date <= shares_of:
                level *= float(split.old_shares / split.new_shares)
        return PricePoint(
            session_date=day, open=level, close=level, adjustment=adjustment, known_on=known_on
        )

    raw, adjusted = (
        price_factors(real, paid, [point(day, adjustment) for day in DAYS]).steps[0]
        for adjustment in (RAW, SPLITS)
    )
    assert float(raw.dividend_factor) == pytest.approx(float(adjusted.dividend_factor), rel=1e-12)
    assert raw.split_factor == adjusted.split_factor


def test_dividends_of_one_day_count_with_their_sum() -> None:
    """A regular and a special one leave 1 - (1 + 4) / 100."""
    points = prices(1.0, wobble=0.0)
    paid = [DividendTerms(ex_date=MONDAY, amount=Decimal(amount)) for amount in (1, 4)]
    [before, after] = price_factors([], paid, points).steps
    assert (before.before_day, before.dividend_factor) == (MONDAY, Decimal("0.95"))
    assert after.dividend_factor == 1


def test_actions_without_prices_around_them_change_nothing() -> None:
    """After the last bar they have not happened yet; before the first one nothing is older."""
    points = prices(1.0)
    late, early = DAYS[-1] + timedelta(days=1), DAYS[0] - timedelta(days=30)
    factors = price_factors(
        [terms(4, ex_date=late)],
        [DividendTerms(ex_date=day, amount=Decimal(1)) for day in (early, late)],
        points,
    )
    assert len(factors.steps) == 1
    assert price_factors([], [], []).steps[0].split_factor == 1


def test_a_dividend_that_is_not_below_its_price_is_told_and_not_used() -> None:
    """A factor of zero or less would wipe out a history."""
    absurd = DividendTerms(ex_date=MONDAY, amount=Decimal(150))
    factors = price_factors([], [absurd], prices(1.0))
    assert factors.unusable == (absurd,)
    assert [step.dividend_factor for step in factors.steps] == [1]


def test_prices_that_are_adjusted_for_dividends_already_are_refused() -> None:
    """They would be adjusted twice."""
    points = prices(1.0, adjustment=Adjustment.SPLITS_AND_DIVIDENDS)
    paid = [DividendTerms(ex_date=MONDAY, amount=Decimal(1))]
    with pytest.raises(ValueError, match="adjusted for dividends already"):
        price_factors([], paid, points)


APPLE = [
    # ex-date, amount, last close before it, close of the ex-date
    (date(2023, 2, 10), "0.23", 150.87, 151.01),
    (date(2023, 5, 12), "0.24", 173.75, 172.57),
    (date(2023, 8, 11), "0.24", 177.97, 177.79),
    (date(2023, 11, 10), "0.24", 182.41, 186.40),
    (date(2024, 2, 9), "0.24", 188.32, 188.85),
    (date(2024, 5, 10), "0.25", 184.57, 183.05),
]
"""What Apple paid between the prices of Tiingo's recording and the day it was made, June 2024."""


def test_our_factor_is_within_a_third_of_a_cent_of_the_one_in_tiingos_recording() -> None:
    """Tiingo divides by another close, so that the two cannot be equal.

    Its adjusted prices of January 2023 are the raw ones times 0.99185110998, which is the product
    of close / (close + amount) with the closes of the ex-dates, to the last digit. Ours is that of
    (1 - amount / close) with the closes before: the two differ by the price's own move on the
    ex-date times the yield, here by 22 millionths over six dividends.
    """
    rows = json.loads((RECORDINGS / "tiingo_daily_prices_aapl_2023_01.json").read_text())
    tiingos = math.prod(after / (after + float(amount)) for _, amount, _, after in APPLE)
    points = [
        PricePoint(session_date=day, open=close, close=close, adjustment=RAW, known_on=day)
        for ex_date, _, before, after in APPLE
        for day, close in ((ex_date - timedelta(days=1), before), (ex_date, after))
    ]
    paid = [DividendTerms(ex_date=day, amount=Decimal(amount)) for day, amount, *_ in APPLE]
    ours = float(price_factors([], paid, points).steps[0].dividend_factor)
    for row in rows:
        assert row["adjClose"] == pytest.approx(row["close"] * tiingos, abs=1e-9)
        assert row["adjClose"] == pytest.approx(row["close"] * ours, abs=0.003)
    assert ours == pytest.approx(0.9918289688, abs=1e-9)

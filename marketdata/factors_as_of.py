"""Factors as they followed from what was known at a moment, and from nothing that came later.

Here: which splits counted at a moment, and the few prices that this and the factors are made of.
Not here: how prices judge a split (split_checks.py), the arithmetic (price_factors.py), or where
rows of a moment come from (resources/reading).

Splits, dividends, bars and checks of splits keep their versions. What prices can tell they tell
again. Where they cannot, the verdict that was held counts; if it was
replaced before versions of it were kept, nobody knows whether the split counted, and that is an
error instead of a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from marketdata.adjusting import FactorSteps
from marketdata.bars import Adjustment
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.price_factors import DividendTerms, FactorStep, daily, price_factors
from marketdata.split_checks import (
    NOISE_SESSIONS,
    USABLE,
    PricePoint,
    SplitFinding,
    SplitTerms,
    SplitVerdict,
    verdicts,
    without_duplicates,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSplit:
    """A split as it was known at a moment.

    Attributes:
        terms: What was known.
        is_past: Whether it was restated or withdrawn since.
    """

    terms: SplitTerms
    is_past: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCheck:
    """The check of a split as it was held at a moment, or the first one that is known after it.

    Attributes:
        terms: Those that were judged.
        verdict: The one that was held.
        checked_at: Since when terms, verdict and its reason are what they are (aware).
        confirmed_at: When a person vouched for the terms (aware); None if nobody did.
    """

    terms: SplitTerms
    verdict: SplitVerdict
    checked_at: datetime
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownActions:
    """What factors of one instrument are made of beside prices.

    Attributes:
        splits: As they were known at the moment, oldest first.
        dividends: The same, those that count in the currency of the prices.
        spin_offs: As a person had told them by the moment.
        checks: By ex-date.
    """

    splits: Sequence[KnownSplit] = ()
    dividends: Sequence[DividendTerms] = ()
    spin_offs: Sequence[DividendTerms] = ()
    checks: Mapping[date, HeldCheck]


def factors_as_of(actions: KnownActions, days: pa.Table, moment: datetime) -> FactorSteps:
    """Return the factors of one instrument that followed from what was known at a moment.

    Args:
        actions: Of the moment.
        days: All daily bars of the moment, oldest first, at least one: ``bucket_start`` (date32),
            ``open``, ``close``, ``adjustment``, ``known_from``.
        moment: Aware.

    Raises:
        ValueError: Whether a split counted is not known any more, or a price that a dividend
            needs is adjusted for dividends already.
    """
    prices = _prices(actions, days)
    usable = _usable(actions, prices, moment)
    paid = [*actions.dividends, *actions.spin_offs]
    return _steps(price_factors(usable, paid, prices).steps)


def _prices(actions: KnownActions, days: pa.Table) -> list[PricePoint]:
    """Return the prices that checks and factors look at, of thousands: the results are the same.

    They are those around a split, the one before a dividend, and the last one of all.
    """
    sessions = days["bucket_start"].cast(pa.int32()).to_numpy()
    places = {len(sessions) - 1}
    for split in actions.splits:
        place = _place(sessions, split.terms.ex_date)
        places.update(range(place - NOISE_SESSIONS - 1, place + NOISE_SESSIONS))
    for paid in (*actions.dividends, *actions.spin_offs):
        places.add(_place(sessions, paid.ex_date) - 1)
    wanted = sorted(place for place in places if 0 <= place < len(sessions))
    columns = ["bucket_start", "open", "close", "adjustment", "known_from"]
    return [
        PricePoint(
            session_date=row["bucket_start"],
            open=row["open"],
            close=row["close"],
            adjustment=Adjustment(row["adjustment"]),
            known_on=row["known_from"].astimezone(NEW_YORK_ZONE).date(),
        )
        for row in days.select(columns).take(wanted).to_pylist()
    ]


def _place(sessions: np.ndarray, day: date) -> int:
    """Return the place of the first session that is not before a day."""
    return int(np.searchsorted(sessions, np.datetime64(day, "D").astype(np.int32)))


def _usable(
    actions: KnownActions, prices: Sequence[PricePoint], moment: datetime
) -> list[SplitTerms]:
    """Return the splits that counted; those after the last price change nothing yet."""
    last = prices[-1].session_date
    terms = [one.terms for one in actions.splits]
    alone = verdicts(terms, prices, daily(actions.spin_offs))
    return [
        split.terms
        for split, by_itself, finding in zip(
            actions.splits, alone, without_duplicates(alone), strict=True
        )
        if split.terms.ex_date <= last
        and _counted(split, by_itself, finding, actions.checks.get(split.terms.ex_date), moment)
    ]


def _counted(
    split: KnownSplit,
    by_itself: SplitFinding,
    finding: SplitFinding,
    held: HeldCheck | None,
    moment: datetime,
) -> bool:
    """Tell whether a split counted, by what prices say of it and its check.

    Args:
        split: As it was known.
        by_itself: What prices say of it, whatever they say of others.
        finding: The same, or that it repeats another one.
        held: Its check.
        moment: Of the question.

    Raises:
        ValueError: The check that would decide was replaced, and not kept.
    """
    is_replaced = held is not None and held.checked_at > moment
    own = held if held is not None and held.terms == split.terms else None
    if own is not None and own.confirmed_at is not None and own.confirmed_at <= moment:
        return True
    if by_itself.verdict is SplitVerdict.UNPROVEN and own is not None and not is_replaced:
        return own.verdict in USABLE
    if finding.verdict is SplitVerdict.UNPROVEN:
        if not is_replaced:
            return True
    elif finding.verdict in USABLE:
        return True
    elif not (is_replaced and split.is_past):  # A confirmation ends only with its terms.
        return False
    message = (
        f"whether its split of {split.terms.ex_date} counted on {moment:%Y-%m-%dT%H:%M:%SZ} is not "
        "known any more, since its check has changed after that: take a later as_of, or leave out "
        "adjusted"
    )
    raise ValueError(message)


def _steps(steps: Sequence[FactorStep]) -> FactorSteps:
    first_days = np.array([step.first_day for step in steps], "datetime64[D]")
    return FactorSteps(
        first_days=first_days.astype(np.int32),
        split_factors=np.array([float(step.split_factor) for step in steps]),
        dividend_factors=np.array([float(step.dividend_factor) for step in steps]),
    )

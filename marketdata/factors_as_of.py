"""Factors as of a moment: derived only from what was known then.

Here: which splits counted at a moment, and the few prices that checks and factors need. Not here:
how prices judge a split (split_checks.py), the arithmetic (price_factors.py), or reading the rows
of a moment (resources/reading).

Splits, dividends, bars and checks of splits keep their versions. Where prices can judge a split,
they judge it again. Where they cannot, the verdict of that moment counts. If that verdict was
replaced before its versions were kept, it is unknown whether the split counted: that is an error,
not a guess.
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
        terms: Its terms as known then.
        is_past: Whether it was restated or withdrawn since.
    """

    terms: SplitTerms
    is_past: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCheck:
    """The check of a split as of a moment, or the first known one after it.

    Attributes:
        terms: The terms that were checked.
        verdict: The verdict on them.
        checked_at: Since when terms, verdict and reason stand (aware).
        confirmed_at: When a person confirmed the terms (aware); None if nobody did.
    """

    terms: SplitTerms
    verdict: SplitVerdict
    checked_at: datetime
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownActions:
    """The actions that factors of one instrument are made of, as known at a moment.

    Attributes:
        splits: Splits, oldest first.
        dividends: Dividends that count, in the currency of the prices, oldest first.
        spin_offs: Spin-offs that a person had recorded.
        checks: Checks of splits, by ex-date.
    """

    splits: Sequence[KnownSplit] = ()
    dividends: Sequence[DividendTerms] = ()
    spin_offs: Sequence[DividendTerms] = ()
    checks: Mapping[date, HeldCheck]


def factors_as_of(actions: KnownActions, days: pa.Table, moment: datetime) -> FactorSteps:
    """Return the factors of one instrument as of a moment.

    Args:
        actions: Actions as known at the moment.
        days: All daily bars known at the moment, oldest first, at least one: ``bucket_start``
            (date32), ``open``, ``close``, ``adjustment``, ``known_from``.
        moment: The moment (aware).

    Raises:
        ValueError: It is unknown whether a split counted, or a price that a dividend needs is
            adjusted for dividends already.
    """
    prices = _prices(actions, days)
    usable = _usable(actions, prices, moment)
    paid = [*actions.dividends, *actions.spin_offs]
    return _steps(price_factors(usable, paid, prices).steps)


def _prices(actions: KnownActions, days: pa.Table) -> list[PricePoint]:
    """Return the few prices that checks and factors need, out of thousands.

    Those are the prices around a split, the one before a dividend, and the last one.
    """
    sessions = days["bucket_start"].cast(pa.int32()).to_numpy()
    places = {len(sessions) - 1}
    for split in actions.splits:
        place = _place(sessions, split.terms.ex_date)
        places.update(range(place - NOISE_SESSIONS - 1, place + NOISE_SESSIONS))
    for paid in (*actions.dividends, *actions.spin_offs):
        places.add(_place(sessions, paid.ex_date) - 1)
    needed = sorted(place for place in places if 0 <= place < len(sessions))
    columns = ["bucket_start", "open", "close", "adjustment", "known_from"]
    return [
        PricePoint(
            session_date=row["bucket_start"],
            open=row["open"],
            close=row["close"],
            adjustment=Adjustment(row["adjustment"]),
            known_on=row["known_from"].astimezone(NEW_YORK_ZONE).date(),
        )
        for row in days.select(columns).take(needed).to_pylist()
    ]


def _place(sessions: np.ndarray, day: date) -> int:
    """Return the index of the first session on or after a day."""
    return int(np.searchsorted(sessions, np.datetime64(day, "D").astype(np.int32)))


def _usable(
    actions: KnownActions, prices: Sequence[PricePoint], moment: datetime
) -> list[SplitTerms]:
    """Return the splits that counted; splits after the last price change nothing yet."""
    last = prices[-1].session_date
    terms = [split.terms for split in actions.splits]
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
    check: HeldCheck | None,
    moment: datetime,
) -> bool:
    """Return whether a split counted, by the verdict of prices and by its check.

    Args:
        split: The split as it was known.
        by_itself: The verdict of prices, without regard to other splits.
        finding: The same verdict, or that it is a duplicate of another split.
        check: Its check as of the moment, or the first one after it.
        moment: The moment (aware).

    Raises:
        ValueError: The check that decides was replaced, and its version was not kept.
    """
    is_replaced = check is not None and check.checked_at > moment
    own = check if check is not None and check.terms == split.terms else None
    if own is not None and own.confirmed_at is not None and own.confirmed_at <= moment:
        return True
    if by_itself.verdict is SplitVerdict.UNPROVEN and own is not None and not is_replaced:
        return own.verdict in USABLE
    if finding.verdict is SplitVerdict.UNPROVEN:
        if not is_replaced:
            return True
    elif finding.verdict in USABLE:
        return True
    elif not (is_replaced and split.is_past):  # A confirmation holds as long as its terms.
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

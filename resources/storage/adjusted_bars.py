"""Factors for splits and dividends, one instrument at a time, and the checks of splits.

Here: reading actions and prices, keeping verdicts and factors, and the lists of pending work.
Not here: the arithmetic (marketdata/price_factors.py, marketdata/split_checks.py), or the
multiplication (the view adjusted_daily_bars of migration 0008).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from marketdata.audit import Action
from marketdata.bars import Adjustment
from marketdata.distributions import (
    Dividend,
    DividendFinding,
    DividendVerdict,
    Rate,
    Terms,
    judged,
    series_of,
    terms_of,
    without_unusable,
)
from marketdata.price_factors import DividendTerms, FactorStep, daily, price_factors
from marketdata.recovery import errors
from marketdata.split_checks import (
    USABLE,
    PricePoint,
    SplitFinding,
    SplitTerms,
    SplitVerdict,
    combined,
    verdicts,
    without_duplicates,
)
from resources.storage import sql
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.audit import record
from resources.storage.timescale import Connection, Timescale

_FILE = "adjusted_bars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """The result of deriving one instrument's factors.

    Attributes:
        steps: Number of spans with factors of their own; 0 without bars.
        changed: Whether the factors differ from those before.
        quarantined: Splits that prices do not bear out; nothing was adjusted for them.
        unusable: Daily sums of dividends that are not below the price they were paid out of.
        dividends: Dividends that do not count as stored: converted, confirmed, or waiting.
    """

    steps: int
    changed: bool
    quarantined: tuple[SplitFinding, ...]
    unusable: tuple[DividendTerms, ...]
    dividends: tuple[DividendFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtfulSplit:
    """A split that its instrument's prices do not bear out."""

    instrument_id: int
    finding: SplitFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedDividend:
    """A dividend that does not count as stored, and its instrument."""

    instrument_id: int
    finding: DividendFinding

    @property
    def waits(self) -> bool:
        """Whether it adjusts nothing until a rate or a confirmation comes."""
        return self.finding.counted is None


class AdjustedBars:
    """Derives the factors of the view adjusted_daily_bars.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def derive(self, instrument_id: int, *, as_traded: pa.Table | None = None) -> Derivation:
        """Check an instrument's splits against prices and derive its factors, in one transaction.

        No other instrument is touched. A verdict is kept when the provider has since adjusted the
        prices, which then no longer prove anything. A split whose terms changed is checked again.

        Args:
            instrument_id: The instrument.
            as_traded: Its WIRE_BARS around ex-dates, as evidence where the stored bars prove
                nothing.

        Raises:
            StorageConflictError: A bar that a dividend needs is adjusted for dividends already.
            StorageUnavailableError: The database cannot be reached now; nothing was changed.
        """
        parameters = {"instrument_id": instrument_id}
        with self._timescale.connection() as connection:
            locked = connection.execute(sql.query(_FILE, "lock_actions"), parameters).fetchone()
            at = {**parameters, "derived_at": locked[1] if locked else None}
            prices = _prices(connection, instrument_id)
            evidence = [] if as_traded is None else _evidence(as_traded)
            spun_off = _spin_offs(connection, instrument_id)
            findings, confirmed = _findings(connection, instrument_id, prices, evidence, spun_off)
            for finding in findings:
                connection.execute(sql.query(_FILE, "write_check"), {**at, **_fields(finding)})
            usable = [
                finding.split
                for finding in findings
                if finding.verdict in USABLE or finding.split in confirmed
            ]
            doubtful = tuple(finding for finding in findings if finding.split not in usable)
            connection.execute(sql.query(_FILE, "forget_dividend_checks"), parameters)
            if not prices:
                connection.execute(sql.query(_FILE, "forget_factors"), parameters)
                return Derivation(steps=0, changed=False, quarantined=doubtful, unusable=())
            paid = _dividends(connection, instrument_id)
            try:
                factors = price_factors(usable, [*terms_of(paid), *spun_off], prices)
            except ValueError as error:
                message = f"instrument {instrument_id}: {error}"
                raise errors.StorageConflictError(message) from error
            noted = tuple(
                payment
                for payment in without_unusable(paid, factors.unusable)
                if payment.verdict is not DividendVerdict.COUNTED
            )
            for payment in noted:
                connection.execute(
                    sql.query(_FILE, "write_dividend_check"), {**at, **_dividend_fields(payment)}
                )
            last = {"last_session": prices[-1].session_date}
            written = connection.execute(
                sql.query(_FILE, "write_factors"), {**at, **last, **_arrays(factors.steps)}
            ).fetchone()
        return Derivation(
            steps=len(factors.steps),
            changed=bool(written and written[0]),
            quarantined=doubtful,
            unusable=factors.unusable,
            dividends=noted,
        )

    def waiting(self) -> list[int]:
        """Return the instruments whose factors are out of date or were never derived.

        Causes: new or changed actions or bars, the bar of an ex-date, a confirmation, or an
        exchange rate that converts a dividend.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "waiting")).fetchall()
        return [row[0] for row in rows]

    def rebased(self, today: date) -> list[int]:
        """Return the instruments whose split-adjusted history has to be fetched again.

        A split's ex-date has come since the fetch. Splits that prices refute do not count, since
        a split that did not happen re-bases nothing. Call ``derive`` first: it checks the prices.

        Args:
            today: The day in New York.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "rebased"), {"today": today}).fetchall()
        return [row[0] for row in rows]

    def quarantined(self) -> list[DoubtfulSplit]:
        """Return the splits that adjust nothing, the latest first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "quarantined")).fetchall()
        return [
            DoubtfulSplit(instrument_id=instrument_id, finding=_finding(row))
            for instrument_id, *row in rows
        ]

    def unproven(self, today: date) -> list[tuple[int, date]]:
        """Return instrument and ex-date of splits that as-traded prices could still prove.

        Args:
            today: The day in New York; later splits have no prices yet.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "unproven"), {"today": today}).fetchall()
        return [(instrument_id, ex_date) for instrument_id, ex_date in rows]

    def confirm(self, instrument_id: int, ex_date: date, *, by: str, reason: str) -> None:
        """Record a person's confirmation of a split, valid while its terms stay; derive afterwards.

        Raises:
            ArgumentError: No such split has been checked.
        """
        parameters = {
            "instrument_id": instrument_id,
            "ex_date": ex_date,
            "by": by,
            "reason": reason,
        }
        with self._timescale.connection() as connection:
            done = connection.execute(sql.query(_FILE, "confirm"), parameters)
            if not done.rowcount:
                message = (
                    f"instrument {instrument_id} has no checked split on {ex_date}: "
                    "`wrdata splits list` shows those that wait for a person"
                )
                raise errors.ArgumentError(message)
            record(
                connection,
                Action.SPLIT_CONFIRMED,
                who=by,
                subject=f"instrument {instrument_id}, {ex_date}",
                details={"reason": reason},
                journal=self._timescale.journal,
            )

    def dividends(self) -> list[NotedDividend]:
        """Return the dividends that do not count as stored, waiting ones first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "dividend_checks")).fetchall()
        return [
            NotedDividend(instrument_id=row[0], finding=_dividend_finding(row[1:])) for row in rows
        ]

    def confirm_dividend(
        self, instrument_id: int, dividend: Dividend, counted: Decimal, *, by: str, reason: str
    ) -> None:
        """Record a person's amount of a dividend in the prices' currency; derive afterwards.

        It is valid while the dividend's terms stay.

        Raises:
            StorageConflictError: The database refuses it.
        """
        ex_date, kind, amount, currency = dividend.terms
        parameters = {
            "instrument_id": instrument_id,
            "ex_date": ex_date,
            "kind": kind,
            "amount": amount,
            "currency": currency,
            "counted": counted,
            "by": by,
            "reason": reason,
        }
        with self._timescale.connection() as connection:
            connection.execute(sql.query(_FILE, "confirm_dividend"), parameters)
            record(
                connection,
                Action.DIVIDEND_CONFIRMED,
                who=by,
                subject=f"instrument {instrument_id}, {ex_date}",
                details={
                    "kind": kind,
                    "amount": f"{amount:f}",
                    "currency": currency,
                    "counted": f"{counted:f}",
                    "reason": reason,
                },
                journal=self._timescale.journal,
            )

    def record_spin_off(
        self, instrument_id: int, ex_date: date, of: str, value: Decimal, *, by: str, reason: str
    ) -> None:
        """Record a spin-off, or take it back with a value of 0; derive afterwards.

        Args:
            instrument_id: The parent share.
            ex_date: The first day on which it trades without.
            of: What was spun off.
            value: Worth on ex_date of what one share of the parent got, in the currency of the
                prices.
            by: Who recorded it.
            reason: Why.
        """
        parameters = {
            "instrument_id": instrument_id,
            "ex_date": ex_date,
            "spun_off": of,
            "value": value,
            "by": by,
            "reason": reason,
        }
        with self._timescale.connection() as connection:
            connection.execute(sql.query(_FILE, "tell_spin_off"), parameters)
            record(
                connection,
                Action.SPIN_OFF_RECORDED,
                who=by,
                subject=f"instrument {instrument_id}, {ex_date}",
                details={"of": of, "value": f"{value:f}", "reason": reason},
                journal=self._timescale.journal,
            )


def read_adjusted_bars(
    opened: Timescale, instrument_id: int, adjustment: Adjustment, start: date, end: date
) -> pa.Table:
    """Return session_date, open, high, low, close, volume and both factors, oldest first.

    Args:
        opened: The database.
        instrument_id: The instrument.
        adjustment: SPLITS or SPLITS_AND_DIVIDENDS.
        start: First session, included.
        end: Last session, included.

    Raises:
        StorageUnavailableError: The database cannot be reached now.
        StorageConflictError: It refuses the query.
    """
    with arrow_cursor(opened) as cursor:
        bounds = (instrument_id, adjustment, start, end)
        cursor.execute(sql.query(_FILE, "read_adjusted_bars"), bounds)
        return cursor.fetch_arrow_table()


def _prices(connection: Connection, instrument_id: int) -> list[PricePoint]:
    rows = connection.execute(
        sql.query(_FILE, "read_prices"), {"instrument_id": instrument_id}
    ).fetchall()
    return [
        PricePoint(
            session_date=day, open=first, close=last, adjustment=Adjustment(kind), known_on=known_on
        )
        for day, first, last, kind, known_on in rows
    ]


def _evidence(as_traded: pa.Table) -> list[PricePoint]:
    rows = as_traded.sort_by("session_date").to_pylist()
    return [
        PricePoint(
            session_date=row["session_date"],
            open=row["open"],
            close=row["close"],
            adjustment=Adjustment.AS_TRADED,
            known_on=row["session_date"],
        )
        for row in rows
        if row["open"] and row["close"]
    ]


def _dividends(connection: Connection, instrument_id: int) -> list[DividendFinding]:
    parameters = {"instrument_id": instrument_id}
    rows = connection.execute(sql.query(_FILE, "read_dividends"), parameters).fetchall()
    dividends = [
        Dividend(ex_date=day, kind=kind, ordinal=ordinal, amount=amount, currency=currency)
        for day, kind, ordinal, amount, currency in rows
    ]
    confirmed = connection.execute(sql.query(_FILE, "read_dividend_words"), parameters).fetchall()
    words: dict[Terms, Decimal] = {(*terms,): counted for *terms, counted in confirmed}
    return judged(dividends, _rates(connection, dividends), words)


def _rates(connection: Connection, dividends: Sequence[Dividend]) -> dict[str, list[Rate]]:
    """Return the exchange rates of the dividends' currencies."""
    series = [
        series_of(currency) for currency in {dividend.currency or "" for dividend in dividends}
    ]
    names = [rate_series.series for rate_series in series if rate_series is not None]
    rates: dict[str, list[Rate]] = {name: [] for name in names}
    if names:
        parameters = {"series": names, "first": min(dividend.ex_date for dividend in dividends)}
        for name, day, value in connection.execute(sql.query(_FILE, "read_rates"), parameters):
            rates[name].append(Rate(observed_on=day, value=value))
    return rates


def _spin_offs(connection: Connection, instrument_id: int) -> list[DividendTerms]:
    rows = connection.execute(
        sql.query(_FILE, "read_spin_offs"), {"instrument_id": instrument_id}
    ).fetchall()
    return [DividendTerms(ex_date=ex_date, amount=value) for ex_date, value in rows]


def _findings(
    connection: Connection,
    instrument_id: int,
    prices: Sequence[PricePoint],
    evidence: Sequence[PricePoint],
    spun_off: Sequence[DividendTerms],
) -> tuple[list[SplitFinding], set[SplitTerms]]:
    """Return the verdict on each split, and the splits that a person has confirmed."""
    parameters = {"instrument_id": instrument_id}
    rows = connection.execute(sql.query(_FILE, "read_splits"), parameters).fetchall()
    splits = [SplitTerms(ex_date=day, new_shares=new, old_shares=old) for day, new, old in rows]
    checked = connection.execute(sql.query(_FILE, "read_checks"), parameters).fetchall()
    kept = [_finding(row[:-1]) for row in checked]
    confirmed = {check.split for check, row in zip(kept, checked, strict=True) if row[-1]}
    values = daily(spun_off)
    by_prices, by_evidence = (verdicts(splits, points, values) for points in (prices, evidence))
    return without_duplicates(combined(by_prices, by_evidence, kept)), confirmed


def _finding(row: Sequence[Any]) -> SplitFinding:
    ex_date, new_shares, old_shares, verdict, reason = row
    return SplitFinding(
        split=SplitTerms(ex_date=ex_date, new_shares=new_shares, old_shares=old_shares),
        verdict=SplitVerdict(verdict),
        reason=reason,
    )


def _dividend_finding(row: Sequence[Any]) -> DividendFinding:
    day, kind, ordinal, amount, currency, verdict, reason, counted, series, on, value = row
    return DividendFinding(
        dividend=Dividend(
            ex_date=day, kind=kind, ordinal=ordinal, amount=amount, currency=currency
        ),
        verdict=DividendVerdict(verdict),
        reason=reason,
        counted=counted,
        series=series,
        rate=None if on is None else Rate(observed_on=on, value=value),
    )


def _dividend_fields(finding: DividendFinding) -> dict[str, object]:
    rate = finding.rate
    return {
        "ex_date": finding.dividend.ex_date,
        "kind": finding.dividend.kind,
        "ordinal": finding.dividend.ordinal,
        "amount": finding.dividend.amount,
        "currency": finding.dividend.currency,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "counted": finding.counted,
        "series": finding.series,
        "observed_on": None if rate is None else rate.observed_on,
        "rate": None if rate is None else rate.value,
    }


def _fields(finding: SplitFinding) -> dict[str, object]:
    return {
        "ex_date": finding.split.ex_date,
        "new_shares": finding.split.new_shares,
        "old_shares": finding.split.old_shares,
        "verdict": finding.verdict,
        "reason": finding.reason,
    }


def _arrays(steps: Sequence[FactorStep]) -> dict[str, object]:
    return {
        "first_days": [step.first_day for step in steps],
        "split_factors": [float(step.split_factor) for step in steps],
        "dividend_factors": [float(step.dividend_factor) for step in steps],
    }

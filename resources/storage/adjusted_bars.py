"""Prices adjusted for splits and dividends: factors, one instrument at a time, and their checks.

Here: reading actions and prices, keeping verdicts and factors, and the lists of what has to be
done. Not here: the arithmetic (marketdata/price_factors.py, marketdata/split_checks.py), or the
multiplication (the view adjusted_daily_bars of migration 0014).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from marketdata.bars import Adjustment
from marketdata.price_factors import DividendTerms, FactorStep, price_factors
from marketdata.recovery import errors
from marketdata.split_checks import (
    USABLE,
    PricePoint,
    SplitFinding,
    SplitTerms,
    SplitVerdict,
    check_splits,
    combined,
)
from resources.storage import sql
from resources.storage.arrow_cursor import arrow_cursor
from resources.storage.timescale import Connection, Timescale

_FILE = "adjusted_bars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """What became of one instrument's factors.

    Attributes:
        steps: How many spans with factors of their own there are; 0 for one without bars.
        changed: Whether the factors differ from those before.
        quarantined: Splits with a finding, for which nothing was adjusted.
        unusable: Dividends that are not below the price they were paid out of.
    """

    steps: int
    changed: bool
    quarantined: tuple[SplitFinding, ...]
    unusable: tuple[DividendTerms, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtfulSplit:
    """A split, and the instrument whose prices do not bear it out."""

    instrument_id: int
    finding: SplitFinding


class AdjustedBars:
    """Derives what the view adjusted_daily_bars multiplies with.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def derive(self, instrument_id: int, *, as_traded: pa.Table | None = None) -> Derivation:
        """Check an instrument's splits against prices and derive its factors, in one transaction.

        No other instrument is touched. A verdict is kept when prices can no longer tell, since
        the provider has adjusted them; a split whose terms changed is judged anew.

        Args:
            instrument_id: Whose.
            as_traded: QUOTED_BARS of the instrument around ex-dates, as evidence where the stored
                bars cannot tell.

        Raises:
            StorageConflictError: A bar that a dividend needs came adjusted for dividends.
            StorageUnavailableError: The database cannot be reached now; nothing was changed.
        """
        asked = {"instrument_id": instrument_id}
        with self._timescale.connection() as connection:
            locked = connection.execute(sql.query(_FILE, "lock_actions"), asked).fetchone()
            at = {**asked, "derived_at": locked[1] if locked else None}
            prices = _prices(connection, instrument_id)
            evidence = [] if as_traded is None else _evidence(as_traded)
            findings, confirmed = _findings(connection, instrument_id, prices, evidence)
            for finding in findings:
                connection.execute(sql.query(_FILE, "write_check"), {**at, **_fields(finding)})
            usable = [
                one.split for one in findings if one.verdict in USABLE or one.split in confirmed
            ]
            doubtful = tuple(one for one in findings if one.split not in usable)
            if not prices:
                connection.execute(sql.query(_FILE, "forget_factors"), asked)
                return Derivation(steps=0, changed=False, quarantined=doubtful, unusable=())
            try:
                factors = price_factors(usable, _dividends(connection, instrument_id), prices)
            except ValueError as error:
                message = f"instrument {instrument_id}: {error}"
                raise errors.StorageConflictError(message) from error
            last = {"last_session": prices[-1].session_date}
            written = connection.execute(
                sql.query(_FILE, "write_factors"), {**at, **last, **_arrays(factors.steps)}
            ).fetchone()
        return Derivation(
            steps=len(factors.steps),
            changed=bool(written and written[0]),
            quarantined=doubtful,
            unusable=factors.unusable,
        )

    def waiting(self) -> list[int]:
        """Return the instruments whose factors no longer follow from what is stored.

        New or changed actions or bars, an ex-date whose bar has come, a split that a person has
        confirmed; or never derived.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "waiting")).fetchall()
        return [row[0] for row in rows]

    def rebased(self, today: date) -> list[int]:
        """Return the instruments whose split-adjusted history has to be fetched again.

        A split's ex-date has come since it was fetched. Splits that prices refute do not count:
        what never happened re-based nothing. Derive first, since that looks at the prices.

        Args:
            today: In New York.
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
            today: In New York; splits after it have no prices yet.
        """
        with self._timescale.connection() as connection:
            rows = connection.execute(sql.query(_FILE, "unproven"), {"today": today}).fetchall()
        return [(instrument_id, ex_date) for instrument_id, ex_date in rows]

    def confirm(self, instrument_id: int, ex_date: date, *, by: str, reason: str) -> None:
        """Let a person vouch for a split, as long as its terms stay; derive it afterwards.

        Raises:
            StorageConflictError: No such split has been checked.
        """
        asked = {"instrument_id": instrument_id, "ex_date": ex_date, "by": by, "reason": reason}
        with self._timescale.connection() as connection:
            done = connection.execute(sql.query(_FILE, "confirm"), asked)
            if not done.rowcount:
                message = f"instrument {instrument_id} has no checked split on {ex_date}"
                raise errors.StorageConflictError(message)


def read_adjusted_bars(
    opened: Timescale, instrument_id: int, adjustment: Adjustment, start: date, end: date
) -> pa.Table:
    """Return session_date, open, high, low, close, volume and both factors, oldest first.

    Args:
        opened: The database.
        instrument_id: Whose.
        adjustment: SPLITS or SPLITS_AND_DIVIDENDS.
        start: First session, included.
        end: Last session, included.

    Raises:
        StorageUnavailableError: The database cannot be reached now.
        StorageConflictError: It refuses the query.
    """
    with arrow_cursor(opened.url) as cursor:
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


def _dividends(connection: Connection, instrument_id: int) -> list[DividendTerms]:
    rows = connection.execute(
        sql.query(_FILE, "read_dividends"), {"instrument_id": instrument_id}
    ).fetchall()
    return [DividendTerms(ex_date=ex_date, amount=amount) for ex_date, amount in rows]


def _findings(
    connection: Connection,
    instrument_id: int,
    prices: Sequence[PricePoint],
    evidence: Sequence[PricePoint],
) -> tuple[list[SplitFinding], set[SplitTerms]]:
    """Return the verdict on each split, and the splits that a person has confirmed."""
    asked = {"instrument_id": instrument_id}
    rows = connection.execute(sql.query(_FILE, "read_splits"), asked).fetchall()
    splits = [SplitTerms(ex_date=day, new_shares=new, old_shares=old) for day, new, old in rows]
    held = connection.execute(sql.query(_FILE, "read_checks"), asked).fetchall()
    kept = [_finding(row[:-1]) for row in held]
    confirmed = {one.split for one, row in zip(kept, held, strict=True) if row[-1]}
    findings = combined(check_splits(splits, prices), check_splits(splits, evidence))
    return combined(findings, kept), confirmed


def _finding(row: Sequence[Any]) -> SplitFinding:
    ex_date, new_shares, old_shares, verdict, reason = row
    return SplitFinding(
        split=SplitTerms(ex_date=ex_date, new_shares=new_shares, old_shares=old_shares),
        verdict=SplitVerdict(verdict),
        reason=reason,
    )


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

"""The database at one moment: everything that one read asks of it.

Here: names, factors or what they are made of, rows that are hot and where those lie that are not.
Not here: the archive's files (cold.py), or what becomes of the rows (answers.py).

A read is one transaction of isolation level REPEATABLE READ. That alone is not enough: that a chunk
was dropped is seen by transactions that began before. So the table is locked against drops first,
in the weakest mode that there is, and only then the moment begins: what is hot then is read hot,
and what was dropped before has its tombstone.
"""

import difflib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import sql as composed
from psycopg.rows import dict_row

from marketdata.adjusting import FactorSteps
from marketdata.bars import DAY_INTERVALS, Interval, aggregated_bars
from marketdata.datasets import InstrumentKind
from marketdata.distributions import Dividend, Rate, judged, series_of, terms_of
from marketdata.factors_as_of import HeldCheck, KnownActions, KnownSplit
from marketdata.price_factors import DividendTerms
from marketdata.recovery import errors
from marketdata.rows import INSTANT
from marketdata.split_checks import SplitTerms, SplitVerdict
from resources.reading.cold import DroppedDays
from resources.reading.hot import HotQuery, read_hot
from resources.storage import sql
from resources.storage.archive.prove.proofs import FileProof
from resources.storage.timescale import Connection, connect

_FILE = "reader"
_DATED_BY = {
    "daily_bars": "session_date",
    "minute_bars": "opened_at",
    "bars_of_days": "bucket_start",
    "bars_of_minutes": "bucket_start",
}
"""By which column the rows of a query are sorted."""
_ANSWERS = pa.schema([pa.field("ingest_id", pa.int64()), pa.field("fetched_at", INSTANT)])

Bounds = tuple[date, date] | tuple[datetime, datetime]
"""Of the column that dates the rows: the first one included, the second one excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An instrument and the name by which it is asked for."""

    ticker: str
    instrument_id: int
    kind: InstrumentKind


class Snapshot:
    """Asks one transaction.

    Args:
        connection: In a transaction that nothing has been asked of yet.
        url: Of its database.
        holds: Statements that have locked what will be read against drops.
    """

    def __init__(self, connection: Connection, url: str, holds: Sequence[composed.SQL]) -> None:
        self._connection = connection
        self._url = url
        self._holds = holds

    def carriers(self, tickers: Sequence[str], on: date) -> list[Named]:
        """Return who carried each of the tickers last by a day.

        Raises:
            ArgumentError: Nobody has ever carried one of them, or two are the same instrument.
        """
        rows = self._asked("carriers", tickers=list(tickers), on_day=on)
        found = {row["ticker"]: row for row in rows}
        unknown = [ticker for ticker in tickers if ticker not in found]
        if unknown:
            raise errors.ArgumentError(self._unknown(unknown))
        named = [
            Named(
                ticker=one,
                instrument_id=found[one]["instrument_id"],
                kind=InstrumentKind(found[one]["kind"]),
            )
            for one in tickers
        ]
        owners: dict[int, str] = {}
        for one in named:
            other = owners.setdefault(one.instrument_id, one.ticker)
            if other != one.ticker:
                message = f"{other} and {one.ticker} are one instrument: ask for one of them"
                raise errors.ArgumentError(message)
        return named

    def factors(self, instrument_ids: Sequence[int]) -> dict[int, FactorSteps]:
        """Return the factors of those of the instruments that have any."""
        rows = self._asked("factors", ids=list(instrument_ids))
        return {
            row["instrument_id"]: FactorSteps(
                first_days=pa.array(row["first_days"], pa.date32()).cast(pa.int32()).to_numpy(),
                split_factors=np.array(row["split_factors"]),
                dividend_factors=np.array(row["dividend_factors"]),
            )
            for row in rows
        }

    def actions(self, instrument_ids: Sequence[int], as_of: datetime) -> dict[int, KnownActions]:
        """Return what was known at a moment of each instrument's splits and dividends."""
        splits = self._by_instrument("splits_as_of", instrument_ids, as_of=as_of)
        dividends = self._dividends(instrument_ids, as_of)
        spin_offs = self._by_instrument("spin_offs_as_of", instrument_ids, as_of=as_of)
        checks = self._by_instrument("split_checks_as_of", instrument_ids, as_of=as_of)
        return {
            one: KnownActions(
                splits=[
                    KnownSplit(terms=_terms(row), is_past=row["is_past"]) for row in splits[one]
                ],
                dividends=dividends[one],
                spin_offs=[
                    DividendTerms(ex_date=row["ex_date"], amount=Decimal(row["value"]))
                    for row in spin_offs[one]
                ],
                checks={
                    row["ex_date"]: HeldCheck(
                        terms=_terms(row),
                        verdict=SplitVerdict(row["verdict"]),
                        checked_at=row["checked_at"],
                        confirmed_at=row["confirmed_at"],
                    )
                    for row in checks[one]
                },
            )
            for one in instrument_ids
        }

    def _dividends(
        self, instrument_ids: Sequence[int], as_of: datetime
    ) -> dict[int, list[DividendTerms]]:
        """Return what counted of dividends, by the exchange rates and words of the moment."""
        rows = self._by_instrument("dividends_as_of", instrument_ids, as_of=as_of)
        told = self._by_instrument("dividend_words_as_of", instrument_ids, as_of=as_of)
        paid = {one: [_dividend(row) for row in found] for one, found in rows.items()}
        rates = self._rates([one for found in paid.values() for one in found], as_of)
        return {
            one: terms_of(
                judged(
                    found,
                    rates,
                    {_dividend(row).terms: Decimal(row["counted"]) for row in told[one]},
                )
            )
            for one, found in paid.items()
        }

    def _rates(self, dividends: Sequence[Dividend], as_of: datetime) -> dict[str, list[Rate]]:
        series = [series_of(one) for one in {one.currency or "" for one in dividends}]
        rates: dict[str, list[Rate]] = {one.series: [] for one in series if one is not None}
        if rates:
            first = min(one.ex_date for one in dividends)
            found = self._asked("rates_as_of", series=list(rates), first=first, as_of=as_of)
            for row in found:
                rates[row["series"]].append(
                    Rate(observed_on=row["observed_on"], value=Decimal(row["value"]))
                )
        return rates

    def dropped(self, dataset: str, first: date, last: date) -> list[DroppedDays]:
        """Return where rows of days (UTC, both included) lie that are in the archive only.

        Raises:
            ArchiveMismatchError: No valid proof says where some of them are.
        """
        rows = self._asked("dropped", dataset=dataset, first=first, last=last)
        lost = [row for row in rows if row["files"] is None]
        if lost:
            message = (
                f"{dataset} from {lost[0]['starts_on']} to before {lost[0]['ends_before']} is in "
                "the archive only, and no valid proof says in which files: wrdata archive rebuild"
            )
            raise errors.ArchiveMismatchError(message)
        return [
            DroppedDays(
                first=row["starts_on"],
                end=row["ends_before"],
                files=tuple(FileProof(**one) for one in json.loads(row["files"])),
            )
            for row in rows
        ]

    def coverage(
        self, dataset: str, instrument_ids: Sequence[int], provider: str | None
    ) -> Sequence[dict[str, Any]]:
        """Return instrument_id, state, starts_on and ends_before of the ledgers' spans.

        Args:
            dataset: Whose days.
            instrument_ids: Of which instruments.
            provider: What this one was asked; None is whoever was.
        """
        return self._asked("coverage", dataset=dataset, ids=list(instrument_ids), provider=provider)

    def answers(self, dataset: str, ingest_ids: Sequence[int]) -> pa.Table:
        """Return ingest_id and fetched_at of a dataset's answers, from the oldest of some on."""
        rows = self._asked("answers", dataset=dataset, ingest_ids=list(ingest_ids))
        return pa.Table.from_pylist(list(rows), _ANSWERS)

    def days(
        self,
        instrument_ids: Sequence[int],
        bounds: Bounds,
        as_of: datetime | None,
        schema: pa.Schema,
    ) -> pa.Table:
        """Return columns of the daily bars that the database holds, by instrument.

        Args:
            instrument_ids: Whose bars.
            bounds: Of ``session_date``.
            as_of: What was known then; None is now.
            schema: Columns of the archive's schema, ``instrument_id`` first.
        """
        return self._rows("daily_bars", instrument_ids, schema, bounds, as_of)

    def minutes(
        self,
        instrument_ids: Sequence[int],
        bounds: Bounds,
        provider: str,
        as_of: datetime | None,
        schema: pa.Schema,
    ) -> pa.Table:
        """Return columns of a provider's minute bars, as ``days`` does."""
        return self._rows("minute_bars", instrument_ids, schema, bounds, as_of, provider=provider)

    def aggregates(
        self,
        interval: Interval,
        instrument_ids: Sequence[int],
        bounds: Bounds,
        provider: str,
    ) -> pa.Table:
        """Return what the view of an interval holds, by instrument.

        Args:
            interval: Names the view.
            instrument_ids: Whose bars.
            bounds: Of ``bucket_start``.
            provider: Whose minutes they are made of; of no meaning for bars made of days.
        """
        view, schema = composed.Identifier(f"bars_{interval}"), aggregated_bars(interval)
        if interval in DAY_INTERVALS:
            return self._rows("bars_of_days", instrument_ids, schema, bounds, view=view)
        return self._rows(
            "bars_of_minutes", instrument_ids, schema, bounds, view=view, provider=provider
        )

    def _rows(
        self,
        query: str,
        instrument_ids: Sequence[int],
        schema: pa.Schema,
        bounds: Bounds,
        as_of: datetime | None = None,
        **given: object,
    ) -> pa.Table:
        name = query if as_of is None else f"{query}_as_of"
        start, end = bounds
        rows = _composed(name, {**given, "start": start, "end": end, "as_of": as_of})
        asked = HotQuery(rows=rows, schema=schema, dated_by=_DATED_BY[query], holds=self._holds)
        return read_hot(self._connection, self._url, asked, instrument_ids)

    def _by_instrument(
        self, query: str, instrument_ids: Sequence[int], **given: object
    ) -> dict[int, list[dict[str, Any]]]:
        """Return the rows of each instrument, in the order of the query."""
        found: dict[int, list[dict[str, Any]]] = {one: [] for one in instrument_ids}
        for row in self._asked(query, ids=list(instrument_ids), **given):
            found[row["instrument_id"]].append(row)
        return found

    def _unknown(self, tickers: Sequence[str]) -> str:
        """Say which names nobody carries, and which ones come near."""
        known = [row["ticker"] for row in self._asked("names")]
        if not known:
            return "this database knows no names yet: `wrdata universe` loads them"
        told: list[str] = []
        for ticker in tickers:
            near = difflib.get_close_matches(ticker, known, n=3)
            told.append(f"{ticker} (nearest: {', '.join(near)})" if near else ticker)
        return (
            f"nobody here carries {', '.join(told)}: correct the name (they are spelt as in BRK.B "
            "and BTC-USD), or run `wrdata universe` if it is new"
        )

    def _asked(self, query: str, /, **given: object) -> Sequence[dict[str, Any]]:
        """Run a query; what is given stands quoted in its text."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_composed(query, given)).fetchall()


def _composed(query: str, given: Mapping[str, object]) -> composed.Composed:
    quoted = {
        name: value if isinstance(value, composed.Composable) else composed.Literal(value)
        for name, value in given.items()
    }
    return composed.SQL(sql.query(_FILE, query)).format(**quoted)


def _dividend(row: dict[str, Any]) -> Dividend:
    return Dividend(
        ex_date=row["ex_date"],
        kind=row["kind"],
        ordinal=row.get("ordinal", 1),
        amount=Decimal(row["amount"]),
        currency=row["currency"] or None,
    )


def _terms(row: dict[str, Any]) -> SplitTerms:
    return SplitTerms(
        ex_date=row["ex_date"],
        new_shares=Decimal(row["new_shares"]),
        old_shares=Decimal(row["old_shares"]),
    )


@contextmanager
def snapshot(url: str, *, days: bool, minutes: bool) -> Generator[Snapshot]:
    """Open a connection for one read; the moment is that of the first question.

    Args:
        url: Of the database.
        days: Daily bars will be read.
        minutes: Minute bars will be read.

    Raises:
        StorageUnavailableError: The database cannot be reached, here or within the block.
        StorageConflictError: The database refuses a query.
    """
    holds = [
        composed.SQL(sql.query(_FILE, hold))
        for hold, is_wanted in (("hold_daily_bars", days), ("hold_minute_bars", minutes))
        if is_wanted
    ]
    with connect(url) as connection, connection.transaction():
        connection.execute(sql.query(_FILE, "begin"))
        for hold in holds:
            connection.execute(hold)
        yield Snapshot(connection, url, holds)

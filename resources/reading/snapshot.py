"""The database at one moment: all queries of one read.

Here: names, factors or the data behind them, hot rows, and the files of cold ones. Not here: the
archive's files (cold.py), or how rows become bars (answers.py).

A read is one transaction of isolation level REPEATABLE READ. That alone is not enough: a dropped
chunk vanishes even for transactions that began before the drop. So the table is first locked
against drops, in the weakest mode, and only then the snapshot is taken. What is hot in it stays
hot, and what was dropped before has its tombstone.
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
from resources.reading.request import NAMED
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
"""The column that sorts the rows of a query."""
_ANSWERS = pa.schema([pa.field("ingest_id", pa.int64()), pa.field("fetched_at", INSTANT)])

Bounds = tuple[date, date] | tuple[datetime, datetime]
"""Bounds of the column that dates the rows: included, excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An instrument and the ticker by which it is asked for."""

    ticker: str
    instrument_id: int
    kind: InstrumentKind


class Snapshot:
    """Queries one transaction.

    Args:
        connection: In a transaction without a query so far.
        url: URL of its database.
        holds: Statements that have locked the tables to read against drops.
    """

    def __init__(self, connection: Connection, url: str, holds: Sequence[composed.SQL]) -> None:
        self._connection = connection
        self._url = url
        self._holds = holds

    def resolve_tickers(self, tickers: Sequence[str], on: date) -> list[Named]:
        """Return the instrument that held each ticker last on or before a day.

        Raises:
            ArgumentError: No instrument ever had one of them, or two are the same instrument.
        """
        rows = self._query("resolve_tickers", tickers=list(tickers), on_day=on)
        by_ticker = {row["ticker"]: row for row in rows}
        unknown = [ticker for ticker in tickers if ticker not in by_ticker]
        if unknown:
            raise errors.ArgumentError(self._describe_unknown(unknown))
        named = [
            Named(
                ticker=ticker,
                instrument_id=by_ticker[ticker]["instrument_id"],
                kind=InstrumentKind(by_ticker[ticker]["kind"]),
            )
            for ticker in tickers
        ]
        tickers_by_id: dict[int, str] = {}
        for instrument in named:
            first = tickers_by_id.setdefault(instrument.instrument_id, instrument.ticker)
            if first != instrument.ticker:
                message = f"{first} and {instrument.ticker} are one instrument: ask for one of them"
                raise errors.ArgumentError(message)
        return named

    def factors(self, instrument_ids: Sequence[int]) -> dict[int, FactorSteps]:
        """Return the factors of the given instruments; those without any are left out."""
        rows = self._query("factors", ids=list(instrument_ids))
        return {
            row["instrument_id"]: FactorSteps(
                first_days=pa.array(row["first_days"], pa.date32()).cast(pa.int32()).to_numpy(),
                split_factors=np.array(row["split_factors"]),
                dividend_factors=np.array(row["dividend_factors"]),
            )
            for row in rows
        }

    def actions(self, instrument_ids: Sequence[int], as_of: datetime) -> dict[int, KnownActions]:
        """Return each instrument's splits and dividends as known at a moment."""
        splits = self._by_instrument("splits_as_of", instrument_ids, as_of=as_of)
        dividends = self._dividends(instrument_ids, as_of)
        spin_offs = self._by_instrument("spin_offs_as_of", instrument_ids, as_of=as_of)
        checks = self._by_instrument("split_checks_as_of", instrument_ids, as_of=as_of)
        return {
            instrument_id: KnownActions(
                splits=[
                    KnownSplit(terms=_terms(row), is_past=row["is_past"])
                    for row in splits[instrument_id]
                ],
                dividends=dividends[instrument_id],
                spin_offs=[
                    DividendTerms(ex_date=row["ex_date"], amount=Decimal(row["value"]))
                    for row in spin_offs[instrument_id]
                ],
                checks={
                    row["ex_date"]: HeldCheck(
                        terms=_terms(row),
                        verdict=SplitVerdict(row["verdict"]),
                        checked_at=row["checked_at"],
                        confirmed_at=row["confirmed_at"],
                    )
                    for row in checks[instrument_id]
                },
            )
            for instrument_id in instrument_ids
        }

    def _dividends(
        self, instrument_ids: Sequence[int], as_of: datetime
    ) -> dict[int, list[DividendTerms]]:
        """Return the dividends as they counted at a moment.

        Exchange rates and confirmations are those of the moment.
        """
        rows = self._by_instrument("dividends_as_of", instrument_ids, as_of=as_of)
        confirmations = self._by_instrument("dividend_words_as_of", instrument_ids, as_of=as_of)
        paid = {
            instrument_id: [_dividend(row) for row in dividend_rows]
            for instrument_id, dividend_rows in rows.items()
        }
        rates = self._rates([dividend for own in paid.values() for dividend in own], as_of)
        return {
            instrument_id: terms_of(
                judged(
                    dividends,
                    rates,
                    {
                        _dividend(row).terms: Decimal(row["counted"])
                        for row in confirmations[instrument_id]
                    },
                )
            )
            for instrument_id, dividends in paid.items()
        }

    def _rates(self, dividends: Sequence[Dividend], as_of: datetime) -> dict[str, list[Rate]]:
        series = [
            series_of(currency) for currency in {dividend.currency or "" for dividend in dividends}
        ]
        names = [rate_series.series for rate_series in series if rate_series is not None]
        rates: dict[str, list[Rate]] = {name: [] for name in names}
        if rates:
            first = min(dividend.ex_date for dividend in dividends)
            rows = self._query("rates_as_of", series=list(rates), first=first, as_of=as_of)
            for row in rows:
                rates[row["series"]].append(
                    Rate(observed_on=row["observed_on"], value=Decimal(row["value"]))
                )
        return rates

    def dropped(self, dataset: str, first: date, last: date) -> list[DroppedDays]:
        """Return the files of days (UTC, both included) that are in the archive only.

        Raises:
            ArchiveMismatchError: Some of these days have no valid proof that names their files.
        """
        rows = self._query("dropped", dataset=dataset, first=first, last=last)
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
                files=tuple(FileProof(**proof) for proof in json.loads(row["files"])),
            )
            for row in rows
        ]

    def coverage(
        self, dataset: str, instrument_ids: Sequence[int], provider: str | None
    ) -> Sequence[dict[str, Any]]:
        """Return instrument_id, state, starts_on and ends_before of the ledgers' spans.

        Args:
            dataset: Whose days.
            instrument_ids: Whose days.
            provider: Only what this provider was asked; None is any provider.
        """
        return self._query("coverage", dataset=dataset, ids=list(instrument_ids), provider=provider)

    def answers(self, dataset: str, ingest_ids: Sequence[int]) -> pa.Table:
        """Return ingest_id and fetched_at of a dataset's answers, from the oldest given one on."""
        rows = self._query("answers", dataset=dataset, ingest_ids=list(ingest_ids))
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
            as_of: As known then; None is now.
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
        """Return the bars of an interval's view, by instrument.

        Args:
            interval: Selects the view.
            instrument_ids: Whose bars.
            bounds: Of ``bucket_start``.
            provider: Whose minutes they are made of; ignored for bars made of days.
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
        **values: object,
    ) -> pa.Table:
        name = query if as_of is None else f"{query}_as_of"
        start, end = bounds
        rows = _composed(name, {**values, "start": start, "end": end, "as_of": as_of})
        hot_query = HotQuery(rows=rows, schema=schema, dated_by=_DATED_BY[query], holds=self._holds)
        return read_hot(self._connection, self._url, hot_query, instrument_ids)

    def _by_instrument(
        self, query: str, instrument_ids: Sequence[int], **values: object
    ) -> dict[int, list[dict[str, Any]]]:
        """Return the rows of each instrument, in the order of the query."""
        by_instrument: dict[int, list[dict[str, Any]]] = {
            instrument_id: [] for instrument_id in instrument_ids
        }
        for row in self._query(query, ids=list(instrument_ids), **values):
            by_instrument[row["instrument_id"]].append(row)
        return by_instrument

    def _describe_unknown(self, tickers: Sequence[str]) -> str:
        """Name the unknown tickers, and the nearest known ones."""
        known = [row["ticker"] for row in self._query("names")]
        if not known:
            return "this database knows no names yet: `wrdata universe` loads them"
        described: list[str] = []
        for ticker in tickers[:NAMED]:
            near = difflib.get_close_matches(ticker, known, n=3)
            described.append(f"{ticker} (nearest: {', '.join(near)})" if near else ticker)
        more = f" and {len(tickers) - NAMED} more" if len(tickers) > NAMED else ""
        return (
            f"no instrument here has the ticker {', '.join(described)}{more}: correct it (tickers "
            "are spelt as in BRK.B and BTC-USD), or run `wrdata universe` if it is new"
        )

    def _query(self, query: str, /, **values: object) -> Sequence[dict[str, Any]]:
        """Run a query with the given values quoted into its text."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_composed(query, values)).fetchall()


def _composed(query: str, values: Mapping[str, object]) -> composed.Composed:
    quoted = {
        name: value if isinstance(value, composed.Composable) else composed.Literal(value)
        for name, value in values.items()
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
    """Open a connection for one read; its moment is that of the first query.

    Args:
        url: URL of the database.
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

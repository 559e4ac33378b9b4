"""The catalogue of datasets: what each one is, who serves it, and how it is asked for.

Here: one entry for each dataset, from which assets, jobs, schedules, the command line and the
status page are made. Not here: schemas and rules (the module of its domain), or providers
(resources/).
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from zoneinfo import ZoneInfo

import pyarrow as pa

from marketdata import actions, bars, companies, macro, minute_bars, questions, statements, trades
from marketdata.bars import Adjustment
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, NEW_YORK_ZONE, SessionCalendar
from marketdata.coverage import SESSIONS_ASKED_AGAIN
from marketdata.day_calendars import ClockDays, DayCalendar, TradingDays
from marketdata.instruments import PastSymbols
from marketdata.ports import Answer, Changes, Days, FetchRequest, Provider
from marketdata.rows import Validated
from marketdata.statements import StatementKind

UTC_ZONE = ZoneInfo("UTC")
FIRST_VINTAGE = date(1776, 7, 4)
"""First day of ALFRED's real-time periods."""
_WEEK = timedelta(days=6)
"""Less than a week, so that a refresh that comes a few hours early still finds data due."""


class Domain(StrEnum):
    """Groups of assets in the UI."""

    EQUITY_PRICES = "equity_prices"
    FUNDAMENTALS = "fundamentals"
    REFERENCE = "reference"
    CORPORATE_ACTIONS = "corporate_actions"
    MACRO = "macro"
    CRYPTO = "crypto"


class InstrumentKind(StrEnum):
    """Kinds of instrument that a dataset is about."""

    EQUITY = "equity"
    PAIR = "pair"
    SERIES = "series"
    INDEX = "index"


class RequestScope(StrEnum):
    """What one request of a dataset covers."""

    SESSIONS = "sessions"
    """Trading days of New York."""
    DAYS = "days"
    """Days of UTC."""
    SNAPSHOT = "snapshot"
    """All that the provider has by the day of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How one provider serves a dataset.

    Attributes:
        endpoint: The provider's endpoint, in words.
        requests: HTTP requests that a snapshot of one symbol takes.
        days_per_request: Days of one symbol that one HTTP request holds, for datasets by day; None
            means any number.
        past_symbols: The ticker under which days before a rename are kept.
        adjustment: What its prices are adjusted for; None where there are none to adjust.
        session: Question for every symbol's rows of one session, if the provider serves them.
    """

    endpoint: str
    requests: int = 1
    days_per_request: float | None = 1.0
    past_symbols: PastSymbols = PastSymbols.OF_TODAY
    adjustment: Adjustment | None = None
    session: Callable[[Provider, date], Awaitable[Answer]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One dataset.

    Attributes:
        name: Name on the command line and in the log.
        table: Table that holds its rows.
        wire_schema: Schema of a client's answer: ``symbol``, then the table's columns.
        key: Columns that name a row of an instrument.
        sources: Sources by provider name; the first one serves unless the configuration names
            another.
        about: What a row is, in one sentence.
        cadence: When it is refreshed, in words.
        rows: Approximate number of rows of a symbol, or of one of its days for datasets by day.
        validate: Splits an answer into rows to store and rows to refuse.
        ask: Question for one instrument; as every question, a function of questions.py.
        request_scope: What one request covers.
        zone: Time zone of days; for a snapshot, of the day on which it was asked for.
        ends_at_close: A session ends with its close, not at midnight.
        begins: The first day that is ever asked for.
        usual_days: Number of recent days to load when no dates are given; None means all since
            ``begins``.
        most_days: Most days of one request, so that its answer fits into memory; None means any
            number, in one request from the first missing day to the last.
        asked_again: Number of latest days that are asked for again although they are settled,
            since providers correct them.
        fresh_for: A snapshot younger than this is not asked for again.
        grows: Answered days need not be asked for again: only what came since.
        may_be_empty: A symbol without rows is normal, such as a share without a split.
        full_snapshot: An answer for one symbol holds all its rows: stored rows that it lacks have
            been withdrawn or moved by the provider.
        completed: Schema of rows to store, where validation adds columns to the wire schema.
        rebases: A provider may restate a whole history in other shares; bars of both bases are
            never stored together.
        refuse_answer: Returns why an answer for one symbol is not what was asked for, or an empty
            text.
        bulk_rows: Question of a bulk refresh for all symbols' rows of some days, if there is one.
        bulk_changes: Question of a bulk refresh for the symbols that have changed, if there is one.
    """

    name: str
    domain: Domain
    instrument_kind: InstrumentKind
    table: str
    wire_schema: pa.Schema
    key: tuple[str, ...]
    sources: Mapping[str, Source]
    about: str
    cadence: str
    rows: int
    validate: Callable[[pa.Table], Validated]
    ask: Callable[[Provider, FetchRequest], Awaitable[Answer]]
    request_scope: RequestScope = RequestScope.SNAPSHOT
    zone: ZoneInfo = UTC_ZONE
    ends_at_close: bool = False
    begins: date = HISTORY_START
    usual_days: int | None = 5
    most_days: int | None = 31
    asked_again: int = 0
    fresh_for: timedelta = timedelta(hours=20)
    grows: bool = False
    may_be_empty: bool = False
    full_snapshot: bool = False
    completed: pa.Schema | None = None
    rebases: bool = False
    refuse_answer: Callable[[pa.Table], str] | None = None
    bulk_rows: Callable[[Provider, Days], Awaitable[Answer]] | None = None
    bulk_changes: Callable[[Provider, datetime], Awaitable[Changes]] | None = None

    @property
    def table_schema(self) -> pa.Schema:
        """Schema of stored rows: ``instrument_id`` replaces ``symbol``."""
        named = pa.field("instrument_id", pa.int64(), nullable=False)
        return pa.schema([named, *list(self.completed or self.wire_schema)[1:]])

    @property
    def dated_by(self) -> str:
        """Column of the key that places a row on a day; empty if there is none."""
        schema = self.completed or self.wire_schema
        times = (name for name in self.key if pa.types.is_temporal(schema.field(name).type))
        return next(times, "")

    @property
    def has_sessions(self) -> bool:
        """Whether a source serves every symbol's rows of one session."""
        return any(source.session for source in self.sources.values())

    @property
    def has_bulk_refresh(self) -> bool:
        """Whether one question is about all symbols."""
        return self.bulk_rows is not None or self.bulk_changes is not None

    @property
    def by_day(self) -> bool:
        """Whether requests are for days of a symbol, not for a snapshot."""
        return self.request_scope is not RequestScope.SNAPSHOT

    def requests(self, provider: str, days: int) -> int:
        """Return the number of HTTP requests for ``days`` of one symbol, or for its snapshot."""
        source = self.sources[provider]
        if self.request_scope is RequestScope.SNAPSHOT or source.days_per_request is None:
            return source.requests
        return math.ceil(days / source.days_per_request)

    def day_calendar(self, calendar: SessionCalendar) -> DayCalendar:
        """Return the dataset's calendar of days, given the exchange's sessions."""
        if self.request_scope is not RequestScope.SESSIONS:
            return ClockDays(self.zone)
        return TradingDays(calendar, None if self.ends_at_close else self.zone)


def _polygon(
    endpoint: str,
    days_per_request: float | None = 1.0,
    adjustment: Adjustment | None = None,
    session: Callable[[Provider, date], Awaitable[Answer]] | None = None,
) -> Source:
    """Return a source of Polygon, which keeps each day under the ticker of that day.

    Its bars of META before 2022-06-09 are a fund's, Meta's are under FB: polygon-io/issues #252
    and massive-com/client-python #846, where Massive confirms it. For splits and dividends this is
    not confirmed: rows under a ticker from before the instrument had it are left out, since they
    may be another's.
    """
    return Source(
        endpoint=endpoint,
        days_per_request=days_per_request,
        past_symbols=PastSymbols.OF_THE_DAY,
        adjustment=adjustment,
        session=session,
    )


def _statements(kind: StatementKind, table: str, endpoint: str, about: str) -> Dataset:
    return Dataset(
        name=kind.value,
        domain=Domain.FUNDAMENTALS,
        instrument_kind=InstrumentKind.EQUITY,
        table=table,
        wire_schema=statements.WIRE_STATEMENTS[kind],
        key=statements.KEY,
        # One request for annual statements and one for quarterly ones.
        sources={"fmp": Source(endpoint=endpoint, requests=2)},
        about=about,
        cadence="weekly",
        rows=100,
        validate=partial(statements.validate, kind),
        ask=partial(questions.ask_statements, kind),
        fresh_for=_WEEK,
    )


def _catalogue(*datasets: Dataset) -> Mapping[str, Dataset]:
    return {dataset.name: dataset for dataset in datasets}


DATASETS = _catalogue(
    Dataset(
        name=DAILY_BARS_DATASET,
        domain=Domain.EQUITY_PRICES,
        instrument_kind=InstrumentKind.EQUITY,
        table="daily_bar",
        wire_schema=bars.WIRE_BARS,
        completed=bars.ACCEPTED_BARS,
        key=bars.KEY,
        # FMP and Tiingo move a history to the new ticker: FMP lists renames (symbol-change) and
        # has nothing under the old one; Tiingo keeps delisted data of tickers that were not reused
        # (Symbology).
        sources={
            "fmp": Source(
                endpoint="historical-price-eod/full, eod-bulk; adjusted for splits",
                days_per_request=None,
                adjustment=Adjustment.SPLITS,
                session=questions.ask_daily_bars_of_session,
            ),
            "polygon": _polygon(
                "aggs by the day, grouped daily; as traded",
                days_per_request=None,
                adjustment=Adjustment.AS_TRADED,
                session=questions.ask_daily_bars_of_session,
            ),
            "tiingo": Source(
                endpoint="daily prices; as traded",
                days_per_request=None,
                adjustment=Adjustment.AS_TRADED,
                session=questions.ask_daily_bars_of_session,
            ),
        },
        about="A session of a share: its prices, and its volume.",
        cadence="after the close, and the last sessions again next morning",
        rows=1,
        validate=bars.validate,
        ask=questions.ask_daily_bars,
        request_scope=RequestScope.SESSIONS,
        zone=NEW_YORK_ZONE,
        ends_at_close=True,
        usual_days=None,
        most_days=None,
        asked_again=SESSIONS_ASKED_AGAIN,
        rebases=True,
        refuse_answer=bars.refuse_longer,
    ),
    Dataset(
        name="minute_bars",
        domain=Domain.EQUITY_PRICES,
        instrument_kind=InstrumentKind.EQUITY,
        table="minute_bar",
        wire_schema=minute_bars.WIRE_MINUTE_BARS,
        key=minute_bars.KEY,
        sources={
            "polygon": _polygon("aggs by the minute, all US exchanges", days_per_request=50.0),
            "tiingo": Source(
                endpoint="IEX intraday by the minute, IEX alone", days_per_request=4.0
            ),
        },
        about="A minute of a share in which it traded, extended hours included.",
        cadence="daily",
        rows=700,
        validate=partial(minute_bars.validate, zone=NEW_YORK_ZONE),
        ask=questions.ask_minute_bars,
        request_scope=RequestScope.SESSIONS,
        zone=NEW_YORK_ZONE,
        asked_again=1,
    ),
    _statements(
        StatementKind.INCOME,
        "income_statement",
        "income-statement",
        "A company's income statement of a fiscal year or quarter.",
    ),
    _statements(
        StatementKind.BALANCE_SHEET,
        "balance_sheet",
        "balance-sheet-statement",
        "A company's balance sheet at the end of a fiscal year or quarter.",
    ),
    _statements(
        StatementKind.CASH_FLOW,
        "cash_flow_statement",
        "cash-flow-statement",
        "A company's cash flows in a fiscal year or quarter.",
    ),
    _statements(
        StatementKind.RATIOS,
        "financial_ratio",
        "ratios",
        "Ratios that the provider computed for a fiscal year or quarter.",
    ),
    Dataset(
        name="companies",
        domain=Domain.REFERENCE,
        instrument_kind=InstrumentKind.EQUITY,
        table="company",
        wire_schema=companies.WIRE_COMPANIES,
        key=companies.COMPANY_KEY,
        sources={
            "fmp": Source(endpoint="profile"),
            "polygon": Source(endpoint="v3/reference/tickers/TICKER"),
        },
        about="What is known of the company behind a ticker.",
        cadence="weekly",
        rows=1,
        validate=companies.validate_companies,
        ask=questions.ask_company,
        fresh_for=_WEEK,
    ),
    Dataset(
        name="index_changes",
        domain=Domain.REFERENCE,
        instrument_kind=InstrumentKind.INDEX,
        table="index_change",
        wire_schema=companies.WIRE_INDEX_CHANGES,
        key=companies.INDEX_CHANGE_KEY,
        sources={"fmp": Source(endpoint="historical-sp500-constituent")},
        about="A company that joined or left an index, and when.",
        cadence="weekly",
        rows=1500,
        validate=companies.validate_index_changes,
        ask=questions.ask_index_changes,
        fresh_for=_WEEK,
    ),
    Dataset(
        name="splits",
        domain=Domain.CORPORATE_ACTIONS,
        instrument_kind=InstrumentKind.EQUITY,
        table="split",
        wire_schema=actions.WIRE_SPLITS,
        key=actions.SPLIT_KEY,
        sources={
            "fmp": Source(endpoint="splits, splits-calendar"),
            "polygon": _polygon("stocks/v1/splits"),
        },
        about="A split of a share: so many new ones for so many old ones.",
        cadence="daily",
        rows=2,
        validate=actions.validate_splits,
        ask=questions.ask_splits,
        may_be_empty=True,
        full_snapshot=True,
        bulk_rows=questions.ask_splits_of_all,
    ),
    Dataset(
        name="dividends",
        domain=Domain.CORPORATE_ACTIONS,
        instrument_kind=InstrumentKind.EQUITY,
        table="dividend",
        wire_schema=actions.WIRE_DIVIDENDS,
        completed=actions.NUMBERED_DIVIDENDS,
        key=actions.DIVIDEND_KEY,
        sources={
            "fmp": Source(endpoint="dividends, dividends-calendar"),
            "polygon": _polygon("stocks/v1/dividends"),
        },
        about="A dividend as paid on a share of its day, not adjusted for later splits.",
        cadence="daily",
        rows=60,
        validate=actions.validate_dividends,
        ask=questions.ask_dividends,
        may_be_empty=True,
        full_snapshot=True,
        bulk_rows=questions.ask_dividends_of_all,
    ),
    Dataset(
        name="macro_observations",
        domain=Domain.MACRO,
        instrument_kind=InstrumentKind.SERIES,
        table="macro_observation",
        wire_schema=macro.WIRE_OBSERVATIONS,
        key=macro.KEY,
        # Four for daily series, which have thousands of vintages.
        sources={"fred": Source(endpoint="series/vintagedates, series/observations", requests=3)},
        about="A value that a period of a series had for some time, until it was revised.",
        cadence="daily",
        rows=3000,
        validate=macro.validate,
        ask=questions.ask_observations,
        # A revision in the evening of St. Louis comes when its day is over in UTC.
        zone=macro.ST_LOUIS,
        begins=FIRST_VINTAGE,
        grows=True,
        bulk_changes=questions.ask_changed_series,
    ),
    Dataset(
        name="crypto_bars",
        domain=Domain.CRYPTO,
        instrument_kind=InstrumentKind.PAIR,
        table="minute_bar",
        wire_schema=minute_bars.WIRE_MINUTE_BARS,
        key=minute_bars.KEY,
        sources={
            "binance": Source(endpoint="monthly and daily files, klines", days_per_request=20.0),
            "coinbase": Source(endpoint="candles", days_per_request=0.2),
        },
        about="A minute of a pair at one venue in which it traded.",
        cadence="hourly",
        rows=1440,
        validate=minute_bars.validate,
        ask=questions.ask_minute_bars,
        request_scope=RequestScope.DAYS,
        usual_days=2,
        asked_again=1,
    ),
    Dataset(
        name="crypto_trades",
        domain=Domain.CRYPTO,
        instrument_kind=InstrumentKind.PAIR,
        table="trade",
        wire_schema=trades.WIRE_TRADES,
        key=trades.KEY,
        sources={
            "binance": Source(endpoint="daily files, aggTrades", days_per_request=1.0),
            "coinbase": Source(endpoint="trades", days_per_request=0.05),
        },
        about="A trade of a pair at one venue; at Binance an aggregate trade.",
        cadence="on demand",
        rows=10000,
        validate=trades.validate,
        ask=questions.ask_trades,
        request_scope=RequestScope.DAYS,
        usual_days=1,
        most_days=1,
    ),
)
"""Every dataset, by name."""


def past_symbols(dataset: str, provider: str) -> PastSymbols:
    """Return the ticker under which a provider keeps days before a rename."""
    return DATASETS[dataset].sources[provider].past_symbols

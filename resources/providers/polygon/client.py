"""Polygon, now Massive: bars, corporate actions and companies.

Here: the client, with the requests and checks of each answer. Not here: following pages (pages.py),
what answers look like (wire.py and its neighbours), how a request is sent (../http.py), or the
storing of rows.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.ports import Answer
from marketdata.recovery import errors
from resources.providers.answer_text import shortened
from resources.providers.http import Getter, HttpAnswer
from resources.providers.polygon import actions, bars, companies, wire
from resources.providers.polygon.bars import Rows
from resources.providers.polygon.pages import Gathered, gather
from resources.providers.polygon.wire import PROVIDER, NextPage, Page

BASE_URL = "https://api.massive.com"
IN_FLIGHT = 8
"""Requests under way at once, for paid plans; the free one never has two."""
BASE_BARS = 50_000
"""Most base bars of one page."""
MINUTE_WINDOW = timedelta(days=72)
"""At most 52 weekdays of 16 hours (04:00 to 20:00), which is 49,920 minutes: one page."""
ACTION_LIMIT = 5_000
"""Rows of one page of splits or dividends, by the vendor's reference."""
_MINUTE = timedelta(minutes=1)
_SYMBOL = re.compile(r"[A-Za-z0-9:.\-/]{1,32}")


class PolygonClient:
    """Asks Polygon's REST API.

    Fulfils marketdata.ports.DailyBarProvider, DailyMarketProvider, MinuteBarProvider,
    ActionProvider and ReferenceProvider. Prices are requested as traded, so that a split does not
    change stored prices. Symbols are case-sensitive, class shares are spelt ``BRK.B``.

    Every method raises the ProviderError of ``wire.classify_error``, MalformedPayloadError for an
    answer of the wrong form (pointing to the answer), and RequestRejectedError for a symbol that
    cannot be one, for which nothing was sent.

    Args:
        getter: Sends to BASE_URL with the key in the header, and classifies by
            ``wire.classify_error``; or serves kept answers.
    """

    name = PROVIDER

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
        """Return the daily bars (WIRE_BARS) of ``symbol`` from ``start`` to ``end``.

        One request holds 50,000 days. An unknown symbol and days without bars give the same
        empty answer. Sessions are New York's.

        Raises:
            ValueError: ``start`` is after ``end``.
        """
        operation = f"aggs/day symbol={symbol} from={start} to={end} adjusted=false"
        _check_request(symbol, operation, start, end)

        def read(page: Page, _: HttpAnswer, page_operation: str) -> Rows:
            _check_owner(page, symbol, page_operation)
            rows = bars.day_bars(page.rows, symbol, operation=page_operation)
            _check_within(rows.table["session_date"], start, end, page_operation)
            return rows

        gathered = Gathered(operation=operation)
        await gather(self._getter, _aggregates(symbol, "day", start, end), read, gathered)
        return gathered.answer()

    async def daily_market(self, session: date) -> Answer:
        """Return the bars (WIRE_BARS) of all US stocks for ``session``, in one request."""
        operation = f"grouped-daily date={session} adjusted=false"

        def read(page: Page, _: HttpAnswer, page_operation: str) -> Rows:
            _check_owner(page, None, page_operation)
            return bars.market_bars(page.rows, session, operation=page_operation)

        first = NextPage(
            path=f"v2/aggs/grouped/locale/us/market/stocks/{session}",
            parameters={"adjusted": "false", "include_otc": "false"},
        )
        gathered = Gathered(operation=operation)
        await gather(self._getter, first, read, gathered)
        return gathered.answer()

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer:
        """Return the minutes (WIRE_MINUTE_BARS) of ``symbol``, as traded.

        Days are New York's, including minutes before the opening and after the close. They are
        requested 72 days at a time. A minute that was not over when its answer came is left out.

        Raises:
            ValueError: ``start`` is after ``end``.
        """
        operation = f"aggs/minute symbol={symbol} from={start} to={end} adjusted=false"
        _check_request(symbol, operation, start, end)
        gathered = Gathered(operation=operation)
        for first, last in _windows(start, end):
            begin, until = _midnight(first), _midnight(last + timedelta(days=1))

            def read(
                page: Page,
                reply: HttpAnswer,
                page_operation: str,
                begin: datetime = begin,
                until: datetime = until,
            ) -> Rows:
                _check_owner(page, symbol, page_operation)
                rows = bars.minute_bars(page.rows, symbol, operation=page_operation)
                _check_within(rows.table["opened_at"], begin, until - _MINUTE, page_operation)
                over = pc.less_equal(rows.table["opened_at"], reply.fetched_at - _MINUTE)
                return replace(rows, table=rows.table.filter(over))

            await gather(self._getter, _aggregates(symbol, "minute", first, last), read, gathered)
        return gathered.answer()

    async def company(self, symbol: str) -> Answer:
        """Return Polygon's details of ``symbol`` (WIRE_COMPANIES, one row).

        Raises:
            UnknownSymbolError: Polygon does not know it.
        """
        operation = f"tickers symbol={symbol}"
        _check_request(symbol, operation)
        reply = await self._getter.get(
            f"v3/reference/tickers/{quote(symbol, safe=':')}", {}, operation=operation
        )
        gathered = Gathered(operation=operation)
        gathered.add(reply)
        with gathered.kept():
            detail = wire.detail(reply.body, operation=operation)
            gathered.take(companies.company(detail, symbol, operation=operation))
        return gathered.answer()

    async def splits(self, symbol: str) -> Answer:
        """Return all splits (WIRE_SPLITS) of ``symbol``, announced ones included.

        From ``/stocks/v1/splits``: the older endpoint is deprecated and has no kind of split.
        """
        return await self._actions("splits", {"ticker": symbol})

    async def splits_between(self, start: date, end: date) -> Answer:
        """Return the market's splits (WIRE_SPLITS) with an ex-date from ``start`` to ``end``."""
        return await self._actions("splits", _between("execution_date", start, end))

    async def dividends(self, symbol: str) -> Answer:
        """Return all dividends (WIRE_DIVIDENDS) of ``symbol``, declared ones included."""
        return await self._actions("dividends", {"ticker": symbol})

    async def dividends_between(self, start: date, end: date) -> Answer:
        """Return the market's dividends (WIRE_DIVIDENDS) by ex-date, both ends included."""
        return await self._actions("dividends", _between("ex_dividend_date", start, end))

    async def _actions(self, kind: str, query: Mapping[str, str]) -> Answer:
        query_text = " ".join(f"{name}={value}" for name, value in query.items())
        operation = f"{kind} {query_text}"
        symbol = query.get("ticker")
        if symbol is not None:
            _check_request(symbol, operation)
        parse = actions.split_rows if kind == "splits" else actions.dividend_rows
        day = "execution_date" if kind == "splits" else "ex_dividend_date"

        def read(page: Page, _: HttpAnswer, page_operation: str) -> Rows:
            rows = parse(page.rows, operation=page_operation)
            if symbol is not None:
                _check_symbols(rows.table, symbol, page_operation)
            else:
                first, last = (date.fromisoformat(text) for text in query.values())
                _check_within(rows.table["ex_date"], first, last, page_operation)
            return rows

        first = NextPage(
            path=f"stocks/v1/{kind}",
            parameters={**query, "limit": str(ACTION_LIMIT), "sort": f"{day}.asc,ticker.asc"},
        )
        gathered = Gathered(operation=operation)
        await gather(self._getter, first, read, gathered, exact=True)
        return gathered.answer()


def _aggregates(symbol: str, timespan: str, start: date, end: date) -> NextPage:
    return NextPage(
        path=f"v2/aggs/ticker/{quote(symbol, safe=':')}/range/1/{timespan}/{start}/{end}",
        parameters={"adjusted": "false", "sort": "asc", "limit": str(BASE_BARS)},
    )


def _between(name: str, start: date, end: date) -> Mapping[str, str]:
    if start > end:
        message = f"the range of {name} is reversed: {start} is after {end}"
        raise ValueError(message)
    return {f"{name}.gte": start.isoformat(), f"{name}.lte": end.isoformat()}


def _windows(start: date, end: date) -> Iterator[tuple[date, date]]:
    while start <= end:
        last = min(start + MINUTE_WINDOW - timedelta(days=1), end)
        yield start, last
        start = last + timedelta(days=1)


def _midnight(day: date) -> datetime:
    """Return the first moment of a New York day, in UTC."""
    return datetime.combine(day, time(), NEW_YORK_ZONE).astimezone(UTC)


def _check_request(
    symbol: str, operation: str, start: date = date.min, end: date = date.max
) -> None:
    # An odd symbol is data, and concerns that symbol alone; a reversed range is a bug.
    if start > end:
        message = f"the range of {symbol} is reversed: {start} is after {end}"
        raise ValueError(message)
    if _SYMBOL.fullmatch(symbol) is None or symbol in {".", ".."}:
        message = f"{symbol!r} cannot be a symbol; nothing was sent"
        raise errors.RequestRejectedError(message, provider=PROVIDER, operation=operation)


def _check_owner(page: Page, symbol: str | None, operation: str) -> None:
    """Refuse bars of another ticker, or adjusted ones: rows themselves show neither."""
    if symbol is not None and page.ticker not in {None, symbol}:
        ticker = shortened(repr(page.ticker))
        raise wire.malformed(f"the bars are those of {ticker}", operation)
    if page.rows and page.adjusted is True:
        message = "prices came adjusted for splits, not as traded"
        raise wire.malformed(message, operation)


def _check_symbols(table: pa.Table, symbol: str, operation: str) -> None:
    strangers = [other for other in pc.unique(table["symbol"]).to_pylist() if other != symbol]
    if strangers:
        raise wire.malformed(f"rows of {strangers[0]} came, too", operation)


def _check_within(
    keys: pa.ChunkedArray, first: date | datetime, last: date | datetime, operation: str
) -> None:
    """Refuse rows that were not requested: the answer is another request's."""
    outside = keys.filter(pc.or_(pc.less(keys, first), pc.greater(keys, last)))
    if len(outside):
        message = f"rows outside of what was asked came, such as of {outside[0].as_py()}"
        raise wire.malformed(message, operation)

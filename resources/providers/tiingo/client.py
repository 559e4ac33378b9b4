"""Tiingo: daily bars of all exchanges, and minute bars of IEX.

Here: the client, and which requests make one answer. Not here: what answers look like (wire.py,
bars.py), how a request is sent (../http.py), or the storing of bars.

Tiingo is this project's way to IEX: minute bars are of trades on that exchange alone. Daily bars
are of all exchanges.
"""

import re
from datetime import date, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.local_days import local_days
from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import RejectedRow
from resources.providers.http import Getter
from resources.providers.provenance import Replies
from resources.providers.tiingo import bars as tiingo_bars
from resources.providers.tiingo import wire

BASE_URL = "https://api.tiingo.com"
KEY_SCHEME = "Token"
"""The word before the key in the Authorization header."""
IN_FLIGHT = 8
"""Requests under way at once: there is no limit by second or minute, only by hour and day."""
ROW_CAP = 2000
"""Rows of one minute answer; beyond it Tiingo silently drops the OLDEST. One client's documentation
says about 2,000, another's 10,000: this is the smaller."""
SESSIONS_A_REQUEST = 3
"""IEX trades from 8 to 17 o'clock New York: 540 minutes, so that three sessions hold 1,620."""
READY_AT = time(17, 30)
"""New York time from which a session's daily prices are served; corrected until 20 o'clock."""

_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,24}")
_MARKET = "tiingo/daily/prices"
_MINUTE_COLUMNS = "date,open,high,low,close,volume"
"""Volume is sent only if it is named."""


class TiingoClient:
    """Asks Tiingo; fulfils DailyBarProvider, DailyMarketProvider and MinuteBarProvider.

    Symbols are Tiingo's: class shares with a hyphen (``BRK-B``), upper or lower case. Paths are
    those without a redirect, since redirects are not followed.

    Args:
        getter: Sends the key as ``Authorization: Token KEY`` and classifies answers by
            ``wire.classify_error``; or serves kept answers.
    """

    name = wire.PROVIDER

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
        """Return the daily bars (WIRE_BARS) of ``symbol`` from ``start`` to ``end``, included.

        Prices and volume are as traded. One request, however long the span.

        Raises:
            UnknownSymbolError: Tiingo has nothing under ``symbol``.
            MalformedPayloadError: Rows of days that were not requested came; see
                ``tiingo_bars.history_page`` for the rest. The error points to the answer.
            RequestRejectedError: ``symbol`` is no single ticker; nothing was sent.
            ProviderError: See ``wire.classify_error``.
            ValueError: ``start`` is after ``end``.
        """
        path = f"tiingo/daily/{symbol}/prices"
        operation = f"{path} startDate={start} endDate={end}"
        _check_request(symbol, start, end, operation)
        reply = await self._getter.get(path, _span(start, end), operation=operation)
        replies = Replies(reply)
        with replies.kept():
            page = tiingo_bars.history_page(reply.body, symbol, operation=operation)
            _refuse_other_days(page.bars["session_date"], start, end, operation)
        return replies.answer(operation, page.bars, page.left_out)

    async def daily_market(self, session: date) -> Answer:
        """Return the bars (WIRE_BARS) of ``session`` for all tickers, in upper case.

        Prices and volume are as traded. Tiingo serves only the latest day, so a session is
        available from 17:30 New York time until the next one is served. JSON is requested although
        CSV is shorter, since a cut JSON list cannot pass for the whole.

        Raises:
            ProviderUnavailableError: ``session`` is not served yet.
            RequestRejectedError: ``session`` is no longer the latest day. A retry cannot help: a
                person or another route has to request it by ticker.
            MalformedPayloadError: See ``tiingo_bars.market_day``. The error points to the answer.
            ProviderError: See ``wire.classify_error``.
        """
        operation = f"{_MARKET} session={session}"
        reply = await self._getter.get(_MARKET, {}, operation=operation)
        replies = Replies(reply)
        with replies.kept():
            market = tiingo_bars.market_day(reply.body, operation=operation)
            _require_session(market.day, session, operation)
        return replies.answer(operation, market.bars, market.left_out)

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer:
        """Return the minute bars (WIRE_MINUTE_BARS) of New York days, both included.

        Trades on IEX only, also before and after the session; times are UTC. A minute without a
        trade, or that was not over when the answer came, is absent. Tiingo does not document
        whether prices before a split are adjusted.

        Raises:
            UnknownSymbolError: Tiingo has nothing under ``symbol``.
            MalformedPayloadError: Rows of days that were not requested came, or so many that others
                may have been dropped; see ``tiingo_bars.minute_page`` for the rest. The error
                points to the answer.
            RequestRejectedError: ``symbol`` is no single ticker; nothing was sent.
            ProviderError: See ``wire.classify_error``.
            ValueError: ``start`` is after ``end``.
        """
        operation = f"iex/{symbol}/prices startDate={start} endDate={end} resampleFreq=1min"
        _check_request(symbol, start, end, operation)
        replies = Replies()
        complete: list[pa.Table] = []
        left_out: list[RejectedRow] = []
        for first, last in windows(start, end):
            page_operation = (
                f"iex/{symbol}/prices startDate={first} endDate={last} resampleFreq=1min"
            )
            reply = await self._getter.get(
                f"iex/{symbol}/prices",
                {
                    **_span(first, last),
                    "resampleFreq": "1min",
                    "afterHours": "true",
                    "columns": _MINUTE_COLUMNS,
                },
                operation=page_operation,
            )
            replies.add(reply)
            with replies.kept():
                page = tiingo_bars.minute_page(reply.body, symbol, operation=page_operation)
                _refuse_capped(page, page_operation)
                days = local_days(page.bars["opened_at"], NEW_YORK_ZONE)
                _refuse_other_days(days, first, last, page_operation)
            complete.append(tiingo_bars.over_by(page.bars, reply.fetched_at))
            left_out.extend(page.left_out)
        return replies.answer(operation, pa.concat_tables(complete), left_out)


def windows(start: date, end: date) -> list[tuple[date, date]]:
    """Split the days from ``start`` to ``end`` into requests of at most SESSIONS_A_REQUEST.

    All days are covered, sessions or not, so that no trade on a closed day is missed.
    """
    sessions = calendar().sessions(start, end)
    firsts = [start, *sessions[SESSIONS_A_REQUEST::SESSIONS_A_REQUEST]]
    lasts = [first - timedelta(days=1) for first in firsts[1:]]
    return list(zip(firsts, [*lasts, end], strict=True))


def _span(start: date, end: date) -> dict[str, str]:
    return {"startDate": start.isoformat(), "endDate": end.isoformat()}


def _check_request(symbol: str, start: date, end: date, operation: str) -> None:
    # A reversed range is a bug; an odd symbol is data, and as a part of the path it could name
    # another endpoint.
    if start > end:
        message = f"the range of {symbol} is reversed: {start} is after {end}"
        raise ValueError(message)
    if _SYMBOL.fullmatch(symbol) is None:
        message = f"one ticker a request, not {symbol!r}; nothing was sent"
        raise errors.RequestRejectedError(message, provider=wire.PROVIDER, operation=operation)


def _require_session(latest: date, session: date, operation: str) -> None:
    if latest == session:
        return
    kind: type[errors.ProviderError] = errors.RequestRejectedError
    why = f"only the latest day is served, which is {latest} by now: ask for {session} by ticker"
    if latest < session:
        kind = errors.ProviderUnavailableError
        why = (
            f"the latest day is still {latest}; {session} comes after {READY_AT:%H:%M} New York "
            "time, and can be asked for by ticker later"
        )
    raise kind(why, provider=wire.PROVIDER, operation=operation)


def _refuse_capped(page: tiingo_bars.Page, operation: str) -> None:
    if page.rows >= ROW_CAP:
        raise wire.malformed(
            f"{page.rows} rows came, and Tiingo drops the oldest beyond about {ROW_CAP}", operation
        )


def _refuse_other_days(days: pa.ChunkedArray, start: date, end: date, operation: str) -> None:
    """Refuse rows of other days: rows have no ticker, so only days show a wrong answer."""
    outside = days.filter(pc.or_(pc.less(days, start), pc.greater(days, end)))
    if len(outside):
        raise wire.malformed(
            f"rows that were not requested came, such as of day {outside[0].as_py()}", operation
        )

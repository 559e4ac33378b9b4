"""Coinbase Exchange: minute bars and trades.

Here: the client, and which requests make one answer of minute bars. Not here: those of trades
(trades.py), what answers look like (rows.py, wire.py), or how a request is sent (../http.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.ports import Answer
from resources.providers.coinbase import rows as coinbase_rows
from resources.providers.coinbase import trades as coinbase_trades
from resources.providers.coinbase import wire
from resources.providers.coinbase.rows import MINUTE, CandlePage
from resources.providers.http import Getter, HttpAnswer
from resources.providers.provenance import Replies, kept_as

BASE_URL = "https://api.exchange.coinbase.com"
BUCKETS = 300
"""Buckets of one answer; one more is refused, and both edges count."""
IN_FLIGHT = 8
"""Requests under way at once: enough for 10 a second while an answer takes up to 0.8 seconds."""


class CoinbaseClient:
    """Asks Coinbase Exchange's public API, which needs no key.

    Fulfils marketdata.ports.MinuteBarProvider and TradeProvider.

    Args:
        getter: Sends to BASE_URL and classifies by ``wire.classify_error``; or serves kept answers.
    """

    name = wire.PROVIDER

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer:
        """Return the minute bars of ``symbol`` from ``start`` to ``end``: see the function."""
        return await minute_bars(self._getter, symbol, start, end)

    async def trades(self, symbol: str, start: date, end: date) -> Answer:
        """Return the trades of ``symbol``: see ``coinbase_trades.trades``."""
        return await coinbase_trades.trades(self._getter, symbol, start, end)


async def minute_bars(getter: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the minute bars of a product on the UTC days ``start`` to ``end``, both included.

    The days are asked for in windows of 300 buckets, five requests a day, several at once;
    ``raw_answers`` has them by time. A minute without trades has no bar. A minute that was not
    over when its answer came is left out, and ``fetched_at`` is the time of the earliest answer, so
    that every window is at least as new. The windows do not depend on the clock, so that kept
    answers can be replayed.

    Coinbase may send buckets from before the window. They are dropped, since another window
    covers them, or they are of other days. Nothing else is dropped.

    Raises:
        UnknownSymbolError: Coinbase has no product of this name.
        MalformedPayloadError: Buckets from after a window came, or several and all of them
            from before it, which is the answer to another request; see
            ``coinbase_rows.candle_page`` for the rest. The error points to the answers, by time,
            up to the first window without one.
        RequestRejectedError: ``symbol`` cannot be a product's name; nothing was sent.
        ProviderError: See ``wire.classify_error``.
        ValueError: ``start`` is after ``end``.
    """
    operation = f"candles symbol={symbol} granularity=60 from={start} to={end}"
    wire.check_request(symbol, start, end, operation)

    windows = list(_windows(start, end))
    replies_so_far: list[HttpAnswer | None] = [None] * len(windows)

    async def fetch(place: int) -> tuple[HttpAnswer, CandlePage]:
        window = windows[place]
        window_operation = f"{operation} window={window.start:%Y-%m-%dT%H:%M}Z"
        reply = await getter.get(
            f"products/{symbol}/candles",
            {
                "granularity": "60",
                "start": f"{window.start:%Y-%m-%dT%H:%M:%SZ}",
                "end": f"{window.last:%Y-%m-%dT%H:%M:%SZ}",
            },
            operation=window_operation,
        )
        replies_so_far[place] = reply
        with kept_as(replies_so_far):
            page = coinbase_rows.candle_page(reply.body, symbol, operation=window_operation)
            return reply, replace(
                page, bars=_within(page.bars, window, reply.fetched_at, window_operation)
            )

    pages = await _all_at_once(fetch, len(windows))
    return Replies(*(reply for reply, _ in pages)).answer(
        operation,
        pa.concat_tables(page.bars for _, page in pages),
        (row for _, page in pages for row in page.left_out),
        notes=(note for _, page in pages for note in page.notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """Buckets from the one that begins at ``start`` to the one that begins at ``last``."""

    start: datetime
    last: datetime


def _windows(start: date, end: date) -> Iterator[_Window]:
    at = datetime.combine(start, time(), UTC)
    until = datetime.combine(end, time(), UTC) + timedelta(days=1)
    while at < until:
        following = min(at + BUCKETS * MINUTE, until)
        yield _Window(start=at, last=following - MINUTE)
        at = following


async def _all_at_once(
    fetch_window: Callable[[int], Coroutine[object, object, tuple[HttpAnswer, CandlePage]]],
    count: int,
) -> list[tuple[HttpAnswer, CandlePage]]:
    """Ask for all ``count`` windows in order; the getter limits how many are in flight.

    Tasks begin in the order of creation, so that kept answers are served in that order. The
    first failure ends all of them and is raised as it is.
    """
    tasks = [asyncio.create_task(fetch_window(place)) for place in range(count)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _within(bars: pa.Table, window: _Window, fetched_at: datetime, operation: str) -> pa.Table:
    """Return the bars of ``window`` that were over at ``fetched_at``."""
    late = pc.greater(bars["opened_at"], window.last)
    if pc.any(late).as_py():
        first = bars.filter(late)["opened_at"][0].as_py()
        raise wire.malformed(f"a bucket after the window came, at {first}", operation)
    inside = bars.filter(pc.greater_equal(bars["opened_at"], window.start))
    if bars.num_rows > 1 and not inside.num_rows:
        first = bars["opened_at"][0].as_py()
        message = f"all {bars.num_rows} buckets are from before the window, such as {first}"
        raise wire.malformed(message, operation)
    return inside.filter(pc.less_equal(inside["opened_at"], fetched_at - MINUTE))

"""Binance spot: minute bars and trades.

Here: the client, and which requests make the minute bars of some days. Not here: trades
(trades.py), what replies look like (wire.py, files.py, rows.py), or how a request is sent
(../http.py).

What is over and published comes from files, which have checksums and cost nothing of the address'
weight: a month's file (two requests) as soon as more than one of its days is wanted, else a day's.
REST serves what no file has.

Every answer begins with Binance's own time, since what is published and which minute is over are
judged by it. So an answer that is replayed from what was kept asks for the same things again.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from marketdata.minute_bars import QUOTED_MINUTE_BARS
from marketdata.ports import Answer
from resources.providers.binance import files as binance_files
from resources.providers.binance import rows as binance_rows
from resources.providers.binance import trades as binance_trades
from resources.providers.binance import wire
from resources.providers.binance.enquiry import ONE_DAY, Enquiry, midnight, milliseconds
from resources.providers.http import Getter

BASE_URL = "https://data-api.binance.vision"
"""Market data only, without a key; api.binance.com answers the same."""
FILES_URL = "https://data.binance.vision"
PAGE = 1000
WEIGHT = 2
IN_FLIGHT = 4
FILES_IN_FLIGHT = 4
"""No limit is published for files; a month of bars is two megabytes."""
_PATH = "api/v3/klines"
_MINUTE = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)


class BinanceClient:
    """Asks Binance for bars and trades of spot pairs; constructing it does nothing.

    Fulfils marketdata.ports.MinuteBarProvider and TradeProvider.

    Args:
        rest: Asks BASE_URL, its judge is ``wire.refusal``.
        files: Asks FILES_URL, its judge is ``wire.files_refusal``. An answer that is
            replayed takes one getter for both.
    """

    name = wire.PROVIDER

    def __init__(self, rest: Getter, files: Getter) -> None:
        self._rest = rest
        self._files = files

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer:
        """Return the bars of the UTC days ``start`` to ``end``: see ``minute_bars``."""
        return await minute_bars(self._rest, self._files, symbol, start, end)

    async def trades(self, symbol: str, start: date, end: date) -> Answer:
        """Return the trades of the UTC days ``start`` to ``end``: see ``trades.trades``."""
        return await binance_trades.trades(self._rest, self._files, symbol, start, end)


async def minute_bars(rest: Getter, files: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the minute bars (QUOTED_MINUTE_BARS) of the UTC days ``start`` to ``end``.

    Both days are included, as far as their minutes are over by Binance's own time, which is asked
    for first: ``fetched_at`` is the time of that reply. Minutes without
    a trade are absent, whether the pair was quiet or the venue stood still. ``vwap`` is the quote
    volume over the volume. The answer's ``request`` says which days came from files; a file that
    there is not is made up for by REST.

    Raises:
        UnknownSymbolError: REST was asked, and does not know ``symbol``.
        RequestRejectedError: ``symbol`` cannot be one; nothing was sent.
        MalformedPayloadError: A reply cannot be read, holds rows nobody asked for, or a file is
            not what its checksum says. The error points to all replies so far.
        ProviderError: See ``wire.refusal``.
        ValueError: ``start`` is after ``end``.
    """
    enquiry = Enquiry(
        rest,
        files,
        operation=f"klines symbol={symbol} interval=1m",
        symbol=symbol,
        start=start,
        end=end,
    )
    now = await enquiry.server_time()
    for piece in _pieces(symbol, start, min(end, now.date()), now.date()):
        if piece.path is not None and await _from_file(enquiry, piece, piece.path):
            enquiry.took(piece.way, piece.first, piece.last)
        else:
            await _by_rest(enquiry, piece, now)
            enquiry.took("rest", piece.first, piece.last)
    return enquiry.answer(QUOTED_MINUTE_BARS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Days that one file holds; without a path, days that only REST has."""

    way: str
    first: date
    last: date
    path: str | None

    @property
    def file_holds(self) -> tuple[datetime, datetime]:
        """First moment of the file, and the first one after it."""
        if self.way == "day":
            return midnight(self.first), midnight(self.last + ONE_DAY)
        first = self.first.replace(day=1)
        return midnight(first), midnight((first + timedelta(days=31)).replace(day=1))


def _pieces(symbol: str, start: date, end: date, today: date) -> Iterator[_Piece]:
    """Split days into the fewest files, oldest first; ``end`` is not after ``today``."""
    first = start
    while first <= end:
        month_ends = (first.replace(day=1) + timedelta(days=31)).replace(day=1) - ONE_DAY
        last = min(month_ends, end)
        # On the first Monday itself the file may be still to come.
        published = binance_files.month_published_on(first) < today
        if published and last > first:
            path = binance_files.month_of_klines(symbol, first)
            yield _Piece(way="month", first=first, last=last, path=path)
        else:
            for day in (first + ONE_DAY * one for one in range((last - first).days + 1)):
                path = binance_files.day_of_klines(symbol, day) if day < today else None
                yield _Piece(way="day", first=day, last=day, path=path)
        first = last + ONE_DAY


async def _from_file(enquiry: Enquiry, piece: _Piece, path: str) -> bool:
    """Add the days of ``piece`` from its file; return whether there is one."""
    found = await enquiry.file(path)
    if found is None:
        return False
    reply, asked = found
    wanted_from, wanted_to = midnight(piece.first), midnight(piece.last + ONE_DAY)
    with enquiry.kept():
        rows = await asyncio.to_thread(binance_files.kline_rows, reply.body, path, operation=asked)
        read = binance_rows.minute_bars(rows, enquiry.symbol, operation=asked)
        first, after = piece.file_holds
        binance_rows.refuse_outside(read.table, "opened_at", first, after, asked)
    wanted = binance_rows.between(read.table, "opened_at", wanted_from, wanted_to)
    enquiry.add(wanted, read.left_out)
    return True


async def _by_rest(enquiry: Enquiry, piece: _Piece, now: datetime) -> None:
    """Add the minutes of ``piece`` that are over by ``now``, page by page."""
    opens, ends = midnight(piece.first), midnight(piece.last + ONE_DAY)
    while opens + _MINUTE <= min(ends, now):
        parameters = {
            "symbol": enquiry.symbol,
            "interval": "1m",
            "startTime": milliseconds(opens),
            "endTime": milliseconds(ends - _MINUTE),
            "limit": str(PAGE),
        }
        reply, asked = await enquiry.ask(_PATH, parameters, weight=WEIGHT)
        with enquiry.kept():
            rows = wire.kline_rows(reply.body, operation=asked)
            read = binance_rows.minute_bars(rows, enquiry.symbol, operation=asked)
            binance_rows.refuse_outside(read.table, "opened_at", opens, ends, asked)
            last = read.last_at
            if last is not None and last < opens:
                message = "the page ends before it begins"
                raise wire.malformed(message, asked)
        # The last row may be the minute that is still open.
        over = binance_rows.between(read.table, "opened_at", opens, now - _MINUTE + _MICROSECOND)
        enquiry.add(over, read.left_out)
        if rows.num_rows < PAGE or last is None:
            break
        opens = last + _MINUTE

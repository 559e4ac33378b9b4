"""Binance spot: minute bars and trades.

Here: the client. Not here: which requests make an answer (klines.py, trades.py), what replies look
like (wire.py, files.py, rows.py), or how a request is sent (../http.py).

What is over and published comes from files, which have checksums and cost nothing of the address'
weight: a month's file (two requests) as soon as more than one of its days is wanted, else a day's.
REST serves what no file has, or has wrong. What neither has is noted with the answer.

Every answer begins with Binance's own time, since what is published and which minute is over are
judged by it. So an answer that is replayed from what was kept asks for the same things again.
"""

from datetime import date

from marketdata.ports import Answer
from resources.providers.binance import klines, wire
from resources.providers.binance import trades as binance_trades
from resources.providers.http import Getter

BASE_URL = "https://data-api.binance.vision"
"""Market data only, without a key; api.binance.com answers the same."""
FILES_URL = "https://data.binance.vision"
IN_FLIGHT = 4
FILES_IN_FLIGHT = 4
"""No limit is published for files; a month of bars is two megabytes."""


class BinanceClient:
    """Asks Binance for bars and trades of spot pairs; constructing it does nothing.

    Fulfils marketdata.ports.MinuteBarProvider and TradeProvider.

    Args:
        rest: Asks BASE_URL, classifies by ``wire.classify_error``.
        files: Asks FILES_URL, classifies by ``wire.classify_file_error``. An answer that is
            replayed takes one getter for both.
    """

    name = wire.PROVIDER

    def __init__(self, rest: Getter, files: Getter) -> None:
        self._rest = rest
        self._files = files

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer:
        """Return the bars of the UTC days ``start`` to ``end``: see ``klines.minute_bars``."""
        return await klines.minute_bars(self._rest, self._files, symbol, start, end)

    async def trades(self, symbol: str, start: date, end: date) -> Answer:
        """Return the trades of the UTC days ``start`` to ``end``: see ``trades.trades``."""
        return await binance_trades.trades(self._rest, self._files, symbol, start, end)

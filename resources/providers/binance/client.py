"""Binance spot: minute bars and trades.

Here: the client. Not here: which requests make an answer (klines.py, trades.py), what replies look
like (wire.py, files.py, rows.py), or how a request is sent (../http.py).

Days that are over and published come from files, which have checksums and do not count towards the
address' weight limit: a month's file (two requests) for more than one of its days, else a day's.
REST serves what files lack or have wrong. What neither has is noted with the answer.

Every answer begins with a request for Binance's clock, which decides what is published and which
minute is over. That reply is kept too, so a replay of kept answers makes the same requests.
"""

from datetime import date

from marketdata.ports import Answer
from resources.providers.binance import klines, wire
from resources.providers.binance import trades as binance_trades
from resources.providers.http import Getter

BASE_URL = "https://data-api.binance.vision"
"""Market data only, without a key; api.binance.com gives the same answers."""
FILES_URL = "https://data.binance.vision"
IN_FLIGHT = 4
FILES_IN_FLIGHT = 4
"""No limit is published for files; a month of bars is two megabytes."""


class BinanceClient:
    """Asks Binance for bars and trades of spot pairs; constructing it does nothing.

    Fulfils marketdata.ports.MinuteBarProvider and TradeProvider.

    Args:
        rest: Sends to BASE_URL and classifies by ``wire.classify_error``.
        files: Sends to FILES_URL and classifies by ``wire.classify_file_error``. A replay uses
            one getter for both.
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

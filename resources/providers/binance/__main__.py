"""Binance spot by hand: python -m resources.providers.binance BTCUSDT --of trades.

Here: the possible requests, and a client paced for one process alone. Not here: the command line
(../provider_cli.py), or the client (client.py).
"""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from marketdata.recovery.policy import REQUEST_RETRY
from resources.providers import provider_cli
from resources.providers.binance import wire
from resources.providers.binance.client import (
    BASE_URL,
    FILES_IN_FLIGHT,
    FILES_URL,
    IN_FLIGHT,
    BinanceClient,
)
from resources.providers.budget import PacedBudget
from resources.providers.http import HttpGetter, ResponseClassifier

REQUESTS_A_MINUTE = 1200
"""Used by hand, the address is not shared: at weight 4, that is less than 6,000."""

_QUESTIONS: Mapping[str, provider_cli.Question[BinanceClient]] = {
    "minutes": lambda client, request: client.minute_bars(
        request.symbol, request.start, request.end
    ),
    "trades": lambda client, request: client.trades(request.symbol, request.start, request.end),
}


@asynccontextmanager
async def _opened(_: str) -> AsyncGenerator[BinanceClient]:
    budget = PacedBudget(requests=REQUESTS_A_MINUTE)

    def getter(base_url: str, classify: ResponseClassifier, in_flight: int) -> HttpGetter:
        return HttpGetter(
            provider=wire.PROVIDER,
            base_url=base_url,
            key=None,
            budget=budget,
            retry=REQUEST_RETRY,
            classify=classify,
            in_flight=in_flight,
        )

    rest = provider_cli.address("BINANCE_BASE_URL", BASE_URL)
    files = provider_cli.address("BINANCE_FILES_URL", FILES_URL)
    async with (
        getter(rest, wire.classify_error, IN_FLIGHT) as asks_rest,
        getter(files, wire.classify_file_error, FILES_IN_FLIGHT) as asks_files,
    ):
        yield BinanceClient(asks_rest, asks_files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what Binance has of one symbol (see provider_cli.run).

    Addresses come from BINANCE_BASE_URL and BINANCE_FILES_URL.
    """
    return provider_cli.run(
        arguments,
        provider=wire.PROVIDER,
        spelling="in Binance's spelling, such as BTCUSDT",
        questions=_QUESTIONS,
        opened=_opened,
        needs_key=False,
    )


if __name__ == "__main__":
    sys.exit(main())

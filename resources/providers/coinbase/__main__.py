"""Coinbase Exchange by hand: python -m resources.providers.coinbase BTC-USD --of trades.

Here: the possible requests, and a client paced for one process alone. Not here: the command line
(../provider_cli.py), or the client (client.py).
"""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from marketdata.recovery.policy import REQUEST_RETRY
from resources.providers import provider_cli
from resources.providers.budget import PacedBudget
from resources.providers.coinbase import wire
from resources.providers.coinbase.client import BASE_URL, IN_FLIGHT, CoinbaseClient
from resources.providers.http import HttpGetter

REQUESTS_A_SECOND = 10
"""By address; a burst of 15 is allowed on top, and not relied on."""

_QUESTIONS: Mapping[str, provider_cli.Question[CoinbaseClient]] = {
    "minutes": lambda client, request: client.minute_bars(
        request.symbol, request.start, request.end
    ),
    "trades": lambda client, request: client.trades(request.symbol, request.start, request.end),
}


@asynccontextmanager
async def _opened(_: str) -> AsyncGenerator[CoinbaseClient]:
    async with HttpGetter(
        provider=wire.PROVIDER,
        base_url=provider_cli.address("COINBASE_BASE_URL", BASE_URL),
        key=None,
        budget=PacedBudget(requests=REQUESTS_A_SECOND, window_s=1.0),
        retry=REQUEST_RETRY,
        classify=wire.classify_error,
        in_flight=IN_FLIGHT,
    ) as getter:
        yield CoinbaseClient(getter)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what Coinbase has of one symbol (see provider_cli.run)."""
    return provider_cli.run(
        arguments,
        provider=wire.PROVIDER,
        spelling="in Coinbase's spelling, such as BTC-USD",
        questions=_QUESTIONS,
        opened=_opened,
        needs_key=False,
    )


if __name__ == "__main__":
    sys.exit(main())

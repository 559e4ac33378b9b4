"""Tiingo by hand: python -m resources.providers.tiingo AAPL --of minutes.

Here: the possible requests, and a client paced for one process alone. Not here: the command line
(../provider_cli.py), or the client (client.py).
"""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from marketdata.recovery.policy import REQUEST_RETRY
from resources.providers import provider_cli
from resources.providers.budget import PacedBudget
from resources.providers.http import HeaderKey, HttpGetter
from resources.providers.tiingo import wire
from resources.providers.tiingo.client import BASE_URL, IN_FLIGHT, KEY_SCHEME, TiingoClient

REQUESTS_A_SECOND = 10
"""Tiingo counts hours and days only; this is for politeness."""

_QUESTIONS: Mapping[str, provider_cli.Question[TiingoClient]] = {
    "days": lambda client, request: client.daily_history(
        request.symbol, request.start, request.end
    ),
    "minutes": lambda client, request: client.minute_bars(
        request.symbol, request.start, request.end
    ),
}


@asynccontextmanager
async def _opened(key: str) -> AsyncGenerator[TiingoClient]:
    async with HttpGetter(
        provider=wire.PROVIDER,
        base_url=provider_cli.address("TIINGO_BASE_URL", BASE_URL),
        key=HeaderKey(scheme=KEY_SCHEME, value=key),
        budget=PacedBudget(requests=REQUESTS_A_SECOND, window_s=1.0),
        retry=REQUEST_RETRY,
        classify=partial(wire.classify_error, key=key),
        in_flight=IN_FLIGHT,
    ) as getter:
        yield TiingoClient(getter)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what Tiingo has of one symbol (see provider_cli.run)."""
    return provider_cli.run(
        arguments,
        provider=wire.PROVIDER,
        spelling="in Tiingo's spelling, such as AAPL or BRK-B",
        questions=_QUESTIONS,
        opened=_opened,
        days=10,
    )


if __name__ == "__main__":
    sys.exit(main())

"""Polygon by hand: python -m resources.providers.polygon AAPL --of minutes.

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
from resources.providers.polygon import wire
from resources.providers.polygon.client import BASE_URL, IN_FLIGHT, PolygonClient

REQUESTS_A_MINUTE = 5
"""Of the free plan; paid ones are only asked to stay under 100 a second."""

_QUESTIONS: Mapping[str, provider_cli.Question[PolygonClient]] = {
    "days": lambda client, request: client.daily_history(
        request.symbol, request.start, request.end
    ),
    "minutes": lambda client, request: client.minute_bars(
        request.symbol, request.start, request.end
    ),
    "splits": lambda client, request: client.splits(request.symbol),
    "dividends": lambda client, request: client.dividends(request.symbol),
    "company": lambda client, request: client.company(request.symbol),
}


@asynccontextmanager
async def _opened(key: str) -> AsyncGenerator[PolygonClient]:
    async with HttpGetter(
        provider=wire.PROVIDER,
        base_url=provider_cli.address("POLYGON_BASE_URL", BASE_URL),
        key=HeaderKey(scheme="Bearer", value=key),
        budget=PacedBudget(requests=REQUESTS_A_MINUTE),
        retry=REQUEST_RETRY,
        classify=partial(wire.classify_error, key=key),
        in_flight=IN_FLIGHT,
    ) as getter:
        yield PolygonClient(getter)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what Polygon has of one symbol (see provider_cli.run)."""
    return provider_cli.run(
        arguments,
        provider=wire.PROVIDER,
        spelling="in Polygon's spelling, such as AAPL or BRK.B",
        questions=_QUESTIONS,
        opened=_opened,
        days=10,
    )


if __name__ == "__main__":
    sys.exit(main())

"""FRED by hand: python -m resources.providers.fred GDP --from 2024-01-01.

Here: the possible requests, and a client paced for one process alone. Not here: the command line
(../provider_cli.py), or the client (client.py).
"""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from marketdata.recovery.policy import REQUEST_RETRY
from resources.providers import provider_cli
from resources.providers.budget import PacedBudget
from resources.providers.fred import wire
from resources.providers.fred.client import (
    BASE_URL,
    IN_FLIGHT,
    KEY_PARAMETER,
    FredClient,
    classifier,
)
from resources.providers.http import HttpGetter, QueryKey

REQUESTS_A_SECOND = 2
"""Since 2026 a burst is refused although its minute is within the limit."""

_QUESTIONS: Mapping[str, provider_cli.Question[FredClient]] = {
    "observations": lambda client, request: client.observations(
        request.symbol, request.start, request.end
    ),
}


@asynccontextmanager
async def _opened(key: str) -> AsyncGenerator[FredClient]:
    async with HttpGetter(
        provider=wire.PROVIDER,
        base_url=provider_cli.address("FRED_BASE_URL", BASE_URL),
        key=QueryKey(name=KEY_PARAMETER, value=key),
        budget=PacedBudget(requests=REQUESTS_A_SECOND, window_s=1.0),
        retry=REQUEST_RETRY,
        classify=classifier(key),
        in_flight=IN_FLIGHT,
    ) as getter:
        yield FredClient(getter)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what FRED has of one symbol (see provider_cli.run)."""
    return provider_cli.run(
        arguments,
        provider=wire.PROVIDER,
        spelling="FRED's id, such as GDP",
        questions=_QUESTIONS,
        opened=_opened,
    )


if __name__ == "__main__":
    sys.exit(main())

"""Financial Modeling Prep by hand: python -m resources.providers.fmp AAPL --of splits.

Here: the possible requests, and clients paced for one process alone. Not here: the command line
(../provider_cli.py), or the clients (client.py, actions.py, records.py).
"""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from marketdata.recovery.policy import REQUEST_RETRY
from marketdata.statements import StatementKind
from resources.providers import provider_cli
from resources.providers.budget import PacedBudget
from resources.providers.fmp import wire
from resources.providers.fmp.actions import FmpActions
from resources.providers.fmp.client import BASE_URL, IN_FLIGHT, FmpClient
from resources.providers.fmp.records import FmpRecords
from resources.providers.http import Getter, HttpGetter, QueryKey

REQUESTS_A_MINUTE = 120


def _statements(kind: StatementKind) -> provider_cli.Question[Getter]:
    return lambda getter, request: FmpRecords(getter).statements(kind, request.symbol)


_QUESTIONS: Mapping[str, provider_cli.Question[Getter]] = {
    "days": lambda getter, request: FmpClient(getter, getter).daily_history(
        request.symbol, request.start, request.end
    ),
    "splits": lambda getter, request: FmpActions(getter).splits(request.symbol),
    "dividends": lambda getter, request: FmpActions(getter).dividends(request.symbol),
    "company": lambda getter, request: FmpRecords(getter).company(request.symbol),
    **{kind.value: _statements(kind) for kind in StatementKind},
}


@asynccontextmanager
async def _opened(key: str) -> AsyncGenerator[Getter]:
    async with HttpGetter(
        provider=wire.PROVIDER,
        base_url=provider_cli.address("FMP_BASE_URL", BASE_URL),
        key=QueryKey(name="apikey", value=key),
        budget=PacedBudget(requests=REQUESTS_A_MINUTE),
        retry=REQUEST_RETRY,
        classify=partial(wire.classify_error, key=key),
        in_flight=IN_FLIGHT,
    ) as getter:
        yield getter


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what FMP has of one symbol (see provider_cli.run)."""
    return provider_cli.run(
        arguments,
        provider=wire.PROVIDER,
        spelling="in FMP's spelling, such as AAPL or BRK-B",
        questions=_QUESTIONS,
        opened=_opened,
        days=10,
    )


if __name__ == "__main__":
    sys.exit(main())

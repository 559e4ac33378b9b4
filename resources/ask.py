"""One request to a provider, by hand: python -m resources.ask splits AAPL --provider polygon.

Here: the command line, and an answer as a table. Not here: how a provider is reached
(provider_registry.py), or what a dataset asks (marketdata/questions.py).

It needs the provider's key, and no database. So it keeps the provider's pace by itself, and does
not know what other processes send.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from marketdata.datasets import DATASETS, Dataset, RequestScope
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, FetchRequest
from marketdata.recovery import errors
from marketdata.recovery.policy import REQUEST_RETRY
from resources import clients
from resources.providers.budget import PacedBudget
from resources.providers.http import HttpGetter
from resources.settings import ProviderSettings, provider_of, read_provider_settings

SHOWN_ROWS = 20
"""Rows shown: the last ones."""
SHOWN_COLUMNS = 10
USUAL_DAYS = 10
"""Days before today at which a request for sessions begins; others begin today."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the request of the command line, show the answer, and return the exit status.

    Args:
        arguments: Of the command line; None takes those of the process.
    """
    options = _options(arguments)
    dataset: Dataset = DATASETS[options.dataset]
    today = datetime.now(UTC).date()
    days = USUAL_DAYS if dataset.request_scope is RequestScope.SESSIONS else 0
    request = FetchRequest(
        instrument=ListedInstrument(instrument_id=0, ticker=options.symbol, symbol=options.symbol),
        start=options.start or today - timedelta(days=days),
        end=options.end or today,
    )
    try:
        provider = options.provider or provider_of(dataset.name)
        answer = asyncio.run(_ask(read_provider_settings(), provider, dataset, request))
    except (errors.MarketDataError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(_table(answer))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m resources.ask")
    parser.add_argument("dataset", choices=tuple(DATASETS))
    parser.add_argument("symbol", help="in the provider's own spelling")
    parser.add_argument("--provider", help="who is asked; default the configured one")
    parser.add_argument("--from", dest="start", type=date.fromisoformat)
    parser.add_argument("--to", dest="end", type=date.fromisoformat)
    options = parser.parse_args(arguments)
    sources = DATASETS[options.dataset].sources
    if options.provider and options.provider not in sources:
        parser.error(f"--provider: {options.dataset} is served by {' and '.join(sources)}")
    return options


async def _ask(
    settings: ProviderSettings, provider: str, dataset: Dataset, request: FetchRequest
) -> Answer:
    async with AsyncExitStack() as stack:
        getters = [
            await stack.enter_async_context(
                HttpGetter(
                    provider=provider,
                    base_url=line.base_url,
                    key=line.key,
                    budget=PacedBudget(*line.limits),
                    retry=REQUEST_RETRY,
                    classify=line.classify,
                    in_flight=line.in_flight,
                )
            )
            for line in clients.lines(settings, provider)
        ]
        return await dataset.ask(clients.api_over(provider, dataset.name, *getters), request)


def _table(answer: Answer) -> str:
    # The first columns identify rows; the symbol is the same in all.
    names = [name for name in answer.rows.column_names if name != "symbol"][:SHOWN_COLUMNS]
    rows = answer.rows.sort_by([(name, "ascending") for name in names[:2]])
    rows = rows.slice(max(rows.num_rows - SHOWN_ROWS, 0)).select(names)
    lines = [names, *([_cell(value) for value in row.values()] for row in rows.to_pylist())]
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    shown = ["  ".join(map(str.rjust, line, widths)) for line in lines]
    shown.append(f"{answer.rows.num_rows} rows in {answer.requests} requests: {answer.request}")
    return "\n".join(shown) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return "missing" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())

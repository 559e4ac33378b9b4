"""A provider's client, run by hand: the part that is the same for all providers.

Here: the command line, keys and addresses from the environment, an error as one line, an answer as
a table. Not here: the requests of a provider, or how its client is opened (the ``__main__.py`` of
its package).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from marketdata.ports import Answer
from marketdata.recovery import errors

SHOWN_ROWS = 20
"""Rows shown: the last ones."""
SHOWN_COLUMNS = 10

_Client = TypeVar("_Client")


@dataclass(frozen=True, slots=True, kw_only=True)
class CliRequest:
    """A symbol in the provider's spelling, with first and last day, both included."""

    symbol: str
    start: date
    end: date


Question = Callable[[_Client, CliRequest], Awaitable[Answer]]


def run(
    arguments: Sequence[str] | None,
    *,
    provider: str,
    spelling: str,
    questions: Mapping[str, Question[_Client]],
    opened: Callable[[str], AbstractAsyncContextManager[_Client]],
    needs_key: bool = True,
    days: int = 0,
) -> int:
    """Send the request of the command line, show the answer, and return the exit status.

    The key comes from ``<PROVIDER>_API_KEY``; ``<PROVIDER>_BASE_URL`` overrides the address.

    Args:
        arguments: Of the command line; None takes those of the process.
        provider: Short name of the provider and of its package.
        spelling: How its symbols look.
        questions: The possible requests, by the value of ``--of``; the first one is the default.
        opened: Opens the client with the key.
        needs_key: Whether the provider has a key; if not, ``opened`` gets an empty text.
        days: Days before today at which ``--from`` begins by default.
    """
    today = datetime.now(UTC).date()
    parser = argparse.ArgumentParser(prog=f"python -m resources.providers.{provider}")
    parser.add_argument("symbol", help=spelling)
    parser.add_argument("--of", choices=tuple(questions), default=next(iter(questions)))
    day = date.fromisoformat
    parser.add_argument("--from", dest="start", type=day, default=today - timedelta(days=days))
    parser.add_argument("--to", dest="end", type=day, default=today)
    options = parser.parse_args(arguments)
    request = CliRequest(symbol=options.symbol, start=options.start, end=options.end)

    async def ask() -> Answer:
        async with opened(_key(provider) if needs_key else "") as client:
            return await questions[options.of](client, request)

    try:
        answer = asyncio.run(ask())
    except (errors.MarketDataError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(_table(answer))
    return 0


def address(variable: str, usual: str) -> str:
    """Return a provider's address: from the environment, or else the usual one."""
    return os.environ.get(variable, usual)


def _key(provider: str) -> str:
    variable = f"{provider.upper()}_API_KEY"
    key = os.environ.get(variable, "")
    if not key:
        message = f"{variable} is not set: export {variable}=<your key>"
        raise errors.ConfigurationError(message)
    return key


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

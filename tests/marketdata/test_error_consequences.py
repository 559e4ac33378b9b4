"""The table of marketdata/recovery/errors.py: what follows from each error of a provider."""

import asyncio
import inspect

import pytest

from marketdata.ingest import CONCURRENT_REQUESTS, ingest
from marketdata.ports import FetchRequest
from marketdata.recovery import errors
from marketdata.recovery.policy import BREAKER, REQUEST_RETRY
from tests.marketdata.fakes import MemoryStore, ScriptedProvider, context, feed_of, listed
from tests.marketdata.test_ingest import FIRST, THIRD

HEADING = "error                      repeated   breaker   the run     ingest log   letter\n"
REQUESTS = 3 * CONCURRENT_REQUESTS


def _table() -> dict[str, list[str]]:
    """Read the table's rows: the cells by the error's name, in the order of the heading."""
    text = inspect.getdoc(errors) or ""
    rows = text.partition(HEADING)[2].partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows]
    return {row[0]: row[1:] for row in cells}


def _kinds(kind: type[errors.ProviderError]) -> list[type[errors.ProviderError]]:
    """Return the kinds that are raised: those without kinds of their own, and what has both."""
    below = [child for parent in kind.__subclasses__() for child in _kinds(parent)]
    return [kind, *below] if kind is errors.NotEntitledError or not below else below


def _error(kind: type[errors.ProviderError]) -> errors.ProviderError:
    if issubclass(kind, errors.NotSentError):
        return kind("no", provider="scripted", operation="history X", retry_after_s=9.0)
    return kind("no", provider="scripted", operation="history X")


def test_the_table_holds_every_error_that_a_provider_can_raise() -> None:
    """A new kind has to say what follows from it."""
    assert {kind.__name__ for kind in _kinds(errors.ProviderError)} == _table().keys()


@pytest.mark.parametrize("kind", _kinds(errors.ProviderError), ids=lambda kind: kind.__name__)
def test_what_follows_from_an_error_is_what_the_table_says(
    kind: type[errors.ProviderError],
) -> None:
    """A whole run, in which every request fails with it."""
    error = _error(kind)
    requests = [
        FetchRequest(instrument=listed("T", number, symbol="T"), start=FIRST, end=THIRD)
        for number in range(REQUESTS)
    ]
    store, provider = MemoryStore(), ScriptedProvider({"T": error})

    async def run() -> str:
        try:
            async for _ in ingest(context(store), feed_of(provider), requests):
                pass
        except errors.ProviderError:
            return "fails"
        return "goes on" if len(provider.asked) == REQUESTS else "stops"

    ended = asyncio.run(run())
    letters = [failure.letter for failure in store.failures]
    first = letters[0]
    assert len(letters) == REQUESTS, "no work is forgotten"
    assert _table()[kind.__name__] == [
        "yes" if REQUEST_RETRY.back_off(error) else "no",
        "counts" if BREAKER.counts(error) else "-",
        ended,
        "-" if first.deferred else "failed",
        "parked" if first.parked else "open",
    ]

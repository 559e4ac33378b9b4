"""Carrying out a load: making the requests of a plan, and the outcome of each.

Here: what the assets call, without Dagster. Not here: planning (load_plan.py), the steps of one
request (marketdata/ingest.py), or reports (assets/load_reports.py).
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date

from marketdata.calendars import calendar, utc_now
from marketdata.dataset_ingest import DatasetFeed
from marketdata.datasets import Dataset
from marketdata.ingest import IngestContext, Ingested, NotIngested, ingest
from marketdata.session_ingest import (
    SessionLoad,
    ingest_session_by_symbol,
    ingest_session_in_bulk,
)
from resources.clients import Client
from resources.opening import Stores
from resources.settings import SessionRoute
from usecases.instruments import member_tickers, members_on
from usecases.load_plan import LoadPlan, plan_revealed


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingMissing:
    """The symbol lacks nothing by the ledger, so no request was made."""

    ticker: str


SymbolOutcome = Ingested | NotIngested | NothingMissing


def ingest_context(stores: Stores, run_id: str) -> IngestContext:
    """Return the context that the steps of one run share."""
    return IngestContext(store=stores.batches, calendar=calendar(), run_id=run_id, now=utc_now)


def feed_of(dataset: Dataset, client: Client) -> DatasetFeed:
    """Return the feed of a dataset at an opened provider."""
    return DatasetFeed(dataset, client.api, calendar())


async def load_symbols(
    stores: Stores,
    client: Client,
    plan: LoadPlan,
    run_id: str,
    say: Callable[[str], None],
) -> AsyncGenerator[SymbolOutcome]:
    """Make the requests of a plan; yield the outcome of each symbol as it is done.

    A symbol that cannot be asked for is a failure like any other.

    Args:
        stores: The database.
        client: The client of the plan's provider.
        plan: The plan.
        run_id: The run that asks.
        say: Called with each line for the run's log.

    Raises:
        KeyRefusedError: The provider refuses the key; the remaining work waits for a person.
        StorageError: The database failed; outcomes yielded before are stored.
    """
    for name, reason in plan.unknown.items():
        yield NotIngested(ticker=name, error_class="UnknownSymbol", message=reason)
    context, feed = ingest_context(stores, run_id), feed_of(plan.load.dataset, client)
    say(f"{len(plan.symbols)} symbols, {len(plan.requests)} loads to make")
    while True:
        async with aclosing(ingest(context, feed, plan.requests)) as outcomes:
            async for outcome in outcomes:
                yield outcome
        complete = plan.complete
        # Only answers about whole histories can show that others begin too late.
        if not plan.requests or plan.load.dataset.usual_days is not None:
            break
        plan = plan_revealed(stores, plan)
        complete = plan.complete
        if not plan.requests:
            break
        say(f"{len(plan.requests)} histories reach further back than they seemed to")
    for name in complete:
        yield NothingMissing(ticker=name)


async def load_session(
    stores: Stores,
    client: Client,
    dataset: Dataset,
    session: date,
    run_id: str,
    *,
    route: SessionRoute,
) -> SessionLoad:
    """Load one session of all members, by the configured route.

    Raises:
        ConfigurationError: The universe is empty: a mistake, not an empty day.
        RecordRejectedError: The session is not over yet.
        ProviderError: The request failed.
        StorageError: The database failed.
    """
    member_tickers(stores)
    listed = members_on(stores, dataset, client.name, session, utc_now().date())
    context, feed = ingest_context(stores, run_id), feed_of(dataset, client)
    if route is SessionRoute.BULK:
        return await ingest_session_in_bulk(context, feed, listed, session)
    return await ingest_session_by_symbol(context, feed, listed, session)

"""The universe: which instruments the pipeline follows, and the ticker partitions.

Here: the asset that keeps instruments, their dated tickers and the dynamic partitions in step
with the provider's constituents. Not here: prices, or how a change is found
(marketdata/instruments.py).
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg

from assets.failures import told_to_dagster
from assets.partitions import TICKERS
from marketdata import instruments
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, utc_now
from marketdata.datasets import past_symbols
from marketdata.instruments import ListedInstrument
from marketdata.recovery import errors
from resources.opening import Stores
from resources.wiring import Database, Providers

UNIVERSE = "sp500"


@dg.asset(
    key=["curated", "reference", "universe"],
    group_name="reference",
    owners=["team:market-data"],
    kinds={"python", "postgres"},
    metadata={"source": "FMP sp500-constituent", "cadence": "weekly", "grain": "instrument"},
)
async def universe(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> dg.MaterializeResult[Any]:
    """Instruments of the S&P 500 with the tickers they carry, each dated.

    Source: FMP `sp500-constituent`, one request, weekly. Destination: tables `instrument`,
    `instrument_ticker`, `universe_member`; what happened to identities in `instrument_event`. A
    ticker that leaves keeps its instrument, its data and its partition; an answer that lost a
    fifth of the members is refused.
    """
    with told_to_dagster(), database.open() as stores:
        async with providers.client(stores, context.run, DAILY_BARS_DATASET, "fmp") as client:
            listed = await client.api.sp500_constituents()
            requests = client.requests_sent
        known = stores.instruments.members(UNIVERSE)
        instruments.refuse_implausible(known, listed)
        change = instruments.universe_change(known, listed)
        on = utc_now().astimezone(NEW_YORK_ZONE).date()
        events = stores.instruments.apply(change, on=on, universe=UNIVERSE)
        tickers = stores.instruments.tickers()
    for event in events:
        context.log.warning("%s", event)
    context.instance.add_dynamic_partitions(TICKERS.name or "", tickers)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(listed),
            "requests": requests,
            "joined": len(change.joined),
            "left": len(change.left),
            "renamed": len(change.renamed),
            "issuer_changed": len(change.issuer_changed),
            "events": "; ".join(str(event) for event in events),
            "ticker_partitions": len(tickers),
        }
    )


def listed_for(
    stores: Stores, dataset: str, provider: str, day: date, on: date
) -> list[ListedInstrument]:
    """Return whose rows of one day are kept: the present members', and those of members then.

    Args:
        stores: The database.
        dataset: What is to be loaded.
        provider: Whose symbols.
        day: The day that is to be loaded.
        on: The day of the question, of which today's symbols are.
    """
    past = past_symbols(dataset, provider)
    ids = {
        one.instrument_id for one in stores.instruments.memberships(UNIVERSE) if one.counts_on(day)
    }
    return stores.instruments.listed(provider, sorted(ids), on, past)


def why_unknown(stores: Stores, tickers: Sequence[str]) -> dict[str, str]:
    """Return why each of ``tickers``, which nobody carries today, cannot be asked for."""
    renamed = stores.instruments.renamed_to(tickers) if tickers else {}
    return {
        ticker: f"{ticker} is called {renamed[ticker]} now: ask for that, its days under both "
        "tickers belong to it"
        if ticker in renamed
        else f"no instrument carries {ticker}: is it spelt as in the universe?"
        for ticker in tickers
    }


def member_tickers(stores: Stores) -> list[str]:
    """Return the tickers of the present members.

    Raises:
        ConfigurationError: There are none: nothing to load is not the same as nothing missing.
    """
    members = [member.ticker for member in stores.instruments.members(UNIVERSE)]
    if not members:
        message = "the universe is empty: run wrdata universe, or materialize the asset universe"
        raise errors.ConfigurationError(message)
    return members

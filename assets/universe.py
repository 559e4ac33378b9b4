"""The universe: which instruments the pipeline follows, and the ticker partitions.

Here: the asset that keeps instruments, their dated tickers and the dynamic partitions in step
with the provider's constituents. Not here: prices, how a change is found
(marketdata/instruments.py), or which instrument a symbol names (usecases/instruments.py).
"""

from typing import Any

import dagster as dg

from assets.failures import as_dagster_failure
from assets.partitions import TICKERS
from marketdata import instruments
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, utc_now
from marketdata.ports import ConstituentProvider, serving
from resources.wiring import Database, Providers
from usecases.instruments import UNIVERSE


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
    `instrument_ticker`, `universe_member`; changes of identity in `instrument_event`. A company
    that leaves keeps its instrument, its data and its partition. An answer that lacks more than a
    fifth of the members is refused.
    """
    with as_dagster_failure(), database.open() as stores:
        async with providers.client(stores, context.run, DAILY_BARS_DATASET, "fmp") as client:
            listed = await serving(client.api, ConstituentProvider).sp500_constituents()
            requests = client.requests_sent
        members = stores.instruments.members(UNIVERSE)
        instruments.refuse_implausible(members, listed)
        change = instruments.universe_change(members, listed)
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

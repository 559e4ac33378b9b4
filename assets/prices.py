"""Daily bars, by session, by ticker, and by any list of tickers.

Here: the assets that load the daily_bar hypertable, and the asset that stands for the table
itself. Not here: what happens to an answer (marketdata/), or what is derived from the bars
(bars.py, archive.py). All three assets that load end in the same ingest steps.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from assets.event_loop import in_event_loop
from assets.failures import Metadata, not_reached, partition_results, told_to_dagster
from assets.partitions import TICKERS, TRADING_DAYS
from assets.price_reports import (
    NothingMissing,
    Outcome,
    Tally,
    day_metadata,
    provider_figures,
    restatement_figures,
    said_when_stopped,
    table_figures,
    ticker_metadata,
)
from assets.price_work import Work, revealed_work, waiting_work, wished_work
from assets.schemas import column_schema
from assets.universe import listed_for, member_tickers, universe, why_unknown
from marketdata.bars import DAILY_BARS
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.histories import ingest_histories
from marketdata.ingest import IngestContext, Ingested, NotIngested
from marketdata.market_days import defer_session, ingest_day_by_ticker, ingest_market_day
from marketdata.recovery import errors
from resources.clients import Client
from resources.opening import Stores
from resources.settings import DailyBarsRoute
from resources.wiring import Database, Providers

DAILY_BAR_TABLE = {
    "dagster/table_name": "public.daily_bar",
    "dagster/column_schema": column_schema(DAILY_BARS),
}
GROUP = "equity_prices"
Report = dg.AssetMaterialization | dg.MaterializeResult[Any]
"""What an asset of this module yields."""
AFTER_LOADS = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
"""When a table or roll-up follows a load that it was not part of, such as a backfill from the UI.

Eager alone would wait until every ticker's history is there, which may be never."""
OWNERS = ["team:market-data"]


@dg.asset(
    key=["curated", "equities", "daily_prices"],
    deps=[universe],
    partitions_def=TRADING_DAYS,
    # Not all days of years in one run: by ticker, 20 days take 84 minutes of the key's time.
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=20),
    output_required=False,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "timescaledb"},
    metadata={"source": "FMP eod-bulk or /full", "cadence": "daily", "grain": "session"}
    | DAILY_BAR_TABLE,
)
def daily_prices(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> Iterator[Report]:
    """Daily bars of the whole universe, one trading day a partition.

    Source: FMP `eod-bulk`, one request a day; or, without the bulk plan,
    `historical-price-eod/full` for each ticker (`WRDATA_DAILY_BARS_ROUTE`). Cadence: after the
    New York close. Destination: hypertable `daily_bar`, prices adjusted for splits.
    """
    yield from in_event_loop(_daily_prices(context, database, providers))


@dg.asset(
    key=["curated", "equities", "price_history"],
    deps=[universe],
    partitions_def=TICKERS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    output_required=False,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "timescaledb"},
    metadata={"source": "FMP historical-price-eod/full", "cadence": "on demand", "grain": "ticker"}
    | DAILY_BAR_TABLE,
)
def price_history(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> Iterator[Report]:
    """The whole history of daily bars, one ticker a partition.

    Source: FMP `historical-price-eod/full`, one request a ticker. Cadence: on demand, from the
    backfill dialog. Destination: hypertable `daily_bar`, prices adjusted for splits.
    """
    yield from in_event_loop(_price_history(context, database, providers))


class PriceBackfill(dg.Config):
    """Which tickers a backfill takes; the launchpad shows each field with its words."""

    tickers: list[str] = Field(
        default=[],
        description="Our tickers; empty means every present member of the universe.",
    )
    only_holes: bool = Field(
        default=True,
        description="Ask only for sessions that the ledger does not know; otherwise for all.",
    )
    again: int = Field(
        default=0,
        description="So many of the latest sessions are asked for although they are settled.",
    )
    letters: list[int] = Field(
        default=[],
        description="Ids of dead letters; with them exactly what they wait for is asked again, "
        "and the other fields do not count.",
    )


@dg.asset(
    key=["curated", "equities", "price_backfill"],
    deps=[universe],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "timescaledb"},
    metadata={"source": "FMP historical-price-eod/full", "cadence": "weekly", "grain": "run"}
    | DAILY_BAR_TABLE,
)
def price_backfill(
    context: dg.AssetExecutionContext,
    config: PriceBackfill,
    database: Database,
    providers: Providers,
) -> Iterator[Report]:
    """One run over any list of tickers, which reports on `price_history` ticker by ticker.

    Source: FMP `historical-price-eod/full`, one request a ticker. Cadence: weekly over the
    tickers whose coverage has holes, and from the command line. Destination: hypertable
    `daily_bar`. Tickers that fail are named in the metadata and keep their old state; the run
    fails only if all of them did.
    """
    yield from in_event_loop(_price_backfill(context, config, database, providers))


@dg.asset(
    key=["curated", "equities", "daily_bars"],
    deps=[daily_prices, price_history, price_backfill],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"timescaledb"},
    automation_condition=AFTER_LOADS,
    metadata={"grain": "instrument and session"} | DAILY_BAR_TABLE,
)
def daily_bars(database: Database) -> dg.MaterializeResult[Any]:
    """The hypertable `daily_bar` as it stands after every load, with its checks.

    Source: what daily_prices, price_history and price_backfill have loaded. Cadence: after each
    of them. Destination: none; this asset measures rows, restatements and coverage.
    """
    with told_to_dagster(), database.open() as stores:
        figures = table_figures(stores)
        return dg.MaterializeResult(metadata={"dagster/row_count": figures["rows"], **figures})


async def _daily_prices(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> AsyncIterator[Report]:
    keys = list(context.partition_keys)
    done: dict[str, Metadata] = {}
    failed: dict[str, str] = {}
    ended_by: errors.MarketDataError | None = None
    with told_to_dagster(), database.open() as stores:
        async with providers.client(stores, context.run, DAILY_BARS_DATASET) as client:
            for key in keys:
                try:
                    with said_when_stopped(context, lambda: len(done) + len(failed), keys):
                        done[key] = await _load_day(context, stores, client, providers, key)
                except (errors.KeyRefusedError, errors.StorageError) as error:
                    failed[key], ended_by = str(error), error
                    break
                except (errors.ProviderError, errors.RecordRejectedError) as error:
                    failed[key] = str(error)
            left_over = not_reached(keys, {**done, **failed}, ended_by)
            if isinstance(ended_by, errors.ProviderError):
                ingest = _ingest_context(context, stores)
                for key in left_over:
                    await defer_session(ingest, client.name, date.fromisoformat(key), ended_by)
            failed |= left_over
    for result in partition_results(context, done, failed, ended_by):
        yield result


async def _price_history(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> AsyncIterator[Report]:
    tally, tickers = Tally(), list(context.partition_keys)
    ended_by: errors.MarketDataError | None = None
    with (
        told_to_dagster(),
        database.open() as stores,
        said_when_stopped(context, lambda: tally.settled, tickers),
    ):
        async with providers.client(stores, context.run, DAILY_BARS_DATASET) as client:
            try:
                work = wished_work(stores, client.name, tickers, only_holes=False)
                async for outcome in _histories(context, stores, client, work):
                    tally.add(outcome)
            except (errors.KeyRefusedError, errors.StorageError) as error:
                tally.failed |= not_reached(tickers, {**tally.succeeded, **tally.lost}, error)
                ended_by = error
    for result in partition_results(context, tally.succeeded, tally.lost, ended_by):
        yield result


async def _price_backfill(
    context: dg.AssetExecutionContext,
    config: PriceBackfill,
    database: Database,
    providers: Providers,
) -> AsyncIterator[Report]:
    tally = Tally()
    # A run that was killed between the database and Dagster left tickers stored but unreported.
    reported = context.instance.get_materialized_partitions(price_history.key)
    with told_to_dagster(), database.open() as stores:
        async with providers.client(stores, context.run, DAILY_BARS_DATASET) as client:
            if config.letters:
                work = waiting_work(stores, client.name, config.letters)
                stores.dead_letters.end_obsolete(work.obsolete, by=f"run {context.run.run_id}")
            else:
                tickers = config.tickers or member_tickers(stores)
                work = wished_work(
                    stores,
                    client.name,
                    tickers,
                    only_holes=config.only_holes,
                    again=config.again,
                )
            with said_when_stopped(context, lambda: tally.settled, work.tickers):
                async for outcome in _histories(context, stores, client, work):
                    tally.add(outcome)
                    if isinstance(outcome, Ingested):
                        yield _of_ticker(outcome.ticker, ticker_metadata(outcome))
                    elif isinstance(outcome, NothingMissing) and outcome.ticker not in reported:
                        yield _of_ticker(outcome.ticker, {"rows": 0})
            figures = {
                **provider_figures(stores, client.name),
                **restatement_figures(stores, context.run.run_id),
            }
            yield tally.result(client.requests_sent, figures)


def _of_ticker(ticker: str, metadata: Metadata) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(price_history.key, partition=ticker, metadata=metadata)


def _ingest_context(context: dg.AssetExecutionContext, stores: Stores) -> IngestContext:
    return IngestContext(
        store=stores.batches, calendar=calendar(), run_id=context.run.run_id, now=utc_now
    )


async def _load_day(
    context: dg.AssetExecutionContext,
    stores: Stores,
    client: Client,
    providers: Providers,
    key: str,
) -> Metadata:
    """Load one session, by the configured route (see ``listed_for`` for whom)."""
    session = date.fromisoformat(key)
    member_tickers(stores)  # An empty universe is a mistake, not an empty day.
    today = utc_now().date()
    listed = listed_for(stores, DAILY_BARS_DATASET, client.name, session, today)
    ingest = _ingest_context(context, stores)
    if providers.daily_bars_route() is DailyBarsRoute.BULK:
        day = await ingest_market_day(ingest, client.api, listed, session)
    else:
        day = await ingest_day_by_ticker(ingest, client.api, listed, session)
    context.log.info("%s: %d rows, %d requests", key, day.load.rows, day.requests)
    return day_metadata(day)


async def _histories(
    context: dg.AssetExecutionContext, stores: Stores, client: Client, work: Work
) -> AsyncIterator[Outcome]:
    """Load the histories of ``work``; a ticker that nobody carries is a failure like any other."""
    for ticker, reason in why_unknown(stores, work.unknown).items():
        yield NotIngested(ticker=ticker, error_class="UnknownTicker", message=reason)
    ingest, requests = _ingest_context(context, stores), work.requests
    while requests:
        asked = sum(len(request.symbols) for request in requests)
        context.log.info("%d tickers, %d requests to make", len(work.tickers), asked)
        async for outcome in ingest_histories(ingest, client.api, requests):
            if isinstance(outcome, NotIngested) and not outcome.deferred:
                context.log.warning("%s: %s", outcome.ticker, outcome.message)
            yield outcome
        work = revealed_work(stores, client.name, work)
        requests = work.requests
    for ticker in work.complete:
        yield NothingMissing(ticker=ticker)

"""The catalogue's datasets as assets: by symbol, by session, and as one run over any list.

Here: the assets of each dataset, made from its entry in marketdata/datasets.py. Not here: which
requests a load makes (usecases/load_plan.py), how answers are stored (marketdata/), or what a load
reports (load_reports.py).
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import date
from typing import Any, Self, cast

import dagster as dg
from pydantic import Field

from assets.event_loop import in_event_loop
from assets.failures import Metadata, as_dagster_failure, not_reached, partition_results
from assets.load_reports import (
    Tally,
    log_when_stopped,
    provider_figures,
    restatement_figures,
    session_metadata,
    symbol_metadata,
)
from assets.partitions import TRADING_DAYS, partitions_of
from assets.schemas import column_schema
from assets.universe import universe
from marketdata.datasets import DATASETS, Dataset, InstrumentKind
from marketdata.ingest import Ingested, NotIngested
from marketdata.planning import Wanted
from marketdata.recovery import errors
from marketdata.session_ingest import defer_session
from resources.clients import Client
from resources.opening import Stores
from resources.settings import provider_of, route_of, route_variable
from resources.telemetry.context import bound
from resources.wiring import Database, Providers
from usecases.bulk_refresh import bulk_refresh
from usecases.load_plan import LoadPlan, LoadRequest, plan_load
from usecases.loading import (
    NothingMissing,
    SymbolOutcome,
    feed_of,
    ingest_context,
    load_session,
    load_symbols,
)
from usecases.requested_days import requested_days

OWNERS = ["team:market-data"]
NOUNS = {
    InstrumentKind.EQUITY: "tickers",
    InstrumentKind.PAIR: "pairs",
    InstrumentKind.SERIES: "series",
    InstrumentKind.INDEX: "indices",
}
Report = dg.AssetMaterialization | dg.MaterializeResult[Any]
"""What an asset of this module yields."""

AFTER_LOADS = cast(
    "dg.AutomationCondition[dg.AssetKey]",
    dg.AutomationCondition.eager().without(  # pyright: ignore[reportUnknownMemberType] Dagster's type
        ~dg.AutomationCondition.any_deps_missing()
    ),
)
"""Condition of tables and aggregates that follow loads outside their run, such as UI backfills.

Eager alone would wait until every ticker's history is there, which may be never."""

SYMBOLS_PER_RUN = 100
"""Most symbols of one run of a UI's backfill: several workers share it, one loses little by it."""
SESSIONS_PER_RUN = 20
"""Most sessions of one run: by ticker, 20 sessions take 84 minutes of the key's time."""


class LoadRunConfig(dg.Config):
    """What a run over a dataset loads; the launchpad shows each field's description."""

    symbols: list[str] = Field(default=[], description="Tickers, pairs or series; empty means all.")
    provider: str = Field(default="", description="Provider instead of the configured one.")
    only_missing: bool = Field(
        default=True,
        description="Ask only for what the ledger lacks or what has expired; otherwise for all.",
    )
    start: str = Field(
        default="",
        description="First day (ISO date), for datasets by day; empty means the usual days.",
    )
    end: str = Field(default="", description="Last day; empty means the latest.")
    bulk_refresh: bool = Field(
        default=False,
        description="Ask for all symbols at once, if the dataset allows it; ask by name only for "
        "those that have changed, or of which nothing is known.",
    )
    again: bool = Field(
        default=False,
        description="Ask for the latest days although they are settled, if they may be corrected.",
    )
    letters: list[int] = Field(
        default=[],
        description="Ids of dead letters: exactly what they wait for is asked again; symbols and "
        "days are ignored.",
    )

    @classmethod
    def of(cls, load: LoadRequest) -> Self:
        """Return the run config of a load request, for a run over its dataset.

        ``load.failed`` has no field here: the plan of such a load has found its symbols.
        """
        wanted = load.wanted
        return cls(
            symbols=list(load.symbols),
            provider=load.provider,
            only_missing=wanted.only_missing,
            start=wanted.start.isoformat() if wanted.start else "",
            end=wanted.end.isoformat() if wanted.end else "",
            again=wanted.again,
            letters=list(load.letters),
        )

    def request(self, dataset: Dataset) -> LoadRequest:
        """Return the load request of this run config.

        Raises:
            ConfigurationError: A day cannot be read, or the provider does not serve the dataset.
        """
        start, end = requested_days(self.start, self.end)
        provider = self.provider or provider_of(dataset.name)
        if provider not in dataset.sources:
            message = f"{provider} does not serve {dataset.name}; there are "
            raise errors.ConfigurationError(message + ", ".join(dataset.sources))
        return LoadRequest(
            dataset=dataset,
            provider=provider,
            symbols=tuple(self.symbols),
            wanted=Wanted(only_missing=self.only_missing, start=start, end=end, again=self.again),
            letters=tuple(self.letters),
        )


def by_symbol_key(dataset: Dataset) -> dg.AssetKey:
    """Return the key of the asset whose partitions are a dataset's symbols."""
    return dg.AssetKey(["curated", dataset.domain.value, dataset.name])


def by_symbol(dataset: Dataset) -> dg.AssetsDefinition:
    """Return the asset whose partitions are a dataset's symbols, for the UI's backfills."""

    @dg.asset(
        key=by_symbol_key(dataset),
        deps=_deps(dataset),
        partitions_def=partitions_of(dataset.instrument_kind),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=SYMBOLS_PER_RUN),
        output_required=False,
        group_name=dataset.domain.value,
        owners=OWNERS,
        kinds={"python", "timescaledb"},
        description=_description(
            dataset, f"one partition for each of its {NOUNS[dataset.instrument_kind]}", "on demand"
        ),
        metadata=dataset_metadata(dataset, cadence="on demand"),
    )
    def asset(
        context: dg.AssetExecutionContext, database: Database, providers: Providers
    ) -> Iterator[Report]:
        yield from _in_step(context, _load_partitions(dataset, context, database, providers))

    return asset


def by_session(dataset: Dataset) -> dg.AssetsDefinition:
    """Return the asset whose partitions are trading days, each of the whole universe."""

    @dg.asset(
        key=["curated", dataset.domain.value, f"{dataset.name}_by_session"],
        deps=_deps(dataset),
        partitions_def=TRADING_DAYS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=SESSIONS_PER_RUN),
        output_required=False,
        group_name=dataset.domain.value,
        owners=OWNERS,
        kinds={"python", "timescaledb"},
        description=_description(
            dataset,
            "one partition for each trading day of the universe: one request for all tickers, or "
            f"one for each ({route_variable(dataset.name)})",
            "after the New York close",
        ),
        metadata=dataset_metadata(dataset, cadence="daily"),
    )
    def asset(
        context: dg.AssetExecutionContext, database: Database, providers: Providers
    ) -> Iterator[Report]:
        yield from _in_step(context, _load_sessions(dataset, context, database, providers))

    return asset


def refresh(dataset: Dataset) -> dg.AssetsDefinition:
    """Return the asset that loads any list of symbols, for schedules, commands and letters."""

    @dg.asset(
        key=["curated", dataset.domain.value, f"{dataset.name}_refresh"],
        deps=_deps(dataset),
        group_name=dataset.domain.value,
        owners=OWNERS,
        kinds={"python", "timescaledb"},
        description=_description(
            dataset,
            f"one run over any list of {NOUNS[dataset.instrument_kind]}, which reports each on "
            f"`{dataset.name}`. Those that fail are named in the metadata and keep their old "
            "state; the run fails only if all of them fail",
            dataset.cadence,
        ),
        metadata=dataset_metadata(dataset, cadence=dataset.cadence),
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: LoadRunConfig,
        database: Database,
        providers: Providers,
    ) -> Iterator[Report]:
        yield from _in_step(context, _refresh(dataset, context, config, database, providers))

    return asset


def dataset_metadata(dataset: Dataset, cadence: str) -> dict[str, Any]:
    """Return the metadata of a dataset's table for the UI."""
    return {
        "source": ", ".join(dataset.sources),
        "cadence": cadence,
        "grain": ", ".join(("instrument", *dataset.key)),
        "dagster/table_name": f"public.{dataset.table}",
        "dagster/column_schema": column_schema(dataset.table_schema),
    }


def _deps(dataset: Dataset) -> list[dg.AssetsDefinition]:
    return [universe] if dataset.instrument_kind is InstrumentKind.EQUITY else []


def _description(dataset: Dataset, shape: str, cadence: str) -> str:
    sources = "; ".join(f"{name}: {source.endpoint}" for name, source in dataset.sources.items())
    return (
        f"{dataset.about} Source: {sources} (WRDATA_{dataset.name.upper()}_PROVIDER chooses). "
        f"Cadence: {cadence}. Grain: {', '.join(('instrument', *dataset.key))}; {shape}. "
        f"Destination: table `{dataset.table}`, versions in `{dataset.table}_version`."
    )


BY_SYMBOL = {name: by_symbol(dataset) for name, dataset in DATASETS.items()}
REFRESHES = {name: refresh(dataset) for name, dataset in DATASETS.items()}
BY_SESSION = {
    name: by_session(dataset) for name, dataset in DATASETS.items() if dataset.has_sessions
}
"""Assets by session, for datasets with a provider of whole sessions."""


def _in_step(context: dg.AssetExecutionContext, source: AsyncGenerator[Report]) -> Iterator[Report]:
    """Do a step's asynchronous work.

    What is logged names the step: Dagster's handler adds it only while it waits for the next item.
    """
    with bound(step=context.op_execution_context.op.name):
        yield from in_event_loop(source)


async def _load_partitions(
    dataset: Dataset,
    context: dg.AssetExecutionContext,
    database: Database,
    providers: Providers,
) -> AsyncGenerator[Report]:
    tally, names = Tally(NOUNS[dataset.instrument_kind]), list(context.partition_keys)
    ended_by: errors.MarketDataError | None = None
    with as_dagster_failure(), database.open() as stores:
        async with providers.client(stores, context.run, dataset.name) as client:
            load = LoadRequest(
                dataset=dataset,
                provider=client.name,
                symbols=tuple(names),
                wanted=Wanted(only_missing=False),
            )
            try:
                plan = plan_load(stores, load)
                async with aclosing(_outcomes(context, stores, client, plan, tally)) as outcomes:
                    async for _ in outcomes:
                        pass
            except (errors.KeyRefusedError, errors.StorageError) as error:
                tally.failed |= not_reached(names, {**tally.succeeded, **tally.lost}, error)
                ended_by = error
    succeeded = {
        name: metadata for name, metadata in tally.succeeded.items() if name not in tally.lost
    }
    for result in partition_results(context, succeeded, tally.lost, ended_by):
        yield result


async def _load_sessions(
    dataset: Dataset,
    context: dg.AssetExecutionContext,
    database: Database,
    providers: Providers,
) -> AsyncGenerator[Report]:
    keys = list(context.partition_keys)
    done: dict[str, Metadata] = {}
    failed: dict[str, str] = {}
    ended_by: errors.MarketDataError | None = None
    run_id = context.run.run_id
    with as_dagster_failure(), database.open() as stores:
        route = route_of(dataset.name)
        async with providers.client(stores, context.run, dataset.name) as client:
            for key in keys:
                session = date.fromisoformat(key)
                try:
                    with log_when_stopped(context, lambda: len(done) + len(failed), keys):
                        loaded = await load_session(
                            stores, client, dataset, session, run_id, route=route
                        )
                except (errors.KeyRefusedError, errors.StorageError) as error:
                    failed[key], ended_by = str(error), error
                    break
                except (errors.ProviderError, errors.RecordRejectedError) as error:
                    failed[key] = str(error)
                else:
                    rows, requests = loaded.load.rows, loaded.requests
                    context.log.info("%s: %d rows, %d requests", key, rows, requests)
                    done[key] = session_metadata(loaded)
            left_over = not_reached(keys, {**done, **failed}, ended_by)
            if isinstance(ended_by, errors.ProviderError):
                ingest, feed = ingest_context(stores, run_id), feed_of(dataset, client)
                for key in left_over:
                    await defer_session(ingest, feed, date.fromisoformat(key), ended_by)
            failed |= left_over
    for result in partition_results(context, done, failed, ended_by):
        yield result


async def _refresh(
    dataset: Dataset,
    context: dg.AssetExecutionContext,
    config: LoadRunConfig,
    database: Database,
    providers: Providers,
) -> AsyncGenerator[Report]:
    tally, key, run_id = (
        Tally(NOUNS[dataset.instrument_kind]),
        by_symbol_key(dataset),
        context.run.run_id,
    )
    # A run that was killed may have stored symbols without reporting them to Dagster.
    reported = context.instance.get_materialized_partitions(key)
    with as_dagster_failure(), database.open() as stores:
        load = config.request(dataset)
        opened = providers.client(stores, context.run, dataset.name, load.provider)
        async with opened as client:
            figures: dict[str, Any] = {}
            if config.bulk_refresh and dataset.has_bulk_refresh:
                refreshed = await bulk_refresh(ingest_context(stores, run_id), stores, load, client)
                figures |= refreshed.figures
                plan = refreshed.plan
                for name, rows in refreshed.stored.items():
                    yield dg.AssetMaterialization(key, partition=name, metadata={"rows": rows})
            else:
                plan = plan_load(stores, load)
                stores.dead_letters.end_obsolete(plan.obsolete, by=f"run {run_id}")
            pending = Counter(request.instrument.ticker for request in plan.requests)
            async with aclosing(_outcomes(context, stores, client, plan, tally)) as outcomes:
                async for outcome in outcomes:
                    name = outcome.ticker
                    pending[name] -= 1
                    # A symbol with several loads is reported once, with the figures of the last.
                    if isinstance(outcome, Ingested):
                        if pending[name] <= 0 and name not in tally.lost:
                            yield dg.AssetMaterialization(
                                key, partition=name, metadata=symbol_metadata(outcome)
                            )
                    elif isinstance(outcome, NothingMissing) and name not in reported:
                        yield dg.AssetMaterialization(key, partition=name, metadata={"rows": 0})
            figures |= provider_figures(stores, client.name)
            figures |= restatement_figures(stores, run_id)
            figures["provider"] = client.name
            yield tally.result(client.requests_sent, figures)


async def _outcomes(
    context: dg.AssetExecutionContext, stores: Stores, client: Client, plan: LoadPlan, tally: Tally
) -> AsyncGenerator[SymbolOutcome]:
    """Carry out ``plan`` and count; log what fails, and where it is stopped, in the run's log."""
    run_id, say = context.run.run_id, context.log.info
    with log_when_stopped(context, lambda: tally.settled, plan.symbols):
        async with aclosing(load_symbols(stores, client, plan, run_id, say)) as outcomes:
            async for outcome in outcomes:
                tally.add(outcome)
                if isinstance(outcome, NotIngested) and not outcome.deferred:
                    context.log.warning("%s: %s", outcome.ticker, outcome.message)
                yield outcome

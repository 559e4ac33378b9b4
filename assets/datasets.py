"""The catalogue's datasets as assets: by subject for the UI, and as one run over any list.

Here: two assets for each dataset, made from its entry in marketdata/datasets.py. Not here: which
requests a run makes (dataset_work.py), what happens to an answer (marketdata/feeds.py), or daily
bars (prices.py).
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from assets.at_once import ask_at_once
from assets.dataset_work import DatasetWork, every_subject, waiting_work, wished_work
from assets.event_loop import in_event_loop
from assets.failures import Metadata, not_reached, partition_results, told_to_dagster
from assets.partitions import subjects_of
from assets.price_reports import (
    NothingMissing,
    Outcome,
    Tally,
    provider_figures,
    restatement_figures,
    said_when_stopped,
    ticker_metadata,
)
from assets.schemas import column_schema
from assets.universe import universe
from assets.wished_days import wished_days
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS, Dataset, Subjects
from marketdata.feeds import DatasetFeed
from marketdata.ingest import IngestContext, Ingested, NotIngested, ingest
from marketdata.recovery import errors
from resources.clients import Client
from resources.opening import Stores
from resources.settings import provider_of
from resources.wiring import Database, Providers

OWNERS = ["team:market-data"]
NOUNS = {
    Subjects.TICKERS: "tickers",
    Subjects.PAIRS: "pairs",
    Subjects.SERIES: "series",
    Subjects.INDICES: "indices",
}
Report = dg.AssetMaterialization | dg.MaterializeResult[Any]


class DatasetWish(dg.Config):
    """What a run over a dataset is for; the launchpad shows each field with its words."""

    subjects: list[str] = Field(
        default=[], description="Tickers, pairs or series; empty means all there are."
    )
    provider: str = Field(default="", description="Instead of the one that is configured.")
    only_missing: bool = Field(
        default=True,
        description="Ask only for what the ledger does not know, or knows no longer; otherwise "
        "for all.",
    )
    start: str = Field(
        default="",
        description="First day (ISO date) where days are asked for; empty means the usual ones.",
    )
    end: str = Field(default="", description="Last day; empty means today.")
    at_once: bool = Field(
        default=False,
        description="Ask for all subjects at once, where the dataset can be asked so; by name "
        "only those that have changed, or of which nothing is known.",
    )
    again: bool = Field(
        default=False,
        description="Ask for the latest days although they are settled, where they are corrected.",
    )
    letters: list[int] = Field(
        default=[],
        description="Ids of dead letters; with them exactly what they wait for is asked again, "
        "and subjects and days do not count.",
    )


def by_subject_key(dataset: Dataset) -> dg.AssetKey:
    """Return the key of the asset whose partitions are a dataset's subjects."""
    return dg.AssetKey(["curated", dataset.domain.value, dataset.name])


def refresh_key(dataset: Dataset) -> dg.AssetKey:
    """Return the key of the asset that loads any list of a dataset's subjects."""
    return dg.AssetKey(["curated", dataset.domain.value, f"{dataset.name}_refresh"])


def by_subject(dataset: Dataset) -> dg.AssetsDefinition:
    """Return the asset whose partitions are a dataset's subjects, for the UI's backfills."""

    @dg.asset(
        key=by_subject_key(dataset),
        deps=_deps(dataset),
        partitions_def=subjects_of(dataset.subjects),
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        group_name=dataset.domain.value,
        owners=OWNERS,
        kinds={"python", "timescaledb"},
        description=_description(
            dataset, f"one partition for each of its {NOUNS[dataset.subjects]}", "on demand"
        ),
        metadata=_metadata(dataset, cadence="on demand"),
    )
    def asset(
        context: dg.AssetExecutionContext, database: Database, providers: Providers
    ) -> Iterator[Report]:
        yield from in_event_loop(_by_subject(dataset, context, database, providers))

    return asset


def refresh(dataset: Dataset) -> dg.AssetsDefinition:
    """Return the asset that loads any list of subjects, for schedules, commands and letters."""

    @dg.asset(
        key=refresh_key(dataset),
        deps=_deps(dataset),
        group_name=dataset.domain.value,
        owners=OWNERS,
        kinds={"python", "timescaledb"},
        description=_description(dataset, "one run over any list", dataset.cadence),
        metadata=_metadata(dataset, cadence=dataset.cadence),
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: DatasetWish,
        database: Database,
        providers: Providers,
    ) -> Iterator[Report]:
        yield from in_event_loop(_refresh(dataset, context, config, database, providers))

    return asset


def _deps(dataset: Dataset) -> list[dg.AssetsDefinition]:
    return [universe] if dataset.subjects is Subjects.TICKERS else []


def _description(dataset: Dataset, shape: str, cadence: str) -> str:
    sources = "; ".join(f"{name}: {one.endpoint}" for name, one in dataset.sources.items())
    return (
        f"{dataset.about} Source: {sources} (WRDATA_{dataset.name.upper()}_PROVIDER chooses). "
        f"Cadence: {cadence}. Grain: {', '.join(('instrument', *dataset.key))}; {shape}. "
        f"Destination: table `{dataset.table}`, versions in `{dataset.table}_version`."
    )


def _metadata(dataset: Dataset, cadence: str) -> dict[str, Any]:
    return {
        "source": ", ".join(dataset.sources),
        "cadence": cadence,
        "grain": ", ".join(("instrument", *dataset.key)),
        "dagster/table_name": f"public.{dataset.table}",
        "dagster/column_schema": column_schema(dataset.stored),
    }


BY_SUBJECT = [by_subject(one) for one in DATASETS.values()]
REFRESHES = {name: refresh(one) for name, one in DATASETS.items()}


async def _by_subject(
    dataset: Dataset,
    context: dg.AssetExecutionContext,
    database: Database,
    providers: Providers,
) -> AsyncIterator[Report]:
    tally, names = Tally(NOUNS[dataset.subjects]), list(context.partition_keys)
    ended_by: errors.MarketDataError | None = None
    with (
        told_to_dagster(),
        database.open() as stores,
        said_when_stopped(context, lambda: tally.settled, names),
    ):
        async with providers.client(stores, context.run, dataset.name) as client:
            try:
                work = wished_work(stores, dataset, client.name, names, only_missing=False)
                async for outcome in _outcomes(context, stores, dataset, client, work):
                    tally.add(outcome)
            except (errors.KeyRefusedError, errors.StorageError) as error:
                tally.failed |= not_reached(names, {**tally.succeeded, **tally.lost}, error)
                ended_by = error
    succeeded = {name: one for name, one in tally.succeeded.items() if name not in tally.lost}
    for result in partition_results(context, succeeded, tally.lost, ended_by):
        yield result


async def _refresh(
    dataset: Dataset,
    context: dg.AssetExecutionContext,
    config: DatasetWish,
    database: Database,
    providers: Providers,
) -> AsyncIterator[Report]:
    tally = Tally(NOUNS[dataset.subjects])
    key = by_subject_key(dataset)
    with told_to_dagster(), database.open() as stores:
        start, end = wished_days(config.start, config.end)
        chosen = config.provider or provider_of(dataset.name)
        opened = providers.client(stores, context.run, dataset.name, chosen)
        async with opened as client:
            told: Metadata = {}
            if config.at_once and (dataset.market or dataset.changes):
                asked = await ask_at_once(_ingest(context, stores), stores, dataset, client, start)
                told, work = asked.figures, asked.work
                for name, rows in asked.stored.items():
                    yield dg.AssetMaterialization(key, partition=name, metadata={"rows": rows})
            else:
                work = _work(stores, dataset, chosen, config, start, end)
                stores.dead_letters.end_obsolete(work.obsolete, by=f"run {context.run.run_id}")
            left = Counter(one.instrument.ticker for one in work.requests)
            with said_when_stopped(context, lambda: tally.settled, work.subjects):
                async for outcome in _outcomes(context, stores, dataset, client, work):
                    tally.add(outcome)
                    left[outcome.ticker] -= 1
                    # A subject in several loads is reported once, with the figures of the last.
                    done = not left[outcome.ticker] and outcome.ticker not in tally.lost
                    if isinstance(outcome, Ingested) and done:
                        yield dg.AssetMaterialization(
                            key, partition=outcome.ticker, metadata=ticker_metadata(outcome)
                        )
            figures = {
                **told,
                **provider_figures(stores, client.name),
                **restatement_figures(stores, context.run.run_id),
                "provider": client.name,
            }
            yield tally.result(client.requests_sent, figures)


def _work(
    stores: Stores,
    dataset: Dataset,
    provider: str,
    config: DatasetWish,
    start: date | None,
    end: date | None,
) -> DatasetWork:
    if config.letters:
        return waiting_work(stores, dataset, provider, config.letters)
    return wished_work(
        stores,
        dataset,
        provider,
        config.subjects or every_subject(stores, dataset, provider),
        only_missing=config.only_missing,
        start=start,
        end=end,
        again=config.again,
    )


def _ingest(context: dg.AssetExecutionContext, stores: Stores) -> IngestContext:
    return IngestContext(
        store=stores.batches, calendar=calendar(), run_id=context.run.run_id, now=utc_now
    )


async def _outcomes(
    context: dg.AssetExecutionContext,
    stores: Stores,
    dataset: Dataset,
    client: Client,
    work: DatasetWork,
) -> AsyncIterator[Outcome]:
    """Load ``work``; a subject that cannot be asked for is a failure like any other."""
    for name, reason in work.unknown.items():
        yield NotIngested(ticker=name, error_class="UnknownSubject", message=reason)
    for name in work.complete:
        yield NothingMissing(ticker=name)
    context.log.info("%d subjects, %d loads to make", len(work.subjects), len(work.requests))
    feed = DatasetFeed(dataset, client.api, calendar())
    async for outcome in ingest(_ingest(context, stores), feed, work.requests):
        if isinstance(outcome, NotIngested) and not outcome.deferred:
            context.log.warning("%s: %s", outcome.ticker, outcome.message)
        yield outcome

"""Prices adjusted for splits and dividends: the factors behind the view adjusted_daily_bars.

Here: the asset that derives them for the instruments that changed, and its checks. Not here: how
factors are made (marketdata/price_factors.py), or the actions themselves (datasets.py).
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.daily_bars import daily_bars_table
from assets.datasets import AFTER_LOADS, OWNERS, REFRESHES, by_symbol_key
from assets.event_loop import in_event_loop
from assets.failures import as_dagster_failure, failure_table
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, utc_now
from marketdata.datasets import DATASETS, Domain
from marketdata.ports import AsTradedProvider, serving
from marketdata.recovery import errors
from resources.clients import Client
from resources.opening import Stores
from resources.settings import provider_of
from resources.wiring import Database, Providers

ADJUSTS_ITSELF = "fmp"
"""The provider whose daily bars are adjusted for splits, so that they cannot prove one."""
AROUND = timedelta(days=10)
"""Days before and after a split in which its jump is looked for."""


@dg.asset(
    key=["curated", "corporate_actions", "price_factors"],
    deps=[
        daily_bars_table,
        REFRESHES["splits"],
        REFRESHES["dividends"],
        by_symbol_key(DATASETS["splits"]),
        by_symbol_key(DATASETS["dividends"]),
        REFRESHES["macro_observations"],
        by_symbol_key(DATASETS["macro_observations"]),
    ],
    group_name=Domain.CORPORATE_ACTIONS.value,
    owners=OWNERS,
    kinds={"timescaledb"},
    automation_condition=AFTER_LOADS,
    metadata={
        "source": "daily bars, splits, dividends, exchange rates",
        "cadence": "after each of them",
        "grain": "instrument",
        "dagster/table_name": "public.price_factor",
    },
)
def price_factors(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> Iterator[dg.MaterializeResult[Any]]:
    """Factors that adjust daily bars for splits and dividends, of the instruments that changed.

    Source: the stored bars and actions. Each split is checked against prices first; one that they
    do not bear out adjusts nothing until a person confirms it. If the stored bars are adjusted
    already, FMP is asked for as-traded ones around the split. Cadence: after each load of bars or
    actions. Destination: table `price_factor`, read through the view `adjusted_daily_bars`.
    """
    yield from in_event_loop(_price_factors(context, database, providers))


async def _price_factors(
    context: dg.AssetExecutionContext, database: Database, providers: Providers
) -> AsyncGenerator[dg.MaterializeResult[Any]]:
    with as_dagster_failure(), database.open() as stores:
        changed, failed = 0, dict[str, str]()
        waiting = stores.adjusted_bars.waiting()
        for instrument_id in waiting:
            changed += _derive(stores, instrument_id, failed)
        unproven = stores.adjusted_bars.unproven(_today())
        if unproven and provider_of(DAILY_BARS_DATASET) == ADJUSTS_ITSELF:
            async with providers.client(stores, context.run, "splits", ADJUSTS_ITSELF) as client:
                evidence = await _evidence(context, stores, client, unproven)
            for instrument_id, as_traded in evidence.items():
                changed += _derive(stores, instrument_id, failed, as_traded)
        doubtful = stores.adjusted_bars.quarantined()
        dividends = [dividend for dividend in stores.adjusted_bars.dividends() if dividend.waits]
    for instrument_id, reason in failed.items():
        context.log.warning("instrument %s: %s", instrument_id, reason)
    yield dg.MaterializeResult(
        metadata={
            "instruments_looked_at": len(waiting),
            "instruments_changed": changed,
            "instruments_failed": len(failed),
            "failed_instruments": failure_table(failed),
            "splits_asked_for_evidence": len(unproven),
            "splits_in_quarantine": len(doubtful),
            "dividends_waiting": len(dividends),
        }
    )


def _derive(
    stores: Stores, instrument_id: int, failed: dict[str, str], as_traded: pa.Table | None = None
) -> bool:
    """Derive one instrument's factors; return whether they changed; put errors in ``failed``."""
    try:
        return stores.adjusted_bars.derive(instrument_id, as_traded=as_traded).changed
    except errors.StorageConflictError as error:
        failed[str(instrument_id)] = str(error)
        return False


async def _evidence(
    context: dg.AssetExecutionContext,
    stores: Stores,
    client: Client,
    unproven: Sequence[tuple[int, date]],
) -> dict[int, pa.Table]:
    """Ask for as-traded prices around splits; a split without an answer stays unproven."""
    prices = serving(client.api, AsTradedProvider)
    ids = list(dict.fromkeys(instrument_id for instrument_id, _ in unproven))
    listed = stores.instruments.listed(client.name, ids, _today())
    symbols = {instrument.instrument_id: instrument.symbol for instrument in listed}
    by_instrument: dict[int, list[pa.Table]] = {}
    for instrument_id, ex_date in unproven:
        if instrument_id not in symbols:
            continue
        start, end = ex_date - AROUND, min(ex_date + AROUND, _today())
        try:
            answer = await prices.as_traded(symbols[instrument_id], start, end)
        except errors.NotSentError as error:
            context.log.warning("no evidence now: %s", error)
            break
        except errors.ProviderError as error:
            context.log.warning("no evidence for %s: %s", symbols[instrument_id], error)
            continue
        by_instrument.setdefault(instrument_id, []).append(answer.rows)
    return {
        instrument_id: pa.concat_tables(tables) for instrument_id, tables in by_instrument.items()
    }


def _today() -> date:
    return utc_now().astimezone(NEW_YORK_ZONE).date()


@dg.asset_check(asset=price_factors, description="No split waits for a person.")
def no_doubtful_split(database: Database) -> dg.AssetCheckResult:
    """Warn of splits that prices do not bear out: they adjust nothing until a person decides."""
    with as_dagster_failure(), database.open() as stores:
        doubtful = stores.adjusted_bars.quarantined()
    reasons = {
        f"instrument {split.instrument_id} {split.finding.split.ex_date}": (
            f"{split.finding.verdict.value}: {split.finding.reason}"
        )
        for split in doubtful
    }
    return dg.AssetCheckResult(
        passed=not doubtful,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(doubtful)} splits are not borne out by prices",
        metadata={"splits": failure_table(reasons)},
    )


@dg.asset_check(asset=price_factors, description="No dividend waits for a rate or a person.")
def no_waiting_dividend(database: Database) -> dg.AssetCheckResult:
    """Warn of dividends that adjust nothing: in a currency without a rate, or above their price."""
    with as_dagster_failure(), database.open() as stores:
        waiting = [dividend for dividend in stores.adjusted_bars.dividends() if dividend.waits]
    reasons = {
        f"instrument {dividend.instrument_id} {dividend.finding.dividend.ex_date}": (
            dividend.finding.reason
        )
        for dividend in waiting
    }
    return dg.AssetCheckResult(
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(waiting)} dividends adjust nothing. Cure: wrdata backfill macro_observations "
            "--all, or wrdata dividends list"
            if waiting
            else "every dividend counts"
        ),
        metadata={"dividends": failure_table(reasons)},
    )


@dg.asset_check(
    asset=price_factors, description="No history is still in the shares from before a split."
)
def no_history_in_old_shares(database: Database) -> dg.AssetCheckResult:
    """Warn of histories that a provider has re-based and that were not fetched again yet."""
    with as_dagster_failure(), database.open() as stores:
        ids = stores.adjusted_bars.rebased(_today())
    return dg.AssetCheckResult(
        passed=not ids,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(ids)} histories wait to be fetched again, such as of instrument {ids[0]}; "
            "a sensor does that, or wrdata backfill daily_bars --tickers TICKER --refetch"
            if ids
            else "every history was fetched after its latest split"
        ),
        metadata={"instruments": len(ids)},
    )

"""Asset checks: what has to be true of the tables, told with a count, a sample and the cure.

Here: the verdicts. Not here: the queries behind them (resources/storage/quality.py and its
neighbours), or repairs.
"""

from collections.abc import Sequence

import dagster as dg

from assets.archive import ARCHIVES
from assets.bars import bars_key
from assets.daily_bars import daily_bars_table
from assets.datasets import by_symbol_key
from assets.failures import as_dagster_failure, failure_table
from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.bars import DAY_INTERVALS, Interval
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.coverage import percent_held
from marketdata.datasets import DATASETS
from marketdata.recovery.dead_letters import UNSETTLED
from resources.settings import provider_of
from resources.storage.ledger.coverage import MissingSession
from resources.storage.ledger.lost_rows import BY_DAY, describe_loss
from resources.storage.letters import LetterFilter
from resources.storage.quality import Suspect, Suspects
from resources.wiring import Archive, Database
from usecases.dataset_coverage import expected_days
from usecases.instruments import UNIVERSE

SAMPLE = 20
COMPARED = 0.05
"""The part of the aggregates that a check computes again."""


@dg.asset_check(asset=daily_bars_table, blocking=True)
def ohlc_sanity(database: Database) -> dg.AssetCheckResult:
    """Every bar's low is its lowest price and its high the highest; volume is not negative."""
    with as_dagster_failure(), database.open() as stores:
        found = stores.quality.ohlc_violations(limit=SAMPLE)
    return _none_expected(found, "bars contradict themselves; fetch them again with --refetch")


@dg.asset_check(asset=daily_bars_table, blocking=True)
def no_duplicate_keys(database: Database) -> dg.AssetCheckResult:
    """No ticker has two bars for one session, under whatever instrument."""
    with as_dagster_failure(), database.open() as stores:
        found = stores.quality.duplicates(limit=SAMPLE)
    return _none_expected(
        found, "sessions have two bars under one ticker; look at instrument_ticker"
    )


@dg.asset_check(asset=daily_bars_table)
def only_trading_days(database: Database) -> dg.AssetCheckResult:
    """No bar stands on a day that was no session."""
    with as_dagster_failure(), database.open() as stores:
        found = stores.quality.strangers(
            expected_days(DATASETS[DAILY_BARS_DATASET], {}), limit=SAMPLE
        )
    return _none_expected(
        found,
        "bars stand on days without a session; if the exchange did open, add the day to "
        "marketdata/data/session_overrides.csv",
    )


@dg.asset_check(asset=daily_bars_table)
def no_missing_sessions(database: Database) -> dg.AssetCheckResult:
    """No member misses a session between its first one in the ledger and the last close.

    What the provider that serves was never asked for at all, such as the history of a member that
    joined yesterday, is counted but is no hole: the weekly run fetches it.
    """
    with as_dagster_failure(), database.open() as stores:
        sessions, provider = (
            expected_days(DATASETS[DAILY_BARS_DATASET], {}),
            provider_of(DAILY_BARS_DATASET),
        )
        members = [one.instrument_id for one in stores.instruments.members(UNIVERSE)]
        missing = stores.coverage.holes(
            DAILY_BARS_DATASET, provider, members, sessions, limit=SAMPLE
        )
        summary = stores.coverage.summary(DAILY_BARS_DATASET, provider, members, sessions)
        covered = percent_held(summary.sessions, unknown=summary.unknown)
    share = (
        f"{covered} % of what should be there is; {summary.unknown:,} sessions were never asked for"
    )
    return dg.AssetCheckResult(
        passed=not missing.count,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{missing.count} sessions are missing: {_named(missing.sample)}. {share}. "
            "Cure: wrdata backfill daily_bars --all"
            if missing.count
            else f"every session since each member's first one is accounted for. {share}"
        ),
        metadata={
            "missing": missing.count,
            "never_asked_for": summary.unknown,
            "coverage_percent": covered,
        },
    )


def _no_dead_letters(dataset: str, asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name="no_dead_letters")
    def check(database: Database) -> dg.AssetCheckResult:
        """No work of the dataset waits for another attempt, or for a person."""
        wanted = LetterFilter(states=UNSETTLED, dataset=dataset)
        with as_dagster_failure(), database.open() as stores:
            counts = stores.dead_letters.counts(dataset).get(dataset, {})
            found = stores.dead_letters.find(wanted, limit=SAMPLE)
        waiting = {state.value: counts.get(state, 0) for state in UNSETTLED}
        total = sum(waiting.values())
        named = ", ".join(f"{one.subject} ({one.error_class})" for one in found)
        return dg.AssetCheckResult(
            passed=not total,
            severity=dg.AssetCheckSeverity.WARN,
            description=(
                f"{total} dead letters ("
                + ", ".join(f"{letters} {state}" for state, letters in waiting.items())
                + f"): {named}. Cure: wrdata dlq list --dataset {dataset}"
                if total
                else "no dead letter is left"
            ),
            metadata={
                **waiting,
                "sample": failure_table(
                    {f"{one.letter_id} {one.subject}": one.reason for one in found}
                ),
            },
        )

    return check


daily_bars_letters_check = _no_dead_letters(DAILY_BARS_DATASET, daily_bars_table)


def _equals_recomputation(interval: Interval) -> dg.AssetChecksDefinition:
    period = "years" if interval in DAY_INTERVALS else "months"

    @dg.asset_check(
        asset=bars_key(interval),
        name=f"bars_{interval}_equal_recomputation",
        description=f"Bars of instruments and {period} chosen at random equal what their source "
        "says.",
    )
    def check(database: Database) -> dg.AssetCheckResult:
        with as_dagster_failure(), database.open() as stores:
            differences = stores.aggregates.differences(interval, limit=SAMPLE, sample=COMPARED)
        named = ", ".join(
            f"instrument {one.instrument_id} {one.provider} {one.bucket_start} ({one.difference})"
            for one in differences
        )
        return dg.AssetCheckResult(
            passed=not differences,
            description=(
                f"{len(differences)} or more bars differ from their source: {named}. "
                "Compare all of them: wrdata aggregates verify. "
                "Cure: wrdata aggregates refresh --all"
                if differences
                else f"no bar differs, in {COMPARED:.0%} of the instruments' {period}"
            ),
        )

    return check


AGGREGATE_CHECKS = [_equals_recomputation(interval) for interval in Interval]
"""The check of each interval's bars."""


def _holds_what_was_loaded(dataset: ArchivedDataset) -> dg.AssetChecksDefinition:
    # Daily bars have an asset that stands for the table, in the run of every load.
    of_table = dataset.name == DAILY_BARS_DATASET
    asset = daily_bars_table.key if of_table else by_symbol_key(DATASETS[dataset.name])

    @dg.asset_check(
        asset=asset,
        name="holds_what_was_loaded",
        description="Instruments chosen at random have as many rows each day as were loaded. Days "
        "that lack some are holes again, and wait in dead letters.",
    )
    def check(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
        with as_dagster_failure(), database.open() as stores:
            lost = stores.lost_rows.find(dataset, sample=COMPARED)
            stores.lost_rows.make_holes(dataset, lost, by=f"run {context.run.run_id}")
        return dg.AssetCheckResult(
            passed=not lost,
            description=(
                f"{describe_loss(dataset, lost)}. Compare all of them: wrdata ledger verify"
                if lost
                else f"no row is gone, of {COMPARED:.0%} of the instruments"
            ),
            metadata={"days": len(lost), "rows": sum(one.loaded - one.held for one in lost)},
        )

    return check


LOADED_CHECKS = [_holds_what_was_loaded(one) for one in BY_DAY]
"""The comparison of rows with what was loaded, of each dataset by day."""


def _archive_equals_source(dataset: ArchivedDataset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=ARCHIVES[dataset.name],
        name="archive_equals_source",
        description="Every archived period, read back from the bucket, equals its rows in the "
        "database, or where those were dropped its proof; rows that came later wait.",
    )
    def check(archive: Archive) -> dg.AssetCheckResult:
        with as_dagster_failure(), archive.open() as opened:
            verdicts = opened.verify(dataset, opened.proofs(dataset))
        different = [one for one in verdicts if one.is_wrong]
        waiting = sum(bool(one.waiting) for one in verdicts)
        return dg.AssetCheckResult(
            passed=not different,
            description=(
                f"{len(different)} of {len(verdicts)} periods differ: "
                + "; ".join(one.told for one in different[:SAMPLE])
                if different
                else f"none of {len(verdicts)} periods is wrong, read back from the bucket; of "
                f"{waiting} there is more to archive"
            ),
            metadata={
                "periods": len(verdicts),
                "rows": sum(one.archive_rows for one in verdicts),
                "waiting": waiting,
            },
        )

    return check


ARCHIVE_CHECKS = [_archive_equals_source(one) for one in ARCHIVED.values()]
"""The check of each dataset's archive."""


def _none_expected(found: Suspects, what_and_cure: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not found.count,
        description=(
            f"{found.count} {what_and_cure}: " + _named(found.sample)
            if found.count
            else "none found"
        ),
        metadata={"found": found.count},
    )


def _named(sample: Sequence[Suspect | MissingSession]) -> str:
    return ", ".join(f"{one.ticker or one.instrument_id} {one.session_date}" for one in sample)

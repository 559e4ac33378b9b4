"""Asset checks: what has to be true of the tables; a failure has a count, a sample and the cure.

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
"""Share that a check compares: of the instruments, or of their months or years."""


@dg.asset_check(asset=daily_bars_table, blocking=True)
def ohlc_sanity(database: Database) -> dg.AssetCheckResult:
    """Every bar's low is its lowest price and its high the highest; volume is not negative."""
    with as_dagster_failure(), database.open() as stores:
        suspects = stores.quality.ohlc_violations(limit=SAMPLE)
    return _none_expected(suspects, "bars contradict themselves; fetch them again with --refetch")


@dg.asset_check(asset=daily_bars_table, blocking=True)
def no_duplicate_keys(database: Database) -> dg.AssetCheckResult:
    """No ticker has two bars for one session, whichever instruments hold them."""
    with as_dagster_failure(), database.open() as stores:
        suspects = stores.quality.duplicates(limit=SAMPLE)
    return _none_expected(
        suspects, "sessions have two bars under one ticker; look at instrument_ticker"
    )


@dg.asset_check(asset=daily_bars_table)
def only_trading_days(database: Database) -> dg.AssetCheckResult:
    """No bar is of a day that was no session."""
    with as_dagster_failure(), database.open() as stores:
        suspects = stores.quality.strangers(
            expected_days(DATASETS[DAILY_BARS_DATASET], {}), limit=SAMPLE
        )
    return _none_expected(
        suspects,
        "bars stand on days without a session; if the exchange did open, add the day to "
        "marketdata/data/session_overrides.csv",
    )


@dg.asset_check(asset=daily_bars_table)
def no_missing_sessions(database: Database) -> dg.AssetCheckResult:
    """No member misses a session between its first one in the ledger and the last close.

    Sessions that the serving provider was never asked for, such as the history of a member that
    joined yesterday, are counted but are no holes: the weekly run fetches them.
    """
    with as_dagster_failure(), database.open() as stores:
        sessions = expected_days(DATASETS[DAILY_BARS_DATASET], {})
        provider = provider_of(DAILY_BARS_DATASET)
        members = [member.instrument_id for member in stores.instruments.members(UNIVERSE)]
        missing = stores.coverage.holes(
            DAILY_BARS_DATASET, provider, members, sessions, limit=SAMPLE
        )
        summary = stores.coverage.summary(DAILY_BARS_DATASET, provider, members, sessions)
        covered = percent_held(summary.sessions, unknown=summary.unknown)
    share = f"coverage is {covered} %; {summary.unknown:,} sessions were never asked for"
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
        """No dead letter of the dataset waits for another attempt, or for a person."""
        letter_filter = LetterFilter(states=UNSETTLED, dataset=dataset)
        with as_dagster_failure(), database.open() as stores:
            counts = stores.dead_letters.counts(dataset).get(dataset, {})
            sample_letters = stores.dead_letters.find(letter_filter, limit=SAMPLE)
        waiting = {state.value: counts.get(state, 0) for state in UNSETTLED}
        total = sum(waiting.values())
        named = ", ".join(f"{letter.subject} ({letter.error_class})" for letter in sample_letters)
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
                    {
                        f"{letter.letter_id} {letter.subject}": letter.reason
                        for letter in sample_letters
                    }
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
        description=f"Bars of instruments and {period} chosen at random equal a recomputation from "
        "their source.",
    )
    def check(database: Database) -> dg.AssetCheckResult:
        with as_dagster_failure(), database.open() as stores:
            differences = stores.aggregates.differences(interval, limit=SAMPLE, sample=COMPARED)
        named = ", ".join(
            f"instrument {difference.instrument_id} {difference.provider} "
            f"{difference.bucket_start} ({difference.difference})"
            for difference in differences
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
    # Daily bars have an asset for the table, in the run of every load.
    of_table = dataset.name == DAILY_BARS_DATASET
    asset = daily_bars_table.key if of_table else by_symbol_key(DATASETS[dataset.name])

    @dg.asset_check(
        asset=asset,
        name="holds_what_was_loaded",
        description="Instruments chosen at random have as many rows each day as were loaded. Days "
        "that lack rows become holes again, and wait in dead letters.",
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
            metadata={"days": len(lost), "rows": sum(day.loaded - day.held for day in lost)},
        )

    return check


LOADED_CHECKS = [_holds_what_was_loaded(dataset) for dataset in BY_DAY]
"""The comparison of rows with what was loaded, of each dataset by day."""


def _archive_equals_source(dataset: ArchivedDataset) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=ARCHIVES[dataset.name],
        name="archive_equals_source",
        description="Every archived period, read back from the bucket, equals its rows in the "
        "database, or its proof if those were dropped; later rows wait to be archived.",
    )
    def check(archive: Archive) -> dg.AssetCheckResult:
        with as_dagster_failure(), archive.open() as opened:
            verdicts = opened.verify(dataset, opened.proofs(dataset))
        different = [verdict for verdict in verdicts if verdict.is_wrong]
        waiting = sum(bool(verdict.waiting) for verdict in verdicts)
        return dg.AssetCheckResult(
            passed=not different,
            description=(
                f"{len(different)} of {len(verdicts)} periods differ: "
                + "; ".join(verdict.description for verdict in different[:SAMPLE])
                if different
                else f"none of {len(verdicts)} periods is wrong, read back from the bucket; of "
                f"{waiting} there is more to archive"
            ),
            metadata={
                "periods": len(verdicts),
                "rows": sum(verdict.archive_rows for verdict in verdicts),
                "waiting": waiting,
            },
        )

    return check


ARCHIVE_CHECKS = [_archive_equals_source(dataset) for dataset in ARCHIVED.values()]
"""The check of each dataset's archive."""


def _none_expected(suspects: Suspects, problem: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not suspects.count,
        description=(
            f"{suspects.count} {problem}: " + _named(suspects.sample)
            if suspects.count
            else "none found"
        ),
        metadata={"found": suspects.count},
    )


def _named(sample: Sequence[Suspect | MissingSession]) -> str:
    return ", ".join(
        f"{suspect.ticker or suspect.instrument_id} {suspect.session_date}" for suspect in sample
    )

"""How complete a dataset is: the figures of the status page and of the checks.

Here: from the ledger of one provider to percentages and holes. Not here: the requests that would
fill the holes (load_plan.py).
"""

from dataclasses import dataclass
from datetime import date

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.coverage import CoverageState, percent_held
from marketdata.datasets import DATASETS, Dataset, InstrumentKind
from marketdata.planning import Ledger, Wanted, plan_requests
from marketdata.symbols import provider_symbols
from resources.opening import Stores
from resources.settings import provider_of
from usecases.instruments import UNIVERSE, listed_symbols


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCoverage:
    """Coverage of a dataset's present symbols at one provider.

    Attributes:
        never_asked: Number of symbols that this provider was never asked for.
        percent: For snapshots: the share of present symbols whose snapshot is fresh. For days: the
            share of all days whose rows are kept. Days count until the last one that is over, from
            the dataset's first day or, if only the latest days are loaded, from the first day that
            was asked for of any symbol. What was never asked for is missing.
        holes: Days that are over, from a symbol's first requested one on, of which nothing is
            known, or only a failure or a refused row; or snapshots that are due to be asked for
            again.
    """

    never_asked: int
    percent: float
    holes: int


def dataset_coverage(stores: Stores, dataset: Dataset, provider: str) -> DatasetCoverage:
    """Return the coverage at ``provider``; send no request and register no instrument."""
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        names = [member.ticker for member in stores.instruments.members(UNIVERSE)]
    else:
        names = list(provider_symbols(dataset, provider))
    listed, _ = listed_symbols(stores, dataset, provider, names, register=False)
    ids = [instrument.instrument_id for instrument in listed if instrument.instrument_id]
    ledger = stores.coverage.ledger(dataset.name, provider, ids)
    asked = [instrument for instrument in listed if ledger.get(instrument.instrument_id)]
    never_asked = len(names) - len(asked)
    if not asked:
        return DatasetCoverage(never_asked=never_asked, percent=0.0 if names else 100.0, holes=0)
    if not dataset.by_day:
        due = plan_requests(dataset, calendar(), asked, ledger, Wanted(), now=utc_now())
        states = {CoverageState.COMPLETE: len(asked) - len(due), CoverageState.FAILED: len(due)}
        percent = percent_held(states, unknown=never_asked)
        return DatasetCoverage(never_asked=never_asked, percent=percent, holes=len(due))
    asked_ids = [instrument.instrument_id for instrument in asked]
    days = expected_days(dataset, {key: ledger[key] for key in asked_ids})
    summary = stores.coverage.summary(dataset.name, provider, asked_ids, days)
    unknown = summary.unknown + never_asked * len(days)
    return DatasetCoverage(
        never_asked=never_asked,
        percent=percent_held(summary.sessions, unknown=unknown),
        holes=stores.coverage.holes(dataset.name, provider, asked_ids, days).count,
    )


def expected_days(dataset: Dataset, ledger: Ledger) -> list[date]:
    """Return the days that are over and of which rows are expected."""
    days = dataset.day_calendar(calendar())
    first = dataset.begins
    if dataset.usual_days is not None:
        first = min(
            (
                span[0]
                for by_state in ledger.values()
                for spans in by_state.values()
                for span in spans
            ),
            default=first,
        )
    return days.between(first, days.last_over(utc_now()))


def daily_bar_figures(stores: Stores) -> dict[str, int | float | str]:
    """Return the figures of the table of daily bars, and the coverage at the serving provider."""
    totals = stores.quality.totals()
    sessions = expected_days(DATASETS[DAILY_BARS_DATASET], {})
    provider = provider_of(DAILY_BARS_DATASET)
    members = [member.instrument_id for member in stores.instruments.members(UNIVERSE)]
    summary = stores.coverage.summary(DAILY_BARS_DATASET, provider, members, sessions)
    holes = stores.coverage.holes(DAILY_BARS_DATASET, provider, members, sessions)
    return {
        "universe_members": len(members),
        "rows": totals.rows,
        "instruments": totals.instruments,
        "restated_versions": totals.versions,
        "first_session": str(totals.first_session or ""),
        "last_session": str(totals.last_session or ""),
        "coverage_percent": percent_held(summary.sessions, unknown=summary.unknown),
        **{f"sessions_{state.value}": count for state, count in summary.sessions.items()},
        "sessions_missing": holes.count,
        "sessions_never_asked_for": summary.unknown,
    }

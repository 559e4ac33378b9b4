"""How complete a dataset of the catalogue is: the figures of the status page.

Here: from the ledger of one provider to shares and holes. Not here: daily bars (price_reports.py),
or which requests would mend it (dataset_work.py).
"""

from dataclasses import dataclass

from assets.dataset_work import listed_subjects
from assets.universe import UNIVERSE
from marketdata import subjects
from marketdata.calendars import calendar, utc_now
from marketdata.coverage import CoverageState, percent_held
from marketdata.dataset_planning import ONE_DAY, days_between, plan_requests
from marketdata.datasets import Dataset, Subjects
from resources.opening import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCoverage:
    """What the ledger of one provider knows of a dataset's present subjects.

    Attributes:
        never_asked: Subjects that this provider has told nothing of.
        percent: Share of what should be there that is: of the states of all present subjects those
            that are fresh; of all their days, from the first one that was asked for of any of them
            until yesterday, those whose rows are kept. What was never asked for is missing.
        holes: Days that are over, since the first one asked for, of which nothing or only a failure
            is known; or states that are due to be asked for again.
    """

    never_asked: int
    percent: float
    holes: int


def dataset_coverage(stores: Stores, dataset: Dataset, provider: str) -> DatasetCoverage:
    """Look into the ledger of ``provider``; nobody is asked, and no instrument is made."""
    if dataset.subjects is Subjects.TICKERS:
        names = [one.ticker for one in stores.instruments.members(UNIVERSE)]
    else:
        names = list(subjects.offered(dataset, provider))
    listed, _ = listed_subjects(stores, dataset, provider, names, register=False)
    ledger = stores.coverage.ledger(
        dataset.name, provider, [one.instrument_id for one in listed if one.instrument_id]
    )
    asked = [one for one in listed if ledger.get(one.instrument_id)]
    never_asked = len(names) - len(asked)
    if not asked:
        return DatasetCoverage(never_asked=never_asked, percent=0.0 if names else 100.0, holes=0)
    if not dataset.by_day:
        due = plan_requests(dataset, calendar(), asked, ledger, now=utc_now(), only_missing=True)
        states = {CoverageState.COMPLETE: len(asked) - len(due), CoverageState.FAILED: len(due)}
        percent = percent_held(states, unknown=never_asked)
        return DatasetCoverage(never_asked=never_asked, percent=percent, holes=len(due))
    ids = [one.instrument_id for one in asked]
    first = min(span[0] for one in ids for spans in ledger[one].values() for span in spans)
    yesterday = utc_now().astimezone(dataset.zone).date() - ONE_DAY
    days = days_between(dataset, calendar(), first, yesterday)
    summary = stores.coverage.summary(dataset.name, provider, ids, days)
    unknown = summary.unknown + never_asked * len(days)
    return DatasetCoverage(
        never_asked=never_asked,
        percent=percent_held(summary.sessions, unknown=unknown),
        holes=stores.coverage.holes(dataset.name, provider, ids, days).count,
    )

"""How complete a dataset of the catalogue is: the figures of the status page.

Here: from the ledger of one provider to shares and holes. Not here: daily bars (price_reports.py),
or which requests would mend it (dataset_work.py).
"""

from dataclasses import dataclass

from assets.dataset_work import listed_subjects
from assets.price_reports import coverage_percent
from assets.universe import UNIVERSE
from marketdata import subjects
from marketdata.calendars import calendar, utc_now
from marketdata.dataset_planning import ONE_DAY, days_between, plan_requests
from marketdata.datasets import Dataset, Subjects
from resources.opening import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCoverage:
    """What the ledger of one provider knows of a dataset's present subjects.

    Attributes:
        never_asked: Subjects that this provider has told nothing of.
        percent: Share of what was asked for that is settled: of days, or of states that are
            fresh; None where nothing was asked for.
        holes: Days that are over, since the first one asked for, of which nothing or only a failure
            is known; or states that are due to be asked for again.
    """

    never_asked: int
    percent: float | None
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
        return DatasetCoverage(never_asked=never_asked, percent=None, holes=0)
    if not dataset.by_day:
        due = plan_requests(dataset, calendar(), asked, ledger, now=utc_now(), only_missing=True)
        fresh = 100 * (len(asked) - len(due)) / len(asked)
        return DatasetCoverage(never_asked=never_asked, percent=round(fresh, 2), holes=len(due))
    yesterday = utc_now().astimezone(dataset.zone).date() - ONE_DAY
    days = days_between(dataset, calendar(), dataset.begins, yesterday)
    ids = [one.instrument_id for one in asked]
    summary = stores.coverage.summary(dataset.name, provider, ids, days)
    return DatasetCoverage(
        never_asked=never_asked,
        percent=coverage_percent(summary.sessions),
        holes=stores.coverage.holes(dataset.name, provider, ids, days).count,
    )

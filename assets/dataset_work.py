"""Which requests a run over a dataset makes: those wished for, or those that wait.

Here: from subjects, or from dead letters, to requests. Not here: making them (datasets.py), or
the rules of planning (marketdata/dataset_planning.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from assets.price_work import letters_without_request
from assets.universe import member_tickers, why_unknown
from marketdata import subjects
from marketdata.calendars import calendar, utc_now
from marketdata.dataset_planning import plan_requests, waiting_request
from marketdata.datasets import Dataset, Subjects, past_symbols
from marketdata.instruments import ListedInstrument
from marketdata.ports import HistoryRequest
from resources.opening import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetWork:
    """What a run over a dataset asks for.

    Attributes:
        complete: Subjects of which nothing is missing.
        unknown: Why, by subject, for those that cannot be asked for.
        obsolete: Why, by letter, for those whose work no longer exists.
    """

    requests: Sequence[HistoryRequest]
    complete: Sequence[str]
    unknown: Mapping[str, str]
    obsolete: Mapping[int, str] = field(default_factory=dict)

    @property
    def subjects(self) -> list[str]:
        """All subjects of the run, each once."""
        asked = dict.fromkeys(one.instrument.ticker for one in self.requests)
        return [*self.unknown, *self.complete, *asked]


def every_subject(stores: Stores, dataset: Dataset, provider: str) -> list[str]:
    """Return all subjects of a dataset: the present members, or what the provider offers.

    Raises:
        ConfigurationError: The universe is empty.
    """
    if dataset.subjects is Subjects.TICKERS:
        return member_tickers(stores)
    return list(subjects.offered(dataset, provider))


def listed_subjects(
    stores: Stores,
    dataset: Dataset,
    provider: str,
    names: Sequence[str],
    *,
    register: bool = True,
) -> tuple[list[ListedInstrument], dict[str, str]]:
    """Look up subjects; return the instruments, and why by name for those there are not.

    Args:
        stores: The database.
        dataset: Of the subjects.
        provider: Whose spellings.
        names: Our names.
        register: Make instruments of pairs, series and indices that are new here; otherwise
            these have the number 0.
    """
    today = utc_now().date()
    if dataset.subjects is Subjects.TICKERS:
        past = past_symbols(dataset.name, provider)
        listed, missing = stores.instruments.resolve(provider, names, today, past)
        return listed, why_unknown(stores, missing)
    known, offered = subjects.fixed(dataset.subjects), subjects.offered(dataset, provider)
    wanted = {name: known[name] for name in names if name in offered}
    kind = dataset.subjects.value
    if register:
        ids = stores.instruments.register(kind, wanted, today)
    else:
        ids = dict.fromkeys(wanted, 0) | stores.instruments.ids(kind, list(wanted), today)
    return (
        [
            ListedInstrument(instrument_id=ids[name], ticker=name, symbol=offered[name])
            for name in wanted
        ],
        {
            name: f"{provider} does not offer {name}; it offers {', '.join(offered)}"
            for name in names
            if name not in offered
        },
    )


def wished_work(
    stores: Stores,
    dataset: Dataset,
    provider: str,
    names: Sequence[str],
    *,
    only_missing: bool,
    start: date | None = None,
    end: date | None = None,
    register: bool = True,
    again: bool = False,
) -> DatasetWork:
    """Plan the requests for subjects (see ``marketdata.dataset_planning.plan_requests``)."""
    listed, unknown = listed_subjects(stores, dataset, provider, names, register=register)
    ids = [one.instrument_id for one in listed]
    ledger = stores.coverage.ledger(dataset.name, provider, ids)
    requests = plan_requests(
        dataset,
        calendar(),
        listed,
        ledger,
        now=utc_now(),
        only_missing=only_missing,
        start=start,
        end=end,
        again=again,
    )
    asked = {one.instrument.ticker for one in requests}
    return DatasetWork(
        requests=requests,
        complete=[one.ticker for one in listed if one.ticker not in asked],
        unknown=unknown,
    )


def waiting_work(
    stores: Stores, dataset: Dataset, provider: str, letters: Sequence[int]
) -> DatasetWork:
    """Plan what dead letters wait for, over exactly the days that were asked for before."""
    requests: list[HistoryRequest] = []
    for letter in stores.dead_letters.by_id(letters):
        if letter.instrument_id is None or letter.span is None:
            continue
        for one in listed_by_id(stores, dataset, provider, letter.instrument_id):
            ledger = stores.coverage.ledger(dataset.name, provider, [one.instrument_id])
            part = letter.subject.partition(" ")[2]
            request = waiting_request(
                dataset, one, ledger[one.instrument_id], letter.span, utc_now(), part
            )
            # Two bad rows of one answer are one request.
            if request not in requests and request.symbols:
                requests.append(request)
    return DatasetWork(
        requests=requests,
        complete=[],
        unknown={},
        obsolete=letters_without_request(stores, provider, letters, requests),
    )


def listed_by_id(
    stores: Stores, dataset: Dataset, provider: str, instrument_id: int
) -> list[ListedInstrument]:
    """Return the instrument under the provider's spelling, or nothing if it has none."""
    past = past_symbols(dataset.name, provider)
    listed = stores.instruments.listed(provider, [instrument_id], utc_now().date(), past)
    if dataset.subjects is Subjects.TICKERS:
        return listed
    return listed_subjects(stores, dataset, provider, [one.ticker for one in listed])[0]

"""Which histories a run over tickers asks for: those wished for, or those that wait.

Here: from tickers, or from dead letters, to requests. Not here: making them (prices.py), or the
rules of planning (marketdata/planning.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import past_symbols
from marketdata.planning import history_request, plan_histories
from marketdata.ports import HistoryRequest
from marketdata.recovery.dead_letters import UNSETTLED
from resources.opening import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a run over tickers asks for.

    Attributes:
        complete: Tickers of which nothing is missing.
        unknown: Tickers that no instrument carries.
        obsolete: Why, by letter, for those whose work no longer exists.
    """

    requests: Sequence[HistoryRequest]
    complete: Sequence[str]
    unknown: Sequence[str]
    obsolete: Mapping[int, str] = field(default_factory=dict)

    @property
    def tickers(self) -> list[str]:
        """All tickers of the run."""
        return [*self.unknown, *self.complete, *(one.instrument.ticker for one in self.requests)]


def wished_work(
    stores: Stores,
    provider: str,
    tickers: Sequence[str],
    *,
    only_holes: bool,
    probes: bool = True,
    again: int = 0,
) -> Work:
    """Plan the histories of ``tickers``, carried today (see ``planning.plan_histories``)."""
    past = past_symbols(DAILY_BARS_DATASET, provider)
    listed, unknown = stores.instruments.resolve(provider, tickers, utc_now().date(), past)
    ids = [one.instrument_id for one in listed]
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider, ids)
    requests = plan_histories(
        calendar(),
        listed,
        ledger,
        now=utc_now(),
        only_holes=only_holes,
        probes=probes,
        again=again,
    )
    asked = {request.instrument.ticker for request in requests}
    return Work(
        requests=requests,
        complete=[one.ticker for one in listed if one.ticker not in asked],
        unknown=unknown,
    )


def revealed_work(stores: Stores, provider: str, done: Work) -> Work:
    """Plan what the answers to ``done`` have shown to be missing where nothing seemed to be.

    An answer that reaches further back than earlier ones says that the key shows more now.
    """
    return wished_work(stores, provider, done.complete, only_holes=True, probes=False)


def waiting_work(stores: Stores, provider: str, letters: Sequence[int]) -> Work:
    """Plan what dead letters wait for, over exactly the sessions that were asked for before."""
    spans = stores.dead_letters.spans(letters)
    past = past_symbols(DAILY_BARS_DATASET, provider)
    listed = stores.instruments.listed(provider, list(spans), utc_now().date(), past)
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider, list(spans))
    requests = [
        history_request(one, ledger[one.instrument_id], *spans[one.instrument_id]) for one in listed
    ]
    return Work(
        requests=[request for request in requests if request.symbols],
        complete=[],
        unknown=[],
        obsolete=letters_without_request(stores, provider, letters, requests),
    )


def letters_without_request(
    stores: Stores, provider: str, letters: Sequence[int], requests: Sequence[HistoryRequest]
) -> dict[int, str]:
    """Return why, by letter, no request does its work any more.

    Args:
        stores: The database.
        provider: Who would be asked.
        letters: Ids of letters.
        requests: What is asked for instead of all of them.
    """
    asked = {request.instrument.instrument_id for request in requests if request.symbols}
    return {
        letter.letter_id: f"{letter.subject} has no symbol under which {provider} could be asked "
        "for these days: another carries its ticker now, or it is not offered any more"
        if letter.instrument_id is not None and letter.span is not None
        else "the letter names no instrument or no days"
        for letter in stores.dead_letters.by_id(letters)
        if letter.state in UNSETTLED and letter.instrument_id not in asked
    }

"""Which histories a run over tickers asks for: those wished for, or those that wait.

Here: from tickers, or from dead letters, to requests. Not here: making them (prices.py), or the
rules of planning (marketdata/planning.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.planning import history_request, plan_histories
from marketdata.ports import HistoryRequest
from resources.opening import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a run over tickers asks for.

    Attributes:
        complete: Tickers of which nothing is missing.
        unknown: Tickers that no instrument carries.
    """

    requests: Sequence[HistoryRequest]
    complete: Sequence[str]
    unknown: Sequence[str]

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
) -> Work:
    """Plan the histories of ``tickers`` (see ``marketdata.planning.plan_histories``)."""
    listed, unknown = stores.instruments.resolve(provider, tickers, utc_now().date())
    ids = [one.instrument_id for one in listed]
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider, ids)
    requests = plan_histories(
        calendar(), listed, ledger, now=utc_now(), only_holes=only_holes, probes=probes
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
    listed = stores.instruments.listed(provider, list(spans), utc_now().date())
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider, list(spans))
    return Work(
        requests=[
            history_request(one, ledger[one.instrument_id], *spans[one.instrument_id])
            for one in listed
        ],
        complete=[],
        unknown=[],
    )

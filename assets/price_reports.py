"""What the price assets report: the figures that the UI plots.

Here: from outcomes of the ingest steps to Dagster metadata. Not here: the assets (prices.py).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from assets.failures import Metadata, failure_table, sample
from assets.universe import UNIVERSE
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageState, percent_held
from marketdata.ingest import Ingested, NotIngested
from marketdata.market_days import MarketDay
from marketdata.ports import LoadResult
from marketdata.recovery.leases import BreakerState
from resources.opening import Stores
from resources.settings import provider_of

LONGEST_RUN = timedelta(days=3)
"""No run lasts longer: what it has restated is looked for no further back."""


def ticker_metadata(ingested: Ingested) -> Metadata:
    """Return the figures of one ticker's history.

    ``answered_percent`` is the share of the days asked for of which a bar came, not that of the
    whole history.
    """
    return {
        "dagster/partition_row_count": ingested.load.rows,
        **_load_figures(ingested.load, len(ingested.rejected)),
        "answered_percent": percent_held(ingested.sessions),
        "requests": ingested.requests,
        "seconds": round(ingested.duration_s, 3),
    }


def day_metadata(day: MarketDay) -> Metadata:
    """Return the figures of one session of the whole universe."""
    held = {CoverageState.COMPLETE: day.load.rows}
    return {
        "dagster/partition_row_count": day.load.rows,
        **_load_figures(day.load, len(day.rejected)),
        "coverage_percent": percent_held(held, unknown=len(day.missing) + len(day.failed)),
        "tickers_failed": len(day.failed),
        "failed_tickers": failure_table(day.failed),
        "tickers_without_bar": ", ".join(day.missing) or "none",
        "requests": day.requests,
        "seconds": round(day.duration_s, 3),
    }


def _load_figures(load: LoadResult, rejected: int) -> dict[str, int]:
    return {
        "rows": load.rows,
        "rows_inserted": load.inserted,
        "rows_unchanged": load.unchanged,
        "rows_restated": load.restated,
        "rows_rejected": rejected,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingMissing:
    """The ledger already knows all that was wished for of a ticker, so nothing was asked."""

    ticker: str


Outcome = Ingested | NotIngested | NothingMissing


class Tally:
    """Adds up the outcomes of a run over many tickers, or other subjects.

    Args:
        noun: What they are called in the figures.
    """

    def __init__(self, noun: str = "tickers") -> None:
        self._noun = noun
        self._began = time.monotonic()
        self._done: list[Ingested] = []
        self._complete = 0
        self.failed: dict[str, str] = {}
        self.deferred: dict[str, str] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one ticker."""
        if isinstance(outcome, Ingested):
            self._done.append(outcome)
        elif isinstance(outcome, NothingMissing):
            self._complete += 1
        elif outcome.deferred:
            self.deferred[outcome.ticker] = outcome.message
        else:
            self.failed[outcome.ticker] = outcome.message

    @property
    def lost(self) -> dict[str, str]:
        """Tickers that did not come through, and why: they failed, or were never asked for."""
        return {**self.failed, **self.deferred}

    @property
    def settled(self) -> int:
        """Tickers that the run is done with."""
        return len(self._done) + self._complete + len(self.failed) + len(self.deferred)

    @property
    def succeeded(self) -> dict[str, Metadata]:
        """The figures of each ticker that was stored."""
        return {one.ticker: ticker_metadata(one) for one in self._done}

    def _sessions(self) -> Counter[CoverageState]:
        every: Counter[CoverageState] = Counter()
        for one in self._done:
            every.update(one.sessions)
        return every

    def result(self, requests: int, provider: Metadata) -> dg.MaterializeResult[Any]:
        """Return the figures of the run, those of the ``provider`` among them.

        Raises:
            dg.Failure: Not one ticker came through: that is an outage, and has to be seen as one.
        """
        metadata: dict[str, dg.MetadataValue | float | str] = {
            **_load_figures(
                LoadResult.total(one.load for one in self._done),
                sum(len(one.rejected) for one in self._done),
            ),
            "answered_percent": percent_held(self._sessions()),
            f"{self._noun}_loaded": len({one.ticker for one in self._done}),
            f"{self._noun}_complete_before": self._complete,
            f"{self._noun}_failed": len(self.failed),
            f"failed_{self._noun}": failure_table(self.failed),
            f"{self._noun}_deferred": len(self.deferred),
            "requests": requests,
            "seconds": round(time.monotonic() - self._began, 3),
            **provider,
        }
        lost = self.lost
        if lost and not self._done and not self._complete:
            raise dg.Failure(
                description=f"none of {len(lost)} {self._noun} came through: {sample(lost)}",
                metadata={**metadata, "failed": failure_table(lost)},
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=metadata)


@contextmanager
def said_when_stopped(
    context: dg.AssetExecutionContext, settled: Callable[[], int], wished: Collection[str]
) -> Generator[None]:
    """Record where a run stopped that Ctrl-C, SIGTERM or the UI ended in the middle.

    The end reaches a generator as a cancellation while it waits, and as GeneratorExit while
    Dagster handles what it has yielded.
    """
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        context.log.warning(
            "stopped after %d of %d: what is stored is kept, and the same run goes on from there",
            settled(),
            len(wished),
        )
        raise


def provider_figures(stores: Stores, provider: str) -> Metadata:
    """Return how the provider is: the state of its circuit breaker."""
    states = {one.provider: one.state.value for one in stores.leases.breakers()}
    return {"circuit_breaker": states.get(provider, BreakerState.CLOSED.value)}


def restatement_figures(stores: Stores, run_id: str) -> Metadata:
    """Return how many rows a run has restated, by dataset and by the age of their bar."""
    ages = stores.ingest_log.restatements(utc_now() - LONGEST_RUN, run_id=run_id)
    return {f"{one.dataset}_restated_after_{one.age.removeprefix('+')}": one.rows for one in ages}


def table_figures(stores: Stores) -> dict[str, int | float | str]:
    """Return the figures of the whole table, and what the ledger knows of who serves it."""
    totals = stores.quality.totals()
    sessions = calendar().sessions(HISTORY_START, calendar().last_closed(utc_now()))
    provider = provider_of(DAILY_BARS_DATASET)
    members = [one.instrument_id for one in stores.instruments.members(UNIVERSE)]
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

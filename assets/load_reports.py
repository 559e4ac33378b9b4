"""What loads report: the figures that the UI plots.

Here: from outcomes of the ingest steps to Dagster metadata. Not here: the assets (datasets.py).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg

from assets.failures import Metadata, failure_table, sample
from marketdata.calendars import utc_now
from marketdata.coverage import CoverageState, percent_held
from marketdata.ingest import Ingested
from marketdata.ports import LoadResult
from marketdata.recovery.leases import BreakerState
from marketdata.session_ingest import SessionLoad
from resources.opening import Stores
from usecases.loading import NothingMissing, SymbolOutcome

LONGEST_RUN = timedelta(days=3)
"""Upper bound of a run's duration: its restatements are looked up no further back."""


def symbol_metadata(ingested: Ingested) -> Metadata:
    """Return the figures of one symbol's load.

    ``answered_percent`` is the share of requested days with a bar, not that of the whole history.
    """
    return {
        "dagster/partition_row_count": ingested.load.rows,
        **_load_figures(ingested.load, len(ingested.rejected)),
        "answered_percent": percent_held(ingested.sessions),
        "requests": ingested.requests,
        "seconds": round(ingested.duration_s, 3),
    }


def session_metadata(day: SessionLoad) -> Metadata:
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


class Tally:
    """Adds up the outcomes of a run over many symbols.

    Args:
        noun: Noun for the symbols in the figures, such as ``tickers``.
    """

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._began = time.monotonic()
        self._done: list[Ingested] = []
        self._complete = 0
        self.failed: dict[str, str] = {}
        self.deferred: dict[str, str] = {}

    def add(self, outcome: SymbolOutcome) -> None:
        """Count one symbol."""
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
        """Symbols that were not loaded, and why: they failed or were deferred."""
        return {**self.failed, **self.deferred}

    @property
    def settled(self) -> int:
        """Symbols that the run is done with."""
        return len(self._done) + self._complete + len(self.failed) + len(self.deferred)

    @property
    def succeeded(self) -> dict[str, Metadata]:
        """The figures of each symbol that was stored."""
        return {ingested.ticker: symbol_metadata(ingested) for ingested in self._done}

    def _sessions(self) -> Counter[CoverageState]:
        sessions: Counter[CoverageState] = Counter()
        for ingested in self._done:
            sessions.update(ingested.sessions)
        return sessions

    def result(self, requests: int, provider: Metadata) -> dg.MaterializeResult[Any]:
        """Return the figures of the run, with those of the ``provider``.

        Raises:
            dg.Failure: No symbol was loaded: an outage, which has to be visible as one.
        """
        metadata: dict[str, dg.MetadataValue | float | str] = {
            **_load_figures(
                LoadResult.total(ingested.load for ingested in self._done),
                sum(len(ingested.rejected) for ingested in self._done),
            ),
            "answered_percent": percent_held(self._sessions()),
            f"{self._noun}_loaded": len({ingested.ticker for ingested in self._done}),
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
def log_when_stopped(
    context: dg.AssetExecutionContext, settled: Callable[[], int], requested: Collection[str]
) -> Generator[None]:
    """Log how far a run came if Ctrl-C, SIGTERM or the UI ends it.

    A generator is ended by a cancellation while it waits, and by GeneratorExit while Dagster
    handles what it has yielded.
    """
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        context.log.warning(
            "stopped after %d of %d: stored rows are kept, and a repeated run goes on from there",
            settled(),
            len(requested),
        )
        raise


def provider_figures(stores: Stores, provider: str) -> Metadata:
    """Return the state of the provider's circuit breaker."""
    states = {breaker.provider: breaker.state.value for breaker in stores.leases.breakers()}
    return {"circuit_breaker": states.get(provider, BreakerState.CLOSED.value)}


def restatement_figures(stores: Stores, run_id: str) -> Metadata:
    """Return how many rows a run has restated, by dataset and age of the bar."""
    ages = stores.ingest_log.restatements(utc_now() - LONGEST_RUN, run_id=run_id)
    return {
        f"{restated.dataset}_restated_after_{restated.age.removeprefix('+')}": restated.rows
        for restated in ages
    }

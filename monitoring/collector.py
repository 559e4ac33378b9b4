"""The collector behind `/metrics`: one look at the databases, for all who ask within seconds.

Here: a scrape, its cache, and what a part that fails costs. Not here: what is asked (samples.py),
the metrics (metrics.py), or HTTP (server.py).

All figures come from Postgres, so that those of killed workers count, and the exporter may be
restarted at any time.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from marketdata.recovery import errors
from monitoring.metrics import METRICS, OF_THE_EXPORTER, Part
from monitoring.samples import PipelineSamples, Sample, Samples, dagster_samples, families
from resources.storage.metrics.snapshots import Snapshot, Snapshots
from resources.storage.timescale import Connection

CACHED_FOR_S = 10.0
"""Several Prometheus servers, and people, cost no more than one."""
SCRAPED_WITHIN_S = 6.0
"""No part is begun later than this: Prometheus waits ten seconds."""

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Scrape:
    """What one scrape has found so far."""

    found: list[Family] = field(default_factory=list[Family])
    succeeded: dict[Part, bool] = field(default_factory=dict[Part, bool])
    took_s: dict[Part, float] = field(default_factory=dict[Part, float])
    database_is_up: bool = False


class DatabaseCollector(Collector):
    """Asks our database and Dagster's for all metrics; register it with prometheus_client.

    A part that fails is left out, and said to have failed. Without a database there is little
    left, and the answer is still one.

    Args:
        database_url: Our database.
        dagster_url: The database in which Dagster keeps its runs; it may be another one.
        universe: The list of shares that the datasets of shares are expected to hold.
        cached_for_s: How long an answer is given again.
    """

    def __init__(
        self,
        database_url: str,
        dagster_url: str,
        universe: str,
        *,
        cached_for_s: float = CACHED_FOR_S,
    ) -> None:
        self._database = Snapshots(database_url)
        self._dagster = Snapshots(dagster_url)
        self._pipeline_samples = PipelineSamples(universe)
        self._cached_for_s = cached_for_s
        self._lock = threading.Lock()
        self._kept: list[Family] = []
        self._kept_until = 0.0
        self._failing: dict[str, str] = {}

    def describe(self) -> Iterable[Family]:
        """Return nothing: registering must not ask a database that may be away."""
        return []

    def collect(self) -> Iterable[Family]:
        """Return every metric, as of a moment at most ``cached_for_s`` ago."""
        with self._lock:
            if time.monotonic() >= self._kept_until:
                self._kept = self._scrape()
                self._kept_until = time.monotonic() + self._cached_for_s
            return self._kept

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
        self._dagster.close()

    def _scrape(self) -> list[Family]:
        scrape = _Scrape(succeeded=dict.fromkeys(Part, False), took_s=dict.fromkeys(Part, 0.0))
        ends_at = time.monotonic() + SCRAPED_WITHIN_S
        try:
            with self._database.opened() as snapshot:
                for part, ask in self._pipeline_samples.parts.items():
                    self._ask(scrape, snapshot, part, ask, ends_at)
            scrape.database_is_up = True
        except errors.StorageError as error:
            self._note("database", str(error))
        else:
            self._note("database", None)
        try:
            with self._dagster.opened() as snapshot:
                self._ask(scrape, snapshot, Part.DAGSTER, dagster_samples, ends_at)
        except errors.StorageError as error:
            self._note(Part.DAGSTER, str(error))
        return [*scrape.found, *families(OF_THE_EXPORTER, _of_the_exporter(scrape))]

    def _ask(
        self,
        scrape: _Scrape,
        snapshot: Snapshot,
        part: Part,
        ask: Callable[[Connection], Samples],
        ends_at: float,
    ) -> None:
        began = time.monotonic()
        if began >= ends_at:
            self._note(part, f"not asked: the parts before took {SCRAPED_WITHIN_S:.0f} s")
            return
        try:
            with snapshot.part() as connection:
                found = list(families(METRICS[part], ask(connection)))
        except Exception as error:  # noqa: BLE001 # whatever is wrong with it, the others are shown
            self._note(part, str(error) or repr(error))
        else:
            scrape.found += found
            scrape.succeeded[part] = True
            self._note(part, None)
        scrape.took_s[part] = time.monotonic() - began

    def _note(self, part: str, failure: str | None) -> None:
        """Log a failure once, not at every scrape; and once that it is over."""
        known = self._failing.pop(part, None)
        if failure is not None:
            self._failing[part] = failure
            if known is None:
                _LOG.warning("metrics of %s are missing: %s", part, failure)
        elif known is not None:
            _LOG.info("metrics of %s are back", part)


@functools.cache
def _version() -> str:
    return version("wrdata")


def _of_the_exporter(scrape: _Scrape) -> Samples:
    yield Sample(metric="wrdata_database_up", value=scrape.database_is_up)
    yield Sample(metric="wrdata_build_info", labels=(_version(),), value=1)
    metrics: Mapping[str, Mapping[Part, float]] = {
        "wrdata_exporter_last_scrape_success": scrape.succeeded,
        "wrdata_exporter_scrape_duration_seconds": scrape.took_s,
    }
    for metric, by_part in metrics.items():
        for part, value in by_part.items():
            yield Sample(metric=metric, labels=(part.value,), value=value)

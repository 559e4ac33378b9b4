"""From the figures of a snapshot to samples of the metrics, part by part.

Here: which figure is which metric, with which labels. Not here: the queries
(resources/storage/metrics/), the metrics' names and meanings (metrics.py), or what happens when a
part fails (collector.py).
"""

import functools
import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family

from marketdata.archiving import ARCHIVED, Portion
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS, Dataset, InstrumentKind
from marketdata.recovery.dead_letters import UNSETTLED, LetterState
from marketdata.recovery.leases import BreakerState
from marketdata.recovery.request_timings import BUCKETS_S, RequestTiming, Timed
from marketdata.symbols import provider_symbols
from monitoring.metrics import Kind, Metric, Part
from monitoring.rota import Rota
from resources.storage.metrics import dagster_figures, pipeline_figures
from resources.storage.metrics.pipeline_figures import DayCoverage, LoadTotals
from resources.storage.timescale import Connection

Labels = tuple[str, ...]
COVERAGE_SHARE_S = 0.005
ARCHIVE_SHARE_S = 0.005
TABLES_SHARE_S = 0.005
"""Seconds of a scrape for figures that take turns."""
SYMBOLS_A_SLICE = 500
"""So many symbols of a dataset are one question, which takes some milliseconds."""
PARTS_OF_DAILY_BARS = 4
"""So many questions tell the first session that is not archived: each takes some milliseconds."""
UNKNOWN = date.min
"""Stands for a figure that was not asked for yet."""
NEXT_SESSION_WITHIN = timedelta(days=14)
"""Longer than the exchange was ever closed in a century."""
IN_FLIGHT = ("QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "CANCELING")
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
"""Dagster's states of runs."""
TABLES = tuple(
    dict.fromkeys(
        [
            *(dataset.table for dataset in DATASETS.values()),
            *(f"{dataset.table}_version" for dataset in DATASETS.values()),
            "ingest_log", "coverage", "loaded_day", "dead_letter", "dead_letter_transition",
            "request_lease", "request_usage",
        ]
    )
)  # fmt: skip
"""Tables that grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a metric; ``labels`` are values in the order of the metric's names."""

    metric: str
    value: float
    labels: Labels = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """One histogram of a metric."""

    metric: str
    labels: Labels
    timing: RequestTiming


Samples = Iterable[Sample | Histogram]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Slice:
    """Some of the symbols of a dataset at a provider, whose coverage is one question."""

    dataset: str
    provider: str
    number: int


def families(metrics: Mapping[str, Metric], samples: Samples) -> Iterator[Family]:
    """Yield samples as prometheus_client's families; a metric without samples has none."""
    by_metric: dict[str, list[Sample | Histogram]] = {}
    for sample in samples:
        by_metric.setdefault(sample.metric, []).append(sample)
    for name, of_metric in by_metric.items():
        yield _family(metrics[name], of_metric)


def _family(metric: Metric, samples: Sequence[Sample | Histogram]) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.about, labels=metric.labels)
        for sample in samples:
            if isinstance(sample, Histogram):
                histogram.add_metric(
                    sample.labels, _cumulative(sample.timing), sample.timing.seconds
                )
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.about, labels=metric.labels)
    for sample in samples:
        if isinstance(sample, Sample):
            family.add_metric(sample.labels, sample.value)
    return family


def _cumulative(timing: RequestTiming) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
    return list(zip(bounds, itertools.accumulate(timing.buckets), strict=True))


class PipelineSamples:
    """The samples of our own database.

    Args:
        universe: The list whose present members the datasets of shares are expected to hold.
    """

    def __init__(self, universe: str) -> None:
        self._universe = universe
        self._coverage = Rota[Slice, DayCoverage | int](COVERAGE_SHARE_S)
        self._archive = Rota[tuple[str, int], date | None](ARCHIVE_SHARE_S)
        self._tables = Rota[str, tuple[int, int | None] | None](TABLES_SHARE_S)

    @property
    def parts(self) -> Mapping[Part, Callable[[Connection], Samples]]:
        """What is asked for each part."""
        return {
            Part.REQUESTS: _requests,
            Part.BUDGETS: _budgets,
            Part.BREAKERS: _breakers,
            Part.LOADS: _loads,
            Part.DEAD_LETTERS: _dead_letters,
            Part.COVERAGE: self._datasets,
            Part.ARCHIVE: self._unarchived,
            Part.TABLES: self._sizes,
            Part.AUDIT: _audit,
            Part.BACKUPS: _backups,
        }

    def _datasets(self, connection: Connection) -> Iterator[Sample]:
        """Yield coverage and freshness of what was ever loaded, once all its slices are known."""
        members = pipeline_figures.members(connection, self._universe)
        loaded = [
            Loaded.of(connection, total, members)
            for total in pipeline_figures.load_totals(connection)
            if total.dataset in DATASETS and total.latest_loaded_at
        ]
        slices = {key: (source, ids) for source in loaded for key, ids in source.slices()}

        def ask(key: Slice) -> DayCoverage | int:
            of_slice, ids = slices[key]
            return of_slice.coverage(connection, ids)

        known = self._coverage.figures(list(slices), ask)
        for source in loaded:
            keys = [key for key, _ in source.slices()]
            if all(key in known for key in keys):
                yield from source.samples([known[key] for key in keys])

    def _unarchived(self, connection: Connection) -> Iterator[Sample]:
        by_period = [
            (name, part)
            for name, dataset in ARCHIVED.items()
            if dataset.portion is not Portion.WHOLE
            for part in range(PARTS_OF_DAILY_BARS if name == DAILY_BARS_DATASET else 1)
        ]

        def ask(key: tuple[str, int]) -> date | None:
            name, part = key
            if name == DAILY_BARS_DATASET:
                return pipeline_figures.first_unarchived_session(
                    connection, name, part, PARTS_OF_DAILY_BARS
                )
            return pipeline_figures.first_unarchived_day(connection, name)

        known = self._archive.figures(by_period, ask)
        for name in dict.fromkeys(name for name, _ in by_period):
            parts = [known.get(key, UNKNOWN) for key in by_period if key[0] == name]
            if UNKNOWN in parts:
                continue
            days = [day for day in parts if day is not None]
            if days:
                yield from _moment(
                    "wrdata_archive_oldest_unarchived_timestamp_seconds",
                    datetime.combine(min(days), time(), UTC),
                    (name,),
                )

    def _sizes(self, connection: Connection) -> Iterator[Sample]:
        ask = functools.partial(pipeline_figures.table_size, connection)
        for table, size in self._tables.figures(TABLES, ask).items():
            if size is None:
                continue
            in_bytes, chunks = size
            yield Sample(metric="wrdata_table_size_bytes", labels=(table,), value=in_bytes)
            if chunks is not None:
                yield Sample(metric="wrdata_chunks", labels=(table,), value=chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A dataset at a provider of which something was loaded.

    Attributes:
        total: What was loaded.
        symbols: How many symbols it should hold: members, or all that the provider offers.
        ids: Instruments of these symbols; a symbol that was never loaded may have none.
        days: Days that are over since the dataset's first one; none for snapshots.
        now: Aware time.
    """

    total: LoadTotals
    symbols: int
    ids: Sequence[int]
    days: Sequence[date]
    now: datetime

    @classmethod
    def of(cls, connection: Connection, total: LoadTotals, members: Sequence[int]) -> Self:
        """Look up what is expected of a dataset at a provider."""
        dataset, now, names = DATASETS[total.dataset], utc_now(), ()
        ids = members
        if dataset.instrument_kind is not InstrumentKind.EQUITY:
            names = provider_symbols(dataset, total.provider)
            ids = pipeline_figures.listed(connection, dataset.instrument_kind.value, list(names))
        return cls(
            total=total,
            symbols=len(names) or len(ids),
            ids=ids,
            days=_days_through(dataset.name, _last_day(dataset, now)) if dataset.by_day else (),
            now=now,
        )

    @property
    def dataset(self) -> Dataset:
        """Its entry of the catalogue."""
        return DATASETS[self.total.dataset]

    def slices(self) -> Iterator[tuple[Slice, Sequence[int]]]:
        """Yield the instruments in slices; one at least."""
        for number, first in enumerate(range(0, max(len(self.ids), 1), SYMBOLS_A_SLICE)):
            key = Slice(dataset=self.total.dataset, provider=self.total.provider, number=number)
            yield key, self.ids[first : first + SYMBOLS_A_SLICE]

    def coverage(self, connection: Connection, ids: Sequence[int]) -> DayCoverage | int:
        """Return the coverage of some instruments: by day, or the number of fresh snapshots."""
        name, provider = self.total.dataset, self.total.provider
        if self.dataset.by_day:
            return pipeline_figures.day_coverage(connection, name, provider, ids, self.days)
        return pipeline_figures.fresh_snapshots(
            connection,
            name,
            provider,
            ids,
            begins=self.dataset.begins,
            asked_since=self._fresh_since(),
        )

    def samples(self, slices: Sequence[DayCoverage | int]) -> Iterator[Sample]:
        """Yield ratio and freshness from the coverage of all slices."""
        labels = (self.total.dataset, self.total.provider)
        by_day = [part for part in slices if isinstance(part, DayCoverage)]
        if self.dataset.by_day:
            held = sum(part.held for part in by_day)
            unlisted = sum(part.unlisted for part in by_day)
            expected = self.symbols * self._expected_days(by_day) - unlisted
            fresh_until = self._next_end(by_day)
        else:
            held, expected = sum(part for part in slices if isinstance(part, int)), self.symbols
            latest = self.total.latest_loaded_at
            fresh_until = latest and latest + self.dataset.fresh_for
        if expected > 0:
            yield Sample(metric="wrdata_coverage_ratio", labels=labels, value=held / expected)
        yield from _moment("wrdata_dataset_fresh_until_timestamp_seconds", fresh_until, labels)

    def _expected_days(self, slices: Sequence[DayCoverage]) -> int:
        """Return how many days are expected of a symbol.

        All of them, or if only the latest are loaded, those since the first that was asked for.
        """
        if self.dataset.usual_days is None:
            return len(self.days)
        asked = [part.first_asked for part in slices if part.first_asked is not None]
        return len(self.days) - bisect_left(self.days, min(asked)) if asked else len(self.days)

    def _next_end(self, slices: Sequence[DayCoverage]) -> datetime | None:
        """Return the end of the next day or session after the newest kept one."""
        ends = [part.held_before for part in slices if part.held_before is not None]
        if not ends:
            return None
        days = self.dataset.day_calendar(calendar())
        # It may be a day without a session.
        day_after = days.between(max(ends), max(ends) + NEXT_SESSION_WITHIN)[0]
        return days.ends_at(day_after)

    def _fresh_since(self) -> date:
        """Return the day after which a snapshot has to end, as marketdata.planning decides it."""
        today = self.now.astimezone(self.dataset.zone).date()
        return today - timedelta(days=max(self.dataset.fresh_for.days, 1) - 1)


def _last_day(dataset: Dataset, now: datetime) -> date:
    return dataset.day_calendar(calendar()).last_over(now)


@functools.lru_cache(maxsize=8)
def _days_through(dataset: str, last: date) -> Sequence[date]:
    """Return the days of a dataset from its first one on; they change once a day."""
    entry = DATASETS[dataset]
    return entry.day_calendar(calendar()).between(entry.begins, last)


def dagster_samples(connection: Connection) -> Iterator[Sample]:
    """Yield the samples of Dagster's database; each state is there although no run is in it."""
    dagster_figures.require_tables(connection)
    runs = dict.fromkeys([*IN_FLIGHT, *ENDED], 0) | dict(dagster_figures.runs(connection))
    for status, count in runs.items():
        yield Sample(metric="dagster_runs", labels=(status,), value=count)
    yield from _moment(
        "dagster_oldest_queued_run_timestamp_seconds", dagster_figures.oldest_queued(connection)
    )
    for daemon, at in dagster_figures.heartbeats(connection).items():
        yield from _moment("dagster_daemon_heartbeat_timestamp_seconds", at, (daemon,))


def _requests(connection: Connection) -> Iterator[Sample | Histogram]:
    by_outcome: dict[Labels, RequestTiming] = {}
    for timing in pipeline_figures.request_timings(connection):
        key = timing.key
        if key.timed is Timed.PERMIT_WAIT:
            yield Histogram(
                metric="wrdata_permit_wait_seconds", labels=(key.provider,), timing=timing
            )
            continue
        yield Sample(
            metric="wrdata_provider_requests_total",
            labels=(key.provider, key.outcome, key.error_class),
            value=timing.count,
        )
        labels = (key.provider, key.outcome)
        before = by_outcome.get(labels)
        by_outcome[labels] = timing if before is None else _sum(before, timing)
    for labels, timing in by_outcome.items():
        yield Histogram(
            metric="wrdata_provider_request_duration_seconds", labels=labels, timing=timing
        )


def _sum(timing: RequestTiming, other: RequestTiming) -> RequestTiming:
    return replace(
        timing,
        count=timing.count + other.count,
        seconds=timing.seconds + other.seconds,
        buckets=tuple(map(sum, zip(timing.buckets, other.buckets, strict=True))),
    )


def _budgets(connection: Connection) -> Iterator[Sample]:
    for use in pipeline_figures.budgets(connection):
        labels = (use.provider, use.budget, use.period)
        yield Sample(metric="wrdata_budget_limit", labels=labels, value=use.limit)
        yield Sample(metric="wrdata_budget_used", labels=labels, value=use.used)


def _breakers(connection: Connection) -> Iterator[Sample]:
    for provider, present in pipeline_figures.breakers(connection).items():
        for state in BreakerState:
            yield Sample(
                metric="wrdata_circuit_breaker_state",
                labels=(provider, state.value),
                value=state is present,
            )


def _loads(connection: Connection) -> Iterator[Sample]:
    for total in pipeline_figures.load_totals(connection):
        source = (total.dataset, total.provider)
        for result, rows in total.rows.items():
            yield Sample(metric="wrdata_rows_total", labels=(*source, result), value=rows)
        for outcome, batches in (("loaded", total.loaded), ("failed", total.failed)):
            yield Sample(metric="wrdata_batches_total", labels=(*source, outcome), value=batches)


def _dead_letters(connection: Connection) -> Iterator[Sample]:
    """Yield all waiting states of a dataset that has letters in one of them."""
    waiting = pipeline_figures.waiting_letters(connection)
    counts = {(letters.dataset, letters.state): letters.letters for letters in waiting}
    for dataset in dict.fromkeys(letters.dataset for letters in waiting):
        for state in UNSETTLED:
            labels = (dataset, state.value)
            yield Sample(metric="wrdata_dead_letters", labels=labels, value=counts.get(labels, 0))
    for letters in waiting:
        if letters.state == LetterState.OPEN:
            yield from _moment(
                "wrdata_dead_letter_oldest_open_timestamp_seconds",
                letters.oldest_seen_at,
                (letters.dataset,),
            )


def _audit(connection: Connection) -> Iterator[Sample]:
    state = pipeline_figures.audit(connection)
    numbers = {
        "wrdata_audit_last_id": state.last_id,
        "wrdata_audit_chain_valid": state.is_valid,
        "wrdata_audit_anchored_id": state.anchored_id,
    }
    for metric, number in numbers.items():
        if number is not None:
            yield Sample(metric=metric, value=number)
    yield from _moment("wrdata_audit_verified_timestamp_seconds", state.verified_at)
    yield from _moment("wrdata_audit_anchored_timestamp_seconds", state.anchored_at)


def _backups(connection: Connection) -> Iterator[Sample]:
    for kind, at in pipeline_figures.backups(connection).items():
        yield from _moment("wrdata_backup_last_success_timestamp_seconds", at, (kind,))
    drill = pipeline_figures.drill(connection)
    if drill is None:
        return
    yield from _moment("wrdata_restore_drill_last_success_timestamp_seconds", drill.finished_at)
    yield Sample(metric="wrdata_restore_drill_rto_seconds", value=drill.rto_s)
    yield Sample(metric="wrdata_restore_drill_rpo_seconds", value=drill.rpo_s)
    if drill.audit_rows_lost is not None:
        yield Sample(metric="wrdata_restore_drill_audit_rows_lost", value=drill.audit_rows_lost)


def _moment(metric: str, at: datetime | None, labels: Labels = ()) -> Iterator[Sample]:
    """Yield a moment (aware) in seconds since 1970; nothing if there is none."""
    if at is not None:
        yield Sample(metric=metric, labels=labels, value=at.timestamp())

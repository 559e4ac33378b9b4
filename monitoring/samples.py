"""From the figures of a snapshot to samples of the metrics, part by part.

Here: which figure is which metric, with which labels. Not here: the queries
(resources/storage/metrics/), the metrics' names and meanings (metrics.py), or what happens when a
part fails (collector.py).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

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
from resources.storage.metrics.pipeline_figures import LoadTotals, Symbols
from resources.storage.timescale import Connection

Labels = tuple[str, ...]
COVERAGE_SHARE_S = 0.01
TABLES_SHARE_S = 0.005
"""Seconds of a scrape for figures that take turns."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The coverage of a dataset at a provider: None where nothing is expected or kept yet."""

    ratio: float | None
    fresh_until: datetime | None


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
        self._coverage = Rota[tuple[str, str], Coverage](COVERAGE_SHARE_S)
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
            Part.ARCHIVE: _archive,
            Part.TABLES: self._sizes,
            Part.AUDIT: _audit,
        }

    def _datasets(self, connection: Connection) -> Iterator[Sample]:
        """Yield coverage and freshness of what was ever loaded."""
        now = utc_now()
        totals = {
            (total.dataset, total.provider): total
            for total in pipeline_figures.load_totals(connection)
            if total.dataset in DATASETS and total.latest_loaded_at
        }
        ask = partial(self._coverage_of, connection, totals, now)
        for labels, coverage in self._coverage.figures(list(totals), ask).items():
            if coverage.ratio is not None:
                yield Sample(metric="wrdata_coverage_ratio", labels=labels, value=coverage.ratio)
            yield from _moment(
                "wrdata_dataset_fresh_until_timestamp_seconds", coverage.fresh_until, labels
            )

    def _coverage_of(
        self,
        connection: Connection,
        totals: Mapping[tuple[str, str], LoadTotals],
        now: datetime,
        key: tuple[str, str],
    ) -> Coverage:
        name, provider = key
        dataset = DATASETS[name]
        names = list(provider_symbols(dataset, provider))
        symbols = Symbols(kind=dataset.instrument_kind.value, universe=self._universe, names=names)
        if dataset.by_day:
            return _day_coverage(connection, dataset, provider, symbols, now)
        count, fresh = pipeline_figures.snapshot_coverage(
            connection,
            name,
            provider,
            symbols,
            begins=dataset.begins,
            asked_since=_fresh_since(dataset, now),
        )
        latest = totals[key].latest_loaded_at
        return Coverage(
            ratio=_ratio(fresh, _expected(dataset, names, count)),
            fresh_until=latest and latest + dataset.fresh_for,
        )

    def _sizes(self, connection: Connection) -> Iterator[Sample]:
        ask = partial(pipeline_figures.table_size, connection)
        for table, size in self._tables.figures(TABLES, ask).items():
            if size is None:
                continue
            in_bytes, chunks = size
            yield Sample(metric="wrdata_table_size_bytes", labels=(table,), value=in_bytes)
            if chunks is not None:
                yield Sample(metric="wrdata_chunks", labels=(table,), value=chunks)


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


def _day_coverage(
    connection: Connection, dataset: Dataset, provider: str, symbols: Symbols, now: datetime
) -> Coverage:
    days = dataset.day_calendar(calendar())
    counted = pipeline_figures.day_coverage(
        connection,
        dataset.name,
        provider,
        symbols,
        days.between(dataset.begins, days.last_over(now)),
        from_the_first=dataset.usual_days is None,
    )
    expected = _expected(dataset, symbols.names, counted.symbols) * counted.days
    fresh_until = None
    if counted.held_before is not None:
        # It may be a day without a session.
        day_after = days.between(counted.held_before, counted.held_before + NEXT_SESSION_WITHIN)
        fresh_until = days.ends_at(day_after[0])
    return Coverage(
        ratio=_ratio(counted.held, expected - counted.unlisted), fresh_until=fresh_until
    )


def _expected(dataset: Dataset, names: Sequence[str], listed: int) -> int:
    """Return how many symbols a dataset should hold: members, or all that the provider offers."""
    return listed if dataset.instrument_kind is InstrumentKind.EQUITY else len(names)


def _ratio(held: int, expected: int) -> float | None:
    return held / expected if expected > 0 else None


def _fresh_since(dataset: Dataset, now: datetime) -> date:
    """Return the day after which a snapshot has to end, as marketdata.planning decides it."""
    today = now.astimezone(dataset.zone).date()
    return today - timedelta(days=max(dataset.fresh_for.days, 1) - 1)


def _archive(connection: Connection) -> Iterator[Sample]:
    for name, dataset in ARCHIVED.items():
        if dataset.portion is Portion.WHOLE:
            continue
        day = pipeline_figures.first_unarchived(
            connection, name, by_session=name == DAILY_BARS_DATASET
        )
        if day is not None:
            at = datetime.combine(day, time(), UTC)
            yield from _moment("wrdata_archive_oldest_unarchived_timestamp_seconds", at, (name,))


def _audit(connection: Connection) -> Iterator[Sample]:
    state = pipeline_figures.audit(connection)
    if state is None:
        return
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


def _moment(metric: str, at: datetime | None, labels: Labels = ()) -> Iterator[Sample]:
    """Yield a moment (aware) in seconds since 1970; nothing if there is none."""
    if at is not None:
        yield Sample(metric=metric, labels=labels, value=at.timestamp())

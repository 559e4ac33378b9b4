"""Each metric tells what the tables hold."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.calendars import calendar
from marketdata.coverage import CoverageMark, CoverageState, spans_of
from marketdata.datasets import DATASETS
from marketdata.ports import IngestFailure
from marketdata.recovery.request_timings import RequestTimings
from monitoring.metrics import METRICS, OF_THE_EXPORTER, Kind
from monitoring.samples import TABLES
from resources import opening
from resources.settings import read_settings
from resources.storage.batches import BatchStore
from resources.storage.letters.posting import post
from resources.storage.request_leases import RequestLeases
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings
from tests.monitoring.scraping import Answer, scrape
from tests.monitoring.test_requests import requests
from tests.storage.batches import batch
from tests.storage.test_dead_letters import AT_ONCE, letter_about
from usecases.dataset_coverage import dataset_coverage

FIRST = date(2024, 6, 3)
DAILY = {"dataset": "daily_bars", "provider": "fmp"}
AUDIT = """
    insert into audit_log (who, origin, action, subject)
    select 'a test', 'here', 'history_pruned', '' from generate_series(1, 2);
    insert into audit_anchor (anchored_at, audit_id, hash, object_key)
    values ('2026-01-02 03:04:05+00', 1, '', 'x');
    insert into audit_verification (verified_at, valid, through_id, finding)
    values ('2026-01-01 00:00:00+00', true, 1, ''), ('2026-01-02 00:00:00+00', false, 2, 'cut');
"""
"""Two rows of the audit log, an anchor and two verifications."""
BACKUPS = """
    insert into backup_run (kind, label, started_at, finished_at, error) values
    ('full', 'a', '2026-01-01 00:00:00+00', '2026-01-01 01:00:00+00', null),
    ('full', 'b', '2026-01-02 00:00:00+00', '2026-01-02 03:04:05+00', null),
    ('full', null, '2026-01-03 00:00:00+00', '2026-01-03 01:00:00+00', 'failed');
    insert into restore_drill (
        target, started_at, finished_at, backup_label, rpo_s, rto_s, tables_compared,
        rows_compared, audit_rows_lost, error
    ) values
    ('2026-01-02+00', '2026-01-02+00', '2026-01-02 03:04:05+00', 'b', 7, 90, 3, 4, 2, null),
    ('2026-01-03+00', '2026-01-03+00', '2026-01-03 01:00+00', 'b', 8, 99, 3, 4, 0, 'differs');
"""
"""Backups and restore drills, of which the latest failed."""


def load(timescale: Timescale, rows: Mapping[int, Sequence[date]], state: CoverageState) -> None:
    """Store a bar of each day, and mark the days."""
    days = DATASETS["daily_bars"].day_calendar(calendar())
    marks = [
        CoverageMark(instrument_id=key, state=state, spans=spans_of(days, chosen))
        for key, chosen in rows.items()
        if chosen
    ]
    BatchStore(timescale).load(
        batch([(key, day, 10.0) for key, chosen in rows.items() for day in chosen], coverage=marks)
    )


def execute(url: str, statements: str) -> None:
    """Run statements of a test."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def at(answer: Answer, name: str, **labels: str) -> datetime | None:
    """Return a moment that a metric tells."""
    seconds = answer.value(name, **labels)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def in_turn(exporter: str) -> Answer:
    """Return an answer after so many that every figure that takes turns is newer than this call."""
    return [scrape(exporter) for _ in TABLES][-1]


def test_rows_and_batches_are_the_ingest_log_added_up(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A first load, the same again, a restated one, and a failure."""
    store, key = BatchStore(timescale), instrument_ids[0]
    for close in (10.0, 10.0, 11.0):
        store.load(batch([(key, FIRST, close)]))
    store.record_failures([IngestFailure(letter=letter_about("AAA", key))])
    answer = scrape(exporter)

    rows = {
        dict(labels)["result"]: value
        for labels, value in answer.values("wrdata_rows_total").items()
    }
    assert rows == {
        "inserted": 1, "unchanged": 1, "restated": 1, "stale": 0, "rejected": 0, "withdrawn": 0,
    }  # fmt: skip
    assert answer.value("wrdata_batches_total", **DAILY, outcome="loaded") == 3
    assert answer.value("wrdata_batches_total", **DAILY, outcome="failed") == 1


def test_loads_at_the_same_time_are_all_counted(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Eight sessions, 48 commits, and one sum."""
    store = BatchStore(timescale)

    def load_one(number: int) -> None:
        key = instrument_ids[number % 3]
        store.load(batch([(key, FIRST + timedelta(days=number), 10.0)]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(load_one, range(48)))
    answer = scrape(exporter)

    assert answer.value("wrdata_rows_total", **DAILY, result="inserted") == 48
    assert answer.value("wrdata_batches_total", **DAILY, outcome="loaded") == 48


def test_a_load_that_is_undone_is_not_counted(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """The count commits with the rows or not at all."""
    del instrument_ids
    with timescale.connection() as connection:
        connection.execute(
            "insert into ingest_log (dataset, provider, request, run_id, fetched_at, outcome)"
            " values ('daily_bars', 'fmp', '', '', now(), 'loaded')"
        )
        connection.rollback()

    assert scrape(exporter).values("wrdata_batches_total") == {}


def test_letters_that_wait_are_counted_by_state_with_the_oldest_open_one(
    exporter: str, timescale: Timescale
) -> None:
    """Two open, one parked; the one that is done is not told."""
    early, late = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    letters = [
        letter_about("2024-06-03", seen_at=late),
        letter_about("2024-06-04", seen_at=early),
        letter_about("2024-06-05", seen_at=early - timedelta(days=9), parked=True),
    ]
    with timescale.connection() as connection:
        post(connection, letters, AT_ONCE, "a test")
    answer = scrape(exporter)

    counts = {
        dict(labels)["state"]: value
        for labels, value in answer.values("wrdata_dead_letters").items()
    }
    assert counts == {"open": 2, "parked": 1, "retrying": 0}
    oldest = "wrdata_dead_letter_oldest_open_timestamp_seconds"
    assert at(answer, oldest, dataset="daily_bars") == early


@given(
    held=st.lists(st.sets(st.integers(0, 40)), min_size=3, max_size=3),
    empty=st.lists(st.sets(st.integers(0, 40)), min_size=3, max_size=3),
    failed=st.lists(st.sets(st.integers(0, 40)), min_size=3, max_size=3),
    listed_at=st.none() | st.integers(0, 40),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_coverage_is_that_of_wrdata_status(
    exporter: str,
    timescale: Timescale,
    instrument_ids: list[int],
    bucket: BucketSettings,
    held: list[set[int]],
    empty: list[set[int]],
    failed: list[set[int]],
    listed_at: int | None,
) -> None:
    """Any ledger of three members: the same share, which the page cuts to two places."""
    days = calendar().sessions(date(2016, 1, 4), date(2016, 3, 31))
    with timescale.connection() as connection:
        connection.execute("truncate coverage, daily_bar, daily_bar_version, company")
        if listed_at is not None:
            connection.execute(
                "insert into company (instrument_id, name, listed_on, answer, provider, ingest_id,"
                " known_from) values (%s, 'AAA', %s, '{}', 'fmp', 1, now())",
                [instrument_ids[0], days[listed_at]],
            )
    for state, chosen in (
        (CoverageState.COMPLETE, held),
        (CoverageState.PROVIDER_EMPTY, empty),
        (CoverageState.FAILED, failed),
    ):
        marks = [
            CoverageMark(
                instrument_id=key,
                state=state,
                spans=spans_of(
                    DATASETS["daily_bars"].day_calendar(calendar()),
                    [days[place] for place in places],
                ),
            )
            for key, places in zip(instrument_ids, chosen, strict=True)
            if places
        ]
        BatchStore(timescale).load(batch([], coverage=marks))
    shown = scrape(exporter).value("wrdata_coverage_ratio", **DAILY)

    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment(timescale.url, bucket).items():
            patched.setenv(name, value)
        with opening.stores(read_settings()) as stores:
            status = dataset_coverage(stores, DATASETS["daily_bars"], "fmp")
    assert shown is not None
    assert int(shown * 10_000 + 1e-9) / 100 == status.percent


def environment(url: str, bucket: BucketSettings) -> dict[str, str]:
    """Return the variables of an installation on this database and this bucket."""
    return {
        "WRDATA_DATABASE_URL": url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "AWS_REGION": bucket.region,
    }


def test_bars_are_fresh_until_the_next_session_ends(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """The last bar is Friday's: nothing newer can be had before Monday's close."""
    friday = date(2024, 5, 31)
    load(timescale, {instrument_ids[0]: [friday]}, CoverageState.COMPLETE)
    answer = scrape(exporter)

    monday_close = datetime(2024, 6, 3, 20, tzinfo=UTC)
    assert at(answer, "wrdata_dataset_fresh_until_timestamp_seconds", **DAILY) == monday_close


def test_a_snapshot_is_fresh_as_long_as_the_catalogue_says(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Ratios of two of three members, one of them a month old: a third is fresh, for six days."""
    today = datetime.now(UTC).date()
    with timescale.connection() as connection:
        for key, asked in zip(instrument_ids, (today, today - timedelta(days=30)), strict=False):
            connection.execute(
                "insert into coverage (dataset, provider, instrument_id, state, sessions) values"
                " ('ratios', 'fmp', %s, 'complete', datemultirange(daterange('2016-01-04', %s)))",
                [key, asked + timedelta(days=1)],
            )
        connection.execute(
            "insert into ingest_log (dataset, provider, request, run_id, fetched_at, finished_at,"
            " outcome) values ('ratios', 'fmp', '', '', now(), '2026-01-02 03:04:05+00', 'loaded')"
        )
    answer = scrape(exporter)

    ratios = {"dataset": "ratios", "provider": "fmp"}
    assert answer.value("wrdata_coverage_ratio", **ratios) == 1 / 3
    fresh_until = datetime(2026, 1, 8, 3, 4, 5, tzinfo=UTC)
    assert at(answer, "wrdata_dataset_fresh_until_timestamp_seconds", **ratios) == fresh_until


def test_the_first_day_that_no_proof_holds_is_told(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Two years of bars; the archive lacks the first, then has it and lacks a month of the next."""
    days = calendar().sessions(date(2023, 1, 3), date(2024, 12, 31))
    load(timescale, {instrument_ids[0]: days}, CoverageState.COMPLETE)
    name = "wrdata_archive_oldest_unarchived_timestamp_seconds"
    told = [at(in_turn(exporter), name, dataset="daily_bars")]
    for span in ("[2023-01-01,2024-03-01)", "[2024-04-01,2025-01-01)"):
        with timescale.connection() as connection:
            connection.execute(
                "insert into archive_log (dataset, period, span, files, bounds, rows, bytes,"
                " content_digest, column_sha256, schema_fingerprint, snapshot_id, code_version)"
                " values ('daily_bars', 'x', %s, '[]', '{}', 1, 1, '', '{}', '', 1, '')",
                [span],
            )
        told.append(at(in_turn(exporter), name, dataset="daily_bars"))

    assert told == [
        datetime(2023, 1, 3, tzinfo=UTC),
        datetime(2024, 3, 1, tzinfo=UTC),
        datetime(2024, 3, 1, tzinfo=UTC),
    ]


def test_tables_have_a_size_and_hypertables_their_chunks(
    exporter: str, timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Bars of one decade: two or three chunks of five years. A small database is asked for all."""
    days = [date(2015, 1, 5), date(2024, 12, 30)]
    load(timescale, {instrument_ids[0]: days}, CoverageState.COMPLETE)
    answer = in_turn(exporter)

    assert answer.value("wrdata_chunks", table="daily_bar") == 2
    assert answer.value("wrdata_chunks", table="ingest_log") is None
    assert (answer.value("wrdata_table_size_bytes", table="ingest_log") or 0) > 0


def test_runs_queue_and_daemons_are_dagster_s_own(exporter: str, dagster_url: str) -> None:
    """In flight at any age, ended within the hour; times are naive and of UTC there."""
    execute(
        dagster_url,
        """
        insert into runs (run_id, status, create_timestamp, update_timestamp) values
        ('a', 'STARTED', '2026-01-01 00:00:00', '2026-01-01 00:00:00'),
        ('b', 'QUEUED', '2026-01-02 03:04:05', '2026-01-02 03:04:05'),
        ('c', 'QUEUED', '2026-01-02 04:00:00', '2026-01-02 04:00:00'),
        ('d', 'FAILURE', '2026-01-01', now() at time zone 'UTC' - interval '59 minutes'),
        ('e', 'FAILURE', '2026-01-01', now() at time zone 'UTC' - interval '61 minutes');
        insert into daemon_heartbeats (daemon_type, daemon_id, timestamp)
        values ('SENSOR', 'x', '2026-01-02 03:04:05')
        """,
    )
    answer = scrape(exporter)

    runs = {
        dict(labels)["status"]: value
        for labels, value in answer.values("dagster_runs").items()
        if value
    }
    assert runs == {"STARTED": 1, "QUEUED": 2, "FAILURE": 1}
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert at(answer, "dagster_oldest_queued_run_timestamp_seconds") == then
    assert at(answer, "dagster_daemon_heartbeat_timestamp_seconds", daemon="SENSOR") == then


def test_the_audit_log_is_told_once_it_was_verified(exporter: str, migrated_url: str) -> None:
    """Before that its state is absent, and its part has not failed."""
    before = scrape(exporter)
    rows = before.value("wrdata_audit_last_id")
    execute(migrated_url, AUDIT)
    after = scrape(exporter)

    assert rows is not None
    assert before.value("wrdata_audit_chain_valid") is None
    assert before.value("wrdata_exporter_last_scrape_success", part="audit") == 1
    assert after.value("wrdata_audit_last_id") == rows + 2
    assert after.value("wrdata_audit_chain_valid") == 0
    assert after.value("wrdata_audit_anchored_id") == 1
    anchored = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert at(after, "wrdata_audit_anchored_timestamp_seconds") == anchored
    assert at(after, "wrdata_audit_verified_timestamp_seconds") == datetime(2026, 1, 2, tzinfo=UTC)


def test_backups_and_drills_that_failed_are_no_success(exporter: str, migrated_url: str) -> None:
    """Without any the metrics are absent; a later failure does not make an old backup new."""
    before = scrape(exporter)
    execute(migrated_url, BACKUPS)
    after = scrape(exporter)

    assert before.value("wrdata_restore_drill_rto_seconds") is None
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert at(after, "wrdata_backup_last_success_timestamp_seconds", kind="full") == ended
    assert at(after, "wrdata_restore_drill_last_success_timestamp_seconds") == ended
    assert after.value("wrdata_restore_drill_rto_seconds") == 90
    assert after.value("wrdata_restore_drill_rpo_seconds") == 7
    assert after.value("wrdata_restore_drill_audit_rows_lost") == 2


def test_every_declared_metric_is_served_under_its_name_and_labels(
    exporter: str,
    timescale: Timescale,
    instrument_ids: list[int],
    dagster_url: str,
) -> None:
    """Of a database that has something of everything; and nothing is served beyond them."""
    asyncio.run(requests(timescale.url, 2))
    timings = RequestTimings("fmp")
    timings.add_request(0.1, None)
    with RequestLeases(timescale) as leases:
        leases.add_timings((), timings.take())
    load(timescale, {instrument_ids[0]: [FIRST]}, CoverageState.COMPLETE)
    with timescale.connection() as connection:
        post(connection, [letter_about("2024-06-03")], AT_ONCE, "a test")
    execute(timescale.url, AUDIT)
    execute(timescale.url, BACKUPS)
    execute(
        dagster_url,
        "insert into runs (run_id, status) values ('a', 'QUEUED');"
        "insert into daemon_heartbeats (daemon_type, timestamp) values ('SENSOR', now())",
    )
    answer = in_turn(exporter)

    declared = {
        metric.name: metric
        for metrics in (*METRICS.values(), OF_THE_EXPORTER)
        for metric in metrics.values()
    }
    served = {
        f"{family.name}_total" if family.type == Kind.COUNTER else family.name: family
        for family in answer.families
    }
    assert set(served) == set(declared)
    for name, metric in declared.items():
        assert served[name].type == metric.kind
        assert served[name].documentation == metric.about
        for sample in served[name].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_names_keep_prometheus_conventions() -> None:
    """Counters, and nothing else, end in _total; units are base units, moments are timestamps."""
    for metrics in (*METRICS.values(), OF_THE_EXPORTER):
        for metric in metrics.values():
            assert re.fullmatch(r"(wrdata|dagster)(_[a-z]+)+", metric.name)
            assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
            assert not re.search(r"_(ms|milliseconds|minutes|percent|mb|age|count)$", metric.name)
            if metric.kind is Kind.HISTOGRAM or "timestamp" in metric.name:
                assert metric.name.endswith("_seconds")
            assert metric.about.endswith(".")

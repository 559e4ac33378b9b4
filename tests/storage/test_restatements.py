"""How old bars were when they were corrected, counted in a real database."""

from datetime import UTC, date, datetime, timedelta

import psycopg

from marketdata.calendars import calendar, utc_now
from resources.storage.aggregates.sessions import keep_sessions
from resources.storage.batches import BatchStore
from resources.storage.ledger.ingest_log import IngestLog, Restatements
from resources.storage.timescale import Timescale
from tests.storage.batches import batch

FRIDAY = date(2024, 11, 29)
"""A half day: it ended at 13:00 in New York, which is 18:00 UTC."""
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


def test_corrections_are_counted_by_the_age_of_their_bar(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """By the run as well; the calendar says when a session ended, half days included."""
    first, second, _ = instrument_ids
    bars = BatchStore(timescale)
    bars.load(batch([(first, FRIDAY, 10.0), (second, FRIDAY, 10.0)]))
    bars.load(
        batch(
            [(first, FRIDAY, 11.0), (second, FRIDAY, 10.0)],
            fetched_at=utc_now() - timedelta(hours=1),
        )
    )
    bars.load(batch([(second, FRIDAY, 11.0)], fetched_at=utc_now()))
    with psycopg.connect(migrated_url) as connection:
        for instrument_id, after in ((first, "3 hours 59 minutes"), (second, "17 hours")):
            connection.execute(
                """update daily_bar_version
                set known_from = '2024-11-29 18:00Z',
                    known_to = '2024-11-29 18:00Z'::timestamptz + %s::interval
                where instrument_id = %s""",
                (after, instrument_id),
            )
    log = IngestLog(timescale)
    # Until the calendar has been written, a session ends at 16:00 in New York.
    assert [(restated.age, restated.rows) for restated in log.restatements(LONG_AGO)] == [
        ("+0h", 1),
        ("+4h", 1),
    ]

    keep_sessions(timescale, calendar())

    expected = [
        Restatements(dataset="daily_bars", age="+1h", rows=1),
        Restatements(dataset="daily_bars", age="+16h", rows=1),
    ]
    assert log.restatements(LONG_AGO) == expected
    assert log.restatements(LONG_AGO, run_id="run-1") == expected
    assert log.restatements(LONG_AGO, run_id="another") == []
    assert log.restatements(datetime(2024, 11, 30, tzinfo=UTC)) == [expected[1]]

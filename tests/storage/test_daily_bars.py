"""The loader on a real TimescaleDB."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

import psycopg
import pyarrow as pa
import pytest
from psycopg.rows import TupleRow

from marketdata.bars import Adjustment
from marketdata.batches import letters_of_rows
from marketdata.calendars import utc_now
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, IngestFailure, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work
from marketdata.rows import unread
from resources.storage.batches import BatchStore
from resources.storage.ledger.coverage import CoverageLedger
from resources.storage.timescale import Timescale
from tests.storage.batches import DATASET, FETCHED_AT, NOTHING_ASKED, PROVIDER, bars, batch

MONDAY = date(2024, 6, 3)
TUESDAY = MONDAY + timedelta(days=1)


def rows_of(url: str, query: str) -> list[TupleRow]:
    """Return what a query finds, outside the pool under test."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()  # pyright: ignore[reportArgumentType,reportCallIssue] a test's own text


def test_new_equal_and_restated_rows_are_told_apart(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A second batch inserts what is new, leaves what is equal, restates what differs."""
    first, second, _ = instrument_ids
    store = BatchStore(timescale)
    store.load(batch([(first, MONDAY, 10.0), (second, MONDAY, 20.0)]))

    result = store.load(
        batch([(first, MONDAY, 10.0), (second, MONDAY, 21.0), (second, TUESDAY, 22.0)])
    )

    assert LoadResult(inserted=1, unchanged=1, restated=1) == result


def test_the_same_batch_again_changes_nothing(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """A repeated batch leaves every row where it was: not even a tuple is rewritten."""
    share = instrument_ids[0]
    store = BatchStore(timescale)
    again = batch([(share, MONDAY, 10.0), (share, TUESDAY, 11.0)])
    store.load(again)
    before = rows_of(migrated_url, "select ctid, xmin::text, xmax::text, * from daily_bar")

    result = store.load(again)

    assert LoadResult(inserted=0, unchanged=2, restated=0) == result
    assert before == rows_of(migrated_url, "select ctid, xmin::text, xmax::text, * from daily_bar")


def test_a_restated_bar_keeps_its_old_version(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """The replaced values are kept, valid up to the moment from which the new ones are."""
    share = instrument_ids[0]
    store = BatchStore(timescale)
    store.load(batch([(share, MONDAY, 10.0)]))
    store.load(batch([(share, MONDAY, 12.5)]))

    versions = rows_of(
        migrated_url,
        """select version.close, bar.close, version.known_to = bar.known_from,
               version.replaced_by_ingest_id = bar.ingest_id
           from daily_bar_version as version join daily_bar as bar
           using (instrument_id, session_date)""",
    )

    assert versions == [(10.0, 12.5, True, True)]


def test_another_adjustment_is_a_restatement(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Equal prices under another adjustment mean something else."""
    row = (instrument_ids[0], MONDAY, 10.0)
    store = BatchStore(timescale)
    store.load(batch([row], adjustment=Adjustment.SPLITS))

    result = store.load(batch([row], adjustment=Adjustment.AS_TRADED))

    assert result.restated == 1


def test_another_provider_with_equal_values_changes_nothing(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """The provider is no part of the comparison."""
    row = (instrument_ids[0], MONDAY, 10.0)
    store = BatchStore(timescale)
    store.load(batch([row], provider="fmp"))

    assert store.load(batch([row], provider="polygon")).unchanged == 1


def test_an_older_answer_does_not_replace_a_newer_one(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """An answer fetched before the stored one, but loaded after it, is stale where it differs."""
    share = instrument_ids[0]
    store = BatchStore(timescale)
    store.load(batch([(share, MONDAY, 12.5)]))

    result = store.load(
        batch([(share, MONDAY, 10.0)], fetched_at=FETCHED_AT - timedelta(minutes=5))
    )

    assert LoadResult(inserted=0, unchanged=1, restated=0) == result
    assert rows_of(migrated_url, "select close from daily_bar") == [(12.5,)]
    assert rows_of(migrated_url, "select rows_stale from ingest_log order by ingest_id") == [
        (0,),
        (1,),
    ]


def test_the_log_keeps_what_an_answer_notes_and_counts_refused_rows_by_the_row(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """A letter stands for as many rows as were refused for its reason."""
    rows = unread("{}", what="of many")
    letter = next(
        letters_of_rows(
            Answer(
                rows=bars([]), request="asked", content_sha256="0", fetched_at=FETCHED_AT,
                requests=1, left_out=(rows,) * 3,
            ),
            (),
            [ListedInstrument(instrument_id=instrument_ids[0], ticker="AAA", symbol="AAA")],
            NOTHING_ASKED,
            ("daily_bars", "fmp"),
            "run-1",
        )
    )  # fmt: skip
    noted = replace(batch([], letters=[letter]), notes=("klines have 13 fields, 12 are known",))
    BatchStore(timescale).load(noted)
    assert rows_of(migrated_url, "select rows_rejected, notes from ingest_log") == [
        (3, ["klines have 13 fields, 12 are known"])
    ]
    assert rows_of(migrated_url, "select subject from dead_letter") == [
        ("AAA rows: the row cannot be placed",)
    ]


def test_the_log_counts_what_the_load_did(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """The log row of a batch of one instrument names it and has the counts."""
    share = instrument_ids[0]
    BatchStore(timescale).load(batch([(share, MONDAY, 10.0), (share, TUESDAY, 11.0)]))

    logged = rows_of(
        migrated_url,
        """select outcome::text, instrument_id, rows_inserted, provider, run_id, fetched_at,
               adjustment::text, finished_at > fetched_at
           from ingest_log""",
    )

    assert [("loaded", share, 2, "fmp", "run-1", FETCHED_AT, "splits", True)] == logged


def test_a_failed_load_leaves_nothing(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """A batch that breaks a constraint half-way stores no bar, no mark and no log row."""
    share = instrument_ids[0]
    mark = CoverageMark(
        instrument_id=share, state=CoverageState.COMPLETE, spans=((MONDAY, TUESDAY),)
    )

    with pytest.raises(errors.StorageConflictError, match="daily_bar_prices_are_in_order"):
        BatchStore(timescale).load(
            batch([(share, MONDAY, 10.0), (share, TUESDAY, 1.0)], coverage=[mark])
        )

    for table in ("daily_bar", "coverage", "ingest_log", "daily_bar_invalidation"):
        assert rows_of(migrated_url, f"select count(*) from {table}") == [(0,)]  # noqa: S608


def test_an_unknown_instrument_is_refused(timescale: Timescale) -> None:
    """Bars need an instrument; the message says which ids and what to do."""
    with pytest.raises(errors.StorageConflictError, match=r"\(999\): load the universe first"):
        BatchStore(timescale).load(batch([(999, MONDAY, 10.0)]))


def test_a_repeated_key_is_refused(timescale: Timescale, instrument_ids: list[int]) -> None:
    """Two rows of one key have no order, so neither wins."""
    share = instrument_ids[0]

    with pytest.raises(errors.StorageConflictError, match="batch of daily_bars repeats a key"):
        BatchStore(timescale).load(batch([(share, MONDAY, 10.0), (share, MONDAY, 11.0)]))


def test_other_columns_are_refused(timescale: Timescale, instrument_ids: list[int]) -> None:
    """A table that is not DAILY_BARS is refused before anything is sent."""
    wrong = batch([(instrument_ids[0], MONDAY, 10.0)])
    narrow = bars([(instrument_ids[0], MONDAY, 10.0)]).drop_columns(["volume"])
    object.__setattr__(wrong, "rows", narrow)

    with pytest.raises(errors.StorageConflictError, match="a batch of daily_bars has the columns"):
        BatchStore(timescale).load(wrong)


def test_an_empty_batch_still_marks_and_logs(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """An empty answer is knowledge too."""
    share = instrument_ids[0]
    mark = CoverageMark(
        instrument_id=share, state=CoverageState.PROVIDER_EMPTY, spans=((MONDAY, TUESDAY),)
    )

    result = BatchStore(timescale).load(batch([], coverage=[mark], fetched_at=utc_now()))

    assert LoadResult(inserted=0, unchanged=0, restated=0) == result
    ledger = CoverageLedger(timescale).ledger(DATASET, PROVIDER, [share])
    assert {share: {CoverageState.PROVIDER_EMPTY: [(MONDAY, TUESDAY)]}} == ledger
    assert rows_of(migrated_url, "select count(*) from ingest_log") == [(1,)]


def test_two_loaders_of_the_same_instruments_lose_nothing(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """Loads in parallel end as some order of them would: every value is current or a version."""
    store = BatchStore(timescale)
    first, second, third = instrument_ids

    def load(close: float) -> LoadResult:
        return store.load(
            batch([(first, MONDAY, close), (second, MONDAY, close), (third, TUESDAY, 9)])
        )

    closes = [10.0 + number for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(load, closes))

    assert sum(result.inserted for result in results) == 3
    assert sum(result.restated for result in results) == 2 * 11
    for instrument_id in (first, second):
        seen = rows_of(
            migrated_url,
            f"""select close, known_from, known_to from daily_bar_version
                where instrument_id = {instrument_id}
                union all select close, known_from, null from daily_bar
                where instrument_id = {instrument_id} order by known_from""",  # noqa: S608
        )
        assert sorted(closes) == sorted(row[0] for row in seen)
        assert [row[1] for row in seen[1:]] == [row[2] for row in seen[:-1]]


def test_a_failure_is_logged_and_marked(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """A failed request leaves its reason and the unknown days."""
    share = instrument_ids[0]
    letter = DeadLetter(
        dataset=DATASET,
        provider="fmp",
        work=Work.INSTRUMENT,
        subject="AAA",
        instrument_id=share,
        error_class="RateLimitedError",
        message="429",
        request="historical-price-eod/full AAA",
        run_id="run-1",
        raw_answers=(),
        details={"start": MONDAY.isoformat(), "end": MONDAY.isoformat()},
        seen_at=FETCHED_AT,
        parked=False,
    )
    failure = IngestFailure(
        letter=letter,
        coverage=(
            CoverageMark(
                instrument_id=share, state=CoverageState.FAILED, spans=((MONDAY, TUESDAY),)
            ),
        ),
    )

    BatchStore(timescale).record_failures([failure])

    ledger = CoverageLedger(timescale).ledger(DATASET, PROVIDER, [share])
    assert {share: {CoverageState.FAILED: [(MONDAY, TUESDAY)]}} == ledger
    assert [("failed", "RateLimitedError", share)] == rows_of(
        migrated_url, "select outcome::text, error_class, instrument_id from ingest_log"
    )
    assert [("open", "AAA")] == rows_of(
        migrated_url, "select state::text, subject from dead_letter"
    )


def test_a_request_that_was_never_sent_is_no_failed_request(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """It waits in a letter; the log of requests and the ledger say nothing of it."""
    share = instrument_ids[0]
    letter = DeadLetter(
        dataset=DATASET,
        provider="fmp",
        work=Work.INSTRUMENT,
        subject="AAA",
        instrument_id=share,
        error_class="CircuitOpenError",
        message="not sent",
        request="AAA",
        run_id="run-1",
        raw_answers=(),
        details={},
        seen_at=FETCHED_AT,
        parked=False,
        deferred=True,
    )

    BatchStore(timescale).record_failures([IngestFailure(letter=letter)])

    assert rows_of(migrated_url, "select 1 from ingest_log") == []
    assert CoverageLedger(timescale).ledger(DATASET, PROVIDER, [share]) == {share: {}}
    assert [(True,)] == rows_of(migrated_url, "select deferred from dead_letter")


def test_no_failures_are_nothing_to_record(timescale: Timescale) -> None:
    """An empty list needs no transaction."""
    BatchStore(timescale).record_failures([])


def test_sessions_of_many_years_land_in_their_chunks(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A history over several chunks is inserted, found equal, and restated across them."""
    share = instrument_ids[0]
    days = [date(year, 3, 1) for year in range(2006, 2026)]
    store = BatchStore(timescale)
    first = store.load(batch([(share, day, 10.0) for day in days]))
    second = store.load(batch([(share, day, 10.0 + (day.year % 2)) for day in days]))

    assert (first.inserted, second.unchanged, second.restated) == (20, 10, 10)
    assert pa.types.is_date32(bars([]).schema.field("session_date").type)

"""Missing bars in a read: a partial read always warns or fails."""

import warnings
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from pydantic import SecretStr

from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageMark, CoverageState, Span
from marketdata.datasets import InstrumentKind
from resources.reading.missing import expected_days
from resources.reading.request import parse_request
from resources.settings import StoreSettings
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.ledger.coverage import apply_marks
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings
from tests.storage.batches import PROVIDER, batch
from wrdata import MissingBarsError, MissingBarsWarning, coverage, read_bars

LAST = calendar().sessions(date(2024, 11, 1), date(2024, 11, 29))[-9:]
"""Nine sessions of a November."""
FIRST, END = LAST[0], date(2024, 11, 29)
AFTER = calendar().next_session(END)


@pytest.fixture
def where(migrated_url: str, bucket: BucketSettings) -> StoreSettings:
    """Where this test's data are."""
    return StoreSettings(
        database_url=SecretStr(migrated_url),
        s3_endpoint=bucket.endpoint,
        archive_bucket=bucket.bucket,
        s3_region=bucket.region,
        s3_access_key=SecretStr(bucket.access_key),
        s3_secret_key=SecretStr(bucket.secret_key),
    )


def load(timescale: Timescale, instrument_id: int, days: list[date]) -> None:
    """Store a bar of each day, with its coverage."""
    spans = tuple((day, calendar().next_session(day)) for day in days)
    mark = CoverageMark(instrument_id=instrument_id, state=CoverageState.COMPLETE, spans=spans)
    BatchStore(timescale).load(batch([(instrument_id, day, 10.0) for day in days], coverage=[mark]))


def mark(timescale: Timescale, instrument_id: int, state: CoverageState, *spans: Span) -> None:
    """Mark days in the ledger of FMP's daily bars."""
    marks = [CoverageMark(instrument_id=instrument_id, state=state, spans=spans)]
    with timescale.connection() as connection:
        apply_marks(connection, "daily_bars", PROVIDER, marks, asked_at=utc_now())


def warned(where: StoreSettings, *arguments: object, **named: object) -> tuple[pa.Table, str]:
    """Read, and return the bars and the warning about missing ones."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        bars = read_bars(*arguments, settings=where, **named)  # pyright: ignore[reportArgumentType]
    assert all(issubclass(warning.category, MissingBarsWarning) for warning in said)
    return bars, " ".join(str(warning.message) for warning in said)


def test_nine_bars_of_last_month_are_not_told_as_five_years(
    timescale: Timescale, instrument_ids: list[int], where: StoreSettings
) -> None:
    """They are returned, with a warning of how many are missing, why, and the cure."""
    load(timescale, instrument_ids[0], LAST)
    start = date(2020, 1, 1)
    wanted = calendar().sessions(start, END)

    bars, said = warned(where, "AAA", start, END)

    assert bars.num_rows == 9
    assert f"AAA lacks {len(wanted) - 9:,} of {len(wanted):,} days of daily_bars" in said
    assert "from 2020-01-02 to 2024-11-15 (never asked for)" in said
    assert "wrdata backfill daily_bars --tickers AAA" in said
    assert warned(where, "AAA", start, END, "1mo")[1] == said, "months are made of days"


def test_a_read_can_insist_on_all_bars_or_do_without_a_word(
    timescale: Timescale, instrument_ids: list[int], where: StoreSettings
) -> None:
    """An error on request; a warning carries the days."""
    load(timescale, instrument_ids[0], LAST)

    with pytest.raises(MissingBarsError, match="AAA lacks 1 of 10 days"):
        read_bars("AAA", date(2024, 11, 15), END, missing="raise", settings=where)
    assert warned(where, "AAA", "2020-01-01", END, missing="ignore")[1] == ""
    assert warned(where, "AAA", FIRST, END, missing="raise")[1] == ""
    with pytest.warns(MissingBarsWarning) as said:
        read_bars("AAA", date(2024, 11, 15), END, settings=where)
    (span,) = said[0].message.spans  # pyright: ignore[reportAttributeAccessIssue]
    assert (span.ticker, span.first_day, span.days) == ("AAA", date(2024, 11, 15), 1)


def test_an_instrument_of_which_nothing_was_ever_loaded_is_named(
    timescale: Timescale, instrument_ids: list[int], where: StoreSettings
) -> None:
    """An empty frame is no answer to a question about prices; nor is one without that ticker."""
    load(timescale, instrument_ids[0], LAST)

    bars, said = warned(where, ["AAA", "BBB"])

    assert set(bars["ticker"].to_pylist()) == {"AAA"}
    sessions = calendar().sessions(HISTORY_START, calendar().last_closed(utc_now()))
    assert f"BBB has none of {len(sessions):,} days of daily_bars from 2016-01-04" in said
    assert "AAA lacks" in said, "a request without an end reads until today"
    assert f"from {AFTER}" in said, "and without a start for the oldest bar"


def test_what_was_not_listed_is_not_missing(
    timescale: Timescale, instrument_ids: list[int], where: StoreSettings
) -> None:
    """Days that the provider lacked, refused or failed to send are, with the reason."""
    share = instrument_ids[0]
    load(timescale, share, LAST)
    mark(timescale, share, CoverageState.PROVIDER_EMPTY, (HISTORY_START, FIRST))
    assert "the provider had none" in warned(where, "AAA", "2020-01-01", END)[1]

    with timescale.connection() as connection:
        connection.execute(
            """insert into company
            (instrument_id, name, listed_on, answer, provider, ingest_id, known_from)
            values (%s, 'A company', %s, '{}', 'fmp', 1, now())""",
            (share, FIRST),
        )

    assert warned(where, "AAA", "2020-01-01", END)[1] == ""


def test_coverage_says_of_each_day_whether_it_is_held_and_why_not(
    timescale: Timescale, instrument_ids: list[int], where: StoreSettings
) -> None:
    """For any provider; archived days count as held."""
    share = instrument_ids[0]
    load(timescale, share, LAST)
    mark(timescale, share, CoverageState.ARCHIVED, (LAST[0], LAST[2]))
    mark(timescale, share, CoverageState.FAILED, (date(2024, 11, 14), LAST[0]))
    with timescale.connection() as connection:
        other = CoverageMark(
            instrument_id=share,
            state=CoverageState.COMPLETE,
            spans=((date(2024, 11, 13), date(2024, 11, 14)),),
        )
        apply_marks(connection, "daily_bars", "tiingo", [other], asked_at=utc_now())

    spans = coverage("AAA", date(2015, 12, 31), END, settings=where).to_pylist()
    of_fmp = coverage("AAA", "2024-11-13", "2024-11-13", provider="fmp", settings=where)

    assert [(row["first_day"], row["last_day"], row["days"], row["state"]) for row in spans] == [
        (date(2015, 12, 31), date(2015, 12, 31), 1, "before_history"),
        (HISTORY_START, date(2024, 11, 12), 2231, "never_asked_for"),
        (date(2024, 11, 13), date(2024, 11, 13), 1, "held"),
        (date(2024, 11, 14), date(2024, 11, 15), 2, "failed"),
        (LAST[0], END, 9, "held"),
    ]
    assert {row["dataset"] for row in spans} == {"daily_bars"}
    assert of_fmp["state"].to_pylist() == ["never_asked_for"]


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_bars_of_a_pair_are_missing_by_days_of_utc(
    timescale: Timescale, where: StoreSettings, interval: str
) -> None:
    """They are all made of minutes."""
    (pair,) = InstrumentStore(timescale).register("pair", {"BTC-USD": "b"}, END).values()
    complete = CoverageMark(
        instrument_id=pair,
        state=CoverageState.COMPLETE,
        spans=((date(2024, 11, 2), date(2024, 11, 4)),),
    )
    with timescale.connection() as connection:
        apply_marks(connection, "crypto_bars", "coinbase", [complete], asked_at=utc_now())

    said = warned(where, "BTC-USD", "2024-11-01", "2024-11-05", interval)[1]

    assert "BTC-USD lacks 3 of 5 days of crypto_bars from 2024-11-01 to 2024-11-05" in said
    assert warned(where, "BTC-USD", "2024-11-02", "2024-11-03", interval)[1] == ""


def test_a_day_that_is_not_over_is_not_missing() -> None:
    """It may grow until midnight in UTC."""
    today = datetime.now(UTC).date()
    reading = parse_request("BTC-USD", today, today, "1m", None, None, None)

    assert expected_days(reading, InstrumentKind.PAIR) == []

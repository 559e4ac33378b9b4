"""The checks' queries on a real database."""

from datetime import date

import psycopg

from resources.storage.batches import BatchStore
from resources.storage.quality import BarTotals, QualityQueries
from resources.storage.timescale import Timescale
from tests.storage.batches import batch

FRIDAY, SATURDAY, MONDAY = date(2024, 5, 31), date(2024, 6, 1), date(2024, 6, 3)


def test_clean_bars_raise_no_suspicion(timescale: Timescale, instrument_ids: list[int]) -> None:
    """Every query finds nothing, and the totals count."""
    store, quality = BatchStore(timescale), QualityQueries(timescale)
    assert quality.totals() == BarTotals(
        rows=0, instruments=0, first_session=None, last_session=None, versions=0
    )
    store.load(
        batch(
            [
                (instrument_id, day, 10.0)
                for instrument_id in instrument_ids
                for day in (FRIDAY, MONDAY)
            ]
        )
    )
    store.load(batch([(instrument_ids[0], FRIDAY, 11.0)]))

    assert quality.ohlc_violations().count == 0
    assert quality.duplicates().count == 0
    assert quality.strangers([FRIDAY, MONDAY]).count == 0
    assert quality.strangers([]).count == 0
    assert quality.totals() == BarTotals(
        rows=6, instruments=3, first_session=FRIDAY, last_session=MONDAY, versions=1
    )


def test_a_bar_on_no_session_is_found(timescale: Timescale, instrument_ids: list[int]) -> None:
    """A Saturday's bar between two sessions is named with its ticker and weekday."""
    share = instrument_ids[0]
    BatchStore(timescale).load(batch([(share, day, 10.0) for day in (FRIDAY, SATURDAY, MONDAY)]))

    strangers = QualityQueries(timescale).strangers([FRIDAY, MONDAY])

    assert strangers.count == 1
    sample = strangers.sample[0]
    assert (sample.ticker, sample.session_date, sample.detail) == ("AAA", SATURDAY, "Saturday")


def test_contradicting_prices_are_found(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """The constraint refuses them; the query finds them once it is dropped."""
    BatchStore(timescale).load(batch([(instrument_ids[0], MONDAY, 10.0)]))
    with psycopg.connect(migrated_url) as connection:
        connection.execute("alter table daily_bar drop constraint daily_bar_prices_are_in_order")
        connection.execute("update daily_bar set low = 50")

    violations = QualityQueries(timescale).ohlc_violations()

    assert violations.count == 1
    assert violations.sample[0].detail == "open 9, high 11, low 50, close 10"


def test_two_instruments_under_one_ticker_are_found(
    timescale: Timescale, instrument_ids: list[int], migrated_url: str
) -> None:
    """The exclusion constraint refuses them; the query finds them once it is dropped."""
    first, second, _ = instrument_ids
    BatchStore(timescale).load(batch([(first, MONDAY, 10.0), (second, MONDAY, 20.0)]))
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "alter table instrument_ticker drop constraint instrument_ticker_belongs_to_one"
        )
        connection.execute("update instrument_ticker set ticker = 'AAA' where ticker = 'BBB'")

    duplicates = QualityQueries(timescale).duplicates()

    assert duplicates.count == 1
    assert (duplicates.sample[0].ticker, duplicates.sample[0].session_date) == ("AAA", MONDAY)
    assert duplicates.sample[0].detail == f"instruments {first}, {second}"

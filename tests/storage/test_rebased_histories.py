"""Re-based histories are stored whole or not at all."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.datasets import DATASETS
from marketdata.ports import Batch
from marketdata.recovery import errors
from resources.storage.batches import BatchStore
from resources.storage.timescale import Timescale
from tests.storage.batches import batch

LAST = date(2024, 6, 17)
DAYS = [date(2024, 6, 3) + timedelta(days=at) for at in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11)]
LATER = datetime(2024, 6, 20, 22, tzinfo=UTC)


def history(
    instrument_id: int,
    days: list[date],
    *,
    factor: float = 1.0,
    joins: bool = True,
    adjustment: Adjustment = Adjustment.SPLITS,
    fetched_at: datetime = LATER,
    provider: str = "fmp",
) -> Batch:
    """Return bars near 66 dollars in cents, with prices multiplied by ``factor``."""
    rows = [
        {
            "instrument_id": instrument_id,
            "session_date": day,
            "open": round((66.22 + day.day / 10) * factor, 2),
            "high": round((67.91 + day.day / 10) * factor, 2),
            "low": round((65.03 + day.day / 10) * factor, 2),
            "close": round((66.87 + day.day / 10) * factor, 2),
            "volume": 1_000_000.0 / factor,
        }
        for day in days
    ]
    given = batch([], adjustment=adjustment, fetched_at=fetched_at, provider=provider)
    return replace(given, rows=pa.Table.from_pylist(rows, DAILY_BARS), joins_history=joins)


def closes(timescale: Timescale) -> list[float]:
    """Return what readers see, oldest first."""
    with timescale.connection() as connection:
        rows = connection.execute("select close from daily_bar order by session_date").fetchall()
    return [row[0] for row in rows]


def test_a_day_restated_by_a_ratio_is_refused_and_the_whole_history_is_taken(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """After 4:1 the last session alone comes: 66.87 and 16.72 never stand side by side."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS))
    before = closes(timescale)
    for joins in (True, False):
        with pytest.raises(errors.HistoryRebasedError, match=r"restated by a factor of 0\.25"):
            store.load(history(share, DAYS[-1:], factor=0.25, joins=joins))
        assert closes(timescale) == before

    assert store.load(history(share, DAYS, factor=0.25)).restated == len(DAYS)

    assert closes(timescale) == pytest.approx([price / 4 for price in before], abs=0.005)


def test_all_but_one_day_of_a_re_based_history_is_refused(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A plan that shows five years of ten leaves the older ones in the old shares."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS))
    with pytest.raises(errors.HistoryRebasedError):
        store.load(history(share, DAYS[1:], factor=0.25, joins=False))


@pytest.mark.parametrize("factor", [1 / 3, 2 / 3, 8.0, 20 / 21])
def test_every_usual_ratio_is_told_from_rounding(
    timescale: Timescale, instrument_ids: list[int], factor: float
) -> None:
    """Down to a stock dividend of five percent, at prices in cents."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS))
    with pytest.raises(errors.HistoryRebasedError) as refused:
        store.load(history(share, DAYS[-1:], factor=factor))
    assert refused.value.instrument_ids == (share,)


def test_prices_that_fall_alike_while_volume_does_too_are_no_other_share(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A split would raise volumes; where volumes are unchanged, prices decide."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS))
    for day, volume, is_rebased in ((DAYS[-1], 900_000.0, False), (DAYS[-2], 1_000_000.0, True)):
        batch = history(share, [day], factor=0.98)
        place = batch.rows.schema.get_field_index("volume")
        column = DAILY_BARS.field("volume"), pa.array([volume])
        batch = replace(batch, rows=batch.rows.set_column(place, *column))
        if is_rebased:
            with pytest.raises(errors.HistoryRebasedError):
                store.load(batch)
        else:
            assert store.load(batch).restated == 1


def test_a_correction_of_one_price_is_no_other_share(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Nor is one of all four by different amounts."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS))
    right = history(share, DAYS[-1:])
    for column, by in (("close", -0.5), ("open", 0.75), ("low", -3.0)):
        place = right.rows.schema.get_field_index(column)
        mended = pa.array([right.rows[column][0].as_py() + by])
        right = replace(right, rows=right.rows.set_column(place, DAILY_BARS.field(column), mended))
        assert store.load(right).restated == 1


@pytest.mark.parametrize("days", [[LAST], [date(2024, 5, 31)], [date(2024, 5, 31), LAST]])
def test_a_new_day_in_other_shares_is_refused_too(
    timescale: Timescale, instrument_ids: list[int], days: list[date]
) -> None:
    """It restates nothing: the neighbouring stored bar shows it."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS))
    with pytest.raises(errors.HistoryRebasedError, match="times the stored one beside it"):
        store.load(history(share, days, factor=0.25))
    assert store.load(history(share, days)).inserted == len(days)


def test_a_new_day_after_a_known_split_waits_for_the_whole_history(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A stock dividend of five percent is no jump, but its ex-date has come since."""
    share, store = instrument_ids[0], BatchStore(timescale)
    with timescale.connection() as connection:
        row = connection.execute("select clock_timestamp()::date").fetchone()
    assert row is not None
    today = row[0]
    days = [today - timedelta(days=at) for at in range(9, 2, -1)]
    store.load(history(share, days))
    with timescale.connection() as connection:
        connection.execute("update daily_bar set known_from = known_from - interval '6 days'")
    ex_date = today - timedelta(days=2)
    split = {
        "instrument_id": share,
        "ex_date": ex_date,
        "new_shares": Decimal(21),
        "old_shares": Decimal(20),
        "kind": None,
    }
    rows = pa.Table.from_pylist([split], DATASETS["splits"].table_schema)
    given = replace(batch([]), dataset="splits", adjustment=None, rows=rows)
    store.load(replace(given, fetched_at=datetime.now(UTC)))

    now = datetime.now(UTC)
    with pytest.raises(errors.HistoryRebasedError, match=f"split on {ex_date}"):
        store.load(history(share, [ex_date], factor=20 / 21, fetched_at=now))
    all_days = [*days, ex_date]
    whole = store.load(history(share, all_days, factor=20 / 21, fetched_at=now, joins=False))
    assert whole.rows == len(all_days)
    assert store.load(history(share, [today], factor=20 / 21, fetched_at=now)).inserted == 1


def test_as_traded_bars_are_in_the_shares_of_their_day(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """They jump over a split, and are right."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS, adjustment=Adjustment.AS_TRADED, provider="polygon"))
    new = history(share, [LAST], factor=0.25, adjustment=Adjustment.AS_TRADED, provider="polygon")
    assert store.load(new).inserted == 1


def test_an_older_answer_in_the_old_shares_restates_nothing(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """It came before the one that is stored: it is stale, and no reason to ask."""
    share, store = instrument_ids[0], BatchStore(timescale)
    store.load(history(share, DAYS, factor=0.25))
    old = history(share, DAYS[-1:], fetched_at=LATER - timedelta(days=1))
    assert store.load(old).restated == 0


def test_others_of_a_market_day_are_named_apart(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """The error names exactly those that were re-based; the rest of the batch is loadable."""
    first, second, _ = instrument_ids
    store = BatchStore(timescale)
    for instrument_id in (first, second):
        store.load(history(instrument_id, DAYS))
    day = history(first, [LAST], factor=0.25)
    both = replace(day, rows=pa.concat_tables([day.rows, history(second, [LAST]).rows]))
    with pytest.raises(errors.HistoryRebasedError) as refused:
        store.load(both)
    assert refused.value.instrument_ids == (first,)
    left = both.without(refused.value.instrument_ids)
    assert store.load(left).inserted == 1

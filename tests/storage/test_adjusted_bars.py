"""Prices adjusted for splits and dividends, from stored bars and actions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from marketdata.actions import (
    WIRE_DIVIDENDS,
    WIRE_SPLITS,
    numbered,
    validate_dividends,
)
from marketdata.bars import DAILY_BARS, WIRE_BARS, Adjustment
from marketdata.datasets import DATASETS
from marketdata.distributions import DividendVerdict, Rate
from marketdata.ports import LoadResult
from marketdata.recovery import errors
from marketdata.split_checks import SplitVerdict
from resources.storage.adjusted_bars import AdjustedBars, read_adjusted_bars
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from sandbox.simulators.fmp.actions import endpoints
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import Bars, World
from tests.storage.batches import batch

NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
FIRST, LAST = date(2006, 1, 1), date(2026, 8, 4)
RAW, SPLITS, BOTH = Adjustment.AS_TRADED, Adjustment.SPLITS, Adjustment.SPLITS_AND_DIVIDENDS
SPLIT_ON = date(2020, 8, 31)
"""Apple's real ex-date."""


def load_bars(
    timescale: Timescale, instrument_id: int, bars: Bars, adjustment: Adjustment
) -> LoadResult:
    """Store bars of the world."""
    columns = [bars.opens, bars.highs, bars.lows, bars.closes, bars.volumes.astype(np.float64)]
    rows = pa.table(
        [
            pa.array([instrument_id] * len(bars.dates), pa.int64()),
            pa.array(bars.dates, pa.date32()),
            *(pa.array(column) for column in columns),
        ],
        schema=DAILY_BARS,
    )
    return BatchStore(timescale).load(replace(batch([], adjustment=adjustment), rows=rows))


def load_actions(
    timescale: Timescale, dataset: str, instrument_id: int, wire_rows: pa.Table
) -> LoadResult:
    """Store splits or dividends."""
    wire_rows = numbered(wire_rows) if dataset == "dividends" else wire_rows
    named = pa.array([instrument_id] * wire_rows.num_rows, pa.int64())
    rows = wire_rows.set_column(0, pa.field("instrument_id", pa.int64(), nullable=False), named)
    given = replace(
        batch([]),
        dataset=dataset,
        adjustment=None,
        rows=rows.cast(DATASETS[dataset].table_schema),
    )
    return BatchStore(timescale).load(replace(given, fetched_at=datetime.now(UTC)))


def load_all(
    timescale: Timescale,
    instrument_id: int,
    actions: Actions,
    ticker: str,
    bars: Bars,
    adjustment: Adjustment,
) -> None:
    """Store bars and all actions of a ticker."""
    load_bars(timescale, instrument_id, bars, adjustment)
    splits, dividends = actions.split_truth([ticker], NOW), actions.dividend_truth([ticker], NOW)
    load_actions(timescale, "splits", instrument_id, splits)
    load_actions(timescale, "dividends", instrument_id, dividends)


def splits_of(*rows: tuple[date, float, float]) -> pa.Table:
    """Return WIRE_SPLITS of ex-date, new and old shares."""
    return pa.Table.from_pylist(
        [
            {
                "symbol": "AAA",
                "ex_date": day,
                "new_shares": Decimal(new),
                "old_shares": Decimal(old),
                "kind": None,
            }
            for day, new, old in rows
        ],
        schema=WIRE_SPLITS,
    )


def adjusted(timescale: Timescale, instrument_id: int, adjustment: Adjustment) -> pa.Table:
    """Return the adjusted bars of an instrument."""
    return read_adjusted_bars(timescale, instrument_id, adjustment, FIRST, LAST)


@pytest.fixture
def market(tmp_path: Path) -> World:
    """A world of this test's own."""
    return World(tmp_path)


@pytest.fixture
def actions(market: World) -> Actions:
    """The world's actions."""
    return Actions(market)


def served_rows(market: World, path: str, ticker: str) -> list[Mapping[str, float]]:
    """Return FMP's simulated rows of a ticker's last 5,000 sessions, oldest first."""
    asked = {"symbol": ticker, "from": FIRST.isoformat(), "to": LAST.isoformat()}
    request = Request(path="", query=asked, headers={}, key=None, at=NOW)
    reply = endpoints(market, lambda: NOW)[f"historical-price-eod/{path}"](request)
    rows: list[Mapping[str, float]] = json.loads(reply.body)
    return rows[::-1]


def payers_with_splits(actions: Actions, market: World) -> Mapping[tuple[int, int], str]:
    """Return a ticker that pays dividends for each ratio of a split."""
    return {
        (split.new_shares, split.old_shares): constituent.ticker
        for constituent in market.constituents()
        if actions.dividends(constituent.ticker, NOW)
        for split in actions.splits(constituent.ticker, NOW)
    }


@pytest.mark.parametrize("adjustment", [RAW, SPLITS])
@pytest.mark.parametrize("ratio", [(7, 1), (10, 1), (3, 2), (1, 8), (21, 20)])
def test_fmps_fully_adjusted_prices_follow_from_stored_bars_and_actions(
    timescale: Timescale,
    instrument_ids: list[int],
    market: World,
    actions: Actions,
    ratio: tuple[int, int],
    adjustment: Adjustment,
) -> None:
    """To the cent that FMP rounds to, whichever prices are stored.

    The tolerance is that of rounding: half a cent of FMP's own figure, and half a cent of the
    stored price times the split factor where it is as traded (4 cents after a split of 1 for 8).
    From adjusted prices the closes that dividends are measured by are known to half a cent of
    theirs: a second half cent.
    """
    ticker = payers_with_splits(actions, market)[ratio]
    source = actions.as_traded if adjustment is RAW else market.bars
    share = instrument_ids[0]
    load_all(timescale, share, actions, ticker, source(ticker, FIRST, LAST, NOW), adjustment)
    derived = AdjustedBars(timescale).derive(share)
    assert (derived.changed, derived.quarantined, derived.unusable) == (True, (), ())
    ours = {row["session_date"]: row for row in adjusted(timescale, share, BOTH).to_pylist()}
    theirs = served_rows(market, "dividend-adjusted", ticker)
    assert len(theirs) > 2000
    for row in theirs:
        mine = ours[date.fromisoformat(str(row["date"]))]
        known_to = max(mine["split_factor"], 1.0) if adjustment is RAW else 1.0
        tolerance = (0.005 + 0.005 * known_to) * 1.0001
        for name in ("open", "high", "low", "close"):
            assert abs(mine[name] - row[f"adj{name.title()}"]) <= tolerance, row
        assert mine["volume"] == pytest.approx(row["volume"], abs=0.5 * ratio[0] * 10)
    full = {row["date"]: row["price"] for row in served_rows(market, "light", ticker)}
    for row in adjusted(timescale, share, SPLITS).to_pylist():
        if row["session_date"].isoformat() in full:
            price = full[row["session_date"].isoformat()]
            assert abs(row["close"] - price) <= 0.005 * max(row["split_factor"], 1.0) * 1.0001


def test_bars_of_both_kinds_side_by_side_are_adjusted_once(
    timescale: Timescale, instrument_ids: list[int], market: World, actions: Actions
) -> None:
    """History from one provider as it was paid, the rest from another that adjusts itself."""
    share, other = instrument_ids[:2]
    load_all(timescale, share, actions, "AAPL", actions.as_traded("AAPL", FIRST, LAST, NOW), RAW)
    load_all(timescale, other, actions, "AAPL", actions.as_traded("AAPL", FIRST, LAST, NOW), RAW)
    middle = market.bars("AAPL", date(2012, 1, 3), date(2018, 6, 1), NOW)
    assert load_bars(timescale, other, middle, SPLITS).restated == len(middle.dates)
    store = AdjustedBars(timescale)
    store.derive(share)
    store.derive(other)
    for adjustment in (SPLITS, BOTH):
        alone, mixed = (
            adjusted(timescale, instrument_id, adjustment) for instrument_id in (share, other)
        )
        for name in ("open", "close"):
            np.testing.assert_allclose(alone[name], mixed[name], rtol=2e-5)
        # A volume as traded is known to half a share, each of which became 28.
        np.testing.assert_allclose(alone["volume"], mixed["volume"], atol=14.0)


def marks(url: str) -> Mapping[int, object]:
    """Return the transactions that wrote each instrument's factors, checks and bars."""
    query = """
        select instrument_id, array_agg(distinct xmin::text order by xmin::text)
        from (
            select instrument_id, xmin from price_factor
            union all select instrument_id, xmin from split_check
            union all select instrument_id, xmin from daily_bar
        ) as every
        group by instrument_id
    """
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query).fetchall())


def test_a_new_dividend_touches_one_instrument_only(
    timescale: Timescale,
    instrument_ids: list[int],
    actions: Actions,
    migrated_url: str,
) -> None:
    """Other instruments' factors, checks and bars are not rewritten; nor are its own bars."""
    store = AdjustedBars(timescale)
    for instrument_id, ticker in zip(instrument_ids, ["AAPL", "MSFT", "GOOGL"], strict=True):
        bars = actions.as_traded(ticker, date(2014, 1, 2), LAST, NOW)
        load_all(timescale, instrument_id, actions, ticker, bars, RAW)
        store.derive(instrument_id)
    assert store.waiting() == []
    before = marks(migrated_url)
    paid = actions.dividend_truth(["MSFT"], NOW).slice(0, 1)
    extra = paid.set_column(1, "ex_date", pa.array([date(2026, 7, 1)], pa.date32()))
    assert load_actions(timescale, "dividends", instrument_ids[1], extra).inserted == 1
    assert store.waiting() == [instrument_ids[1]]
    assert store.derive(instrument_ids[1]).changed
    after = marks(migrated_url)
    assert [
        instrument_id
        for instrument_id in instrument_ids
        if before[instrument_id] != after[instrument_id]
    ] == [instrument_ids[1]]
    assert store.waiting() == []


def test_deriving_again_changes_nothing(
    timescale: Timescale, instrument_ids: list[int], actions: Actions
) -> None:
    """Same bars and same actions, same factors."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    load_all(timescale, share, actions, "AAPL", actions.as_traded("AAPL", FIRST, LAST, NOW), RAW)
    first = store.derive(share)
    again = store.derive(share)
    assert (first.changed, again.changed, first.steps) == (True, False, again.steps)


def test_an_instrument_without_bars_or_actions_is_no_exception(
    timescale: Timescale, instrument_ids: list[int], actions: Actions
) -> None:
    """Without bars there is nothing to adjust; without actions bars stay as they are."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    assert store.derive(share).steps == 0
    assert adjusted(timescale, share, SPLITS).num_rows == 0
    bars = actions.as_traded("AAPL", date(2025, 1, 2), LAST, NOW)
    load_bars(timescale, share, bars, RAW)
    assert adjusted(timescale, share, SPLITS).num_rows == 0, "never derived is told from unadjusted"
    assert store.waiting() == [share]
    assert store.derive(share).steps == 1
    for adjustment in (SPLITS, BOTH):
        assert adjusted(timescale, share, adjustment)["close"].to_pylist() == bars.closes.tolist()


def jump(timescale: Timescale, instrument_id: int) -> float:
    """Return the adjusted close of Apple's ex-date divided by that before it."""
    bars = adjusted(timescale, instrument_id, SPLITS)
    later = bars.filter(pc.greater_equal(bars["session_date"], SPLIT_ON))["close"][0].as_py()
    earlier = bars.filter(pc.less(bars["session_date"], SPLIT_ON))["close"][-1].as_py()
    return later / earlier


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ([(SPLIT_ON, 1, 4)], SplitVerdict.INVERSE),
        ([(SPLIT_ON, 2, 1)], SplitVerdict.MISMATCH),
    ],
)
def test_a_wrong_split_is_not_used_until_an_answer_mends_it(
    timescale: Timescale,
    instrument_ids: list[int],
    actions: Actions,
    wrong: Sequence[tuple[date, float, float]],
    verdict: SplitVerdict,
) -> None:
    """Prices stay as they were paid, and the split is listed for a person."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    bars = actions.as_traded("AAPL", date(2020, 1, 2), date(2021, 2, 1), NOW)
    load_bars(timescale, share, bars, RAW)
    load_actions(timescale, "splits", share, splits_of(*wrong))
    [finding] = store.derive(share).quarantined
    assert finding.verdict is verdict
    assert jump(timescale, share) == pytest.approx(0.25, rel=0.1)
    [waiting] = store.quarantined()
    assert (waiting.instrument_id, waiting.finding.verdict) == (share, verdict)
    assert load_actions(timescale, "splits", share, splits_of((SPLIT_ON, 4, 1))).restated == 1
    assert store.waiting() == [share]
    assert store.derive(share).quarantined == ()
    assert store.quarantined() == []
    assert jump(timescale, share) == pytest.approx(1.0, rel=0.1)


def test_a_person_may_confirm_a_split_as_it_stands(
    timescale: Timescale, instrument_ids: list[int], actions: Actions
) -> None:
    """Until its terms change: then prices are asked anew."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    load_bars(
        timescale, share, actions.as_traded("AAPL", date(2020, 1, 2), date(2021, 2, 1), NOW), RAW
    )
    load_actions(timescale, "splits", share, splits_of((SPLIT_ON, 2, 1)))
    with pytest.raises(errors.ArgumentError, match="no checked split on 2020-08-31"):
        store.confirm(share, SPLIT_ON, by="ada", reason="letter of the company")
    store.derive(share)
    store.confirm(share, SPLIT_ON, by="ada", reason="letter of the company")
    assert store.quarantined() == []
    assert store.waiting() == [share]
    assert store.derive(share).quarantined == ()
    assert store.waiting() == []
    assert jump(timescale, share) == pytest.approx(0.5, rel=0.1)
    load_actions(timescale, "splits", share, splits_of((SPLIT_ON, 3, 1)))
    assert len(store.derive(share).quarantined) == 1


def test_a_split_that_never_happened_or_comes_twice_is_not_used(
    timescale: Timescale, instrument_ids: list[int], actions: Actions
) -> None:
    """The true one between them is."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    bars = actions.as_traded("AAPL", date(2020, 1, 2), date(2021, 2, 1), NOW)
    load_bars(timescale, share, bars, RAW)
    splits = splits_of((SPLIT_ON, 4, 1), (date(2020, 8, 28), 4, 1), (date(2021, 1, 18), 4, 1))
    load_actions(timescale, "splits", share, splits)
    verdicts = {
        finding.split.ex_date: finding.verdict for finding in store.derive(share).quarantined
    }
    assert verdicts == {
        date(2020, 8, 28): SplitVerdict.DUPLICATE,
        date(2021, 1, 18): SplitVerdict.NO_JUMP,
    }
    assert jump(timescale, share) == pytest.approx(1.0, rel=0.1)


def test_prices_that_were_paid_prove_what_adjusted_ones_hide(
    timescale: Timescale, instrument_ids: list[int], market: World, actions: Actions
) -> None:
    """And their verdict is kept when they are not available."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    load_bars(timescale, share, market.bars("AAPL", date(2020, 1, 2), LAST, NOW), SPLITS)
    load_actions(timescale, "splits", share, splits_of((SPLIT_ON, 1, 4)))
    assert store.derive(share).quarantined == (), "adjusted prices cannot tell"
    assert store.unproven(LAST) == [(share, SPLIT_ON)]
    paid = actions.as_traded("AAPL", date(2020, 8, 20), date(2020, 9, 8), NOW)
    names = ("open", "high", "low", "close", "volume")
    columns = (paid.opens, paid.highs, paid.lows, paid.closes, paid.volumes.astype(np.float64))
    days = {"symbol": ["AAPL"] * len(paid.dates), "session_date": paid.dates}
    evidence = pa.table({**days, **dict(zip(names, columns, strict=True))}, schema=WIRE_BARS)
    for given in (evidence, None):
        [finding] = store.derive(share, as_traded=given).quarantined
        assert finding.verdict is SplitVerdict.INVERSE
    assert store.unproven(LAST) == []


def known_since(url: str, moment: datetime) -> None:
    """Let all bars of the database have come at ``moment``."""
    with psycopg.connect(url) as connection:
        connection.execute("update daily_bar set known_from = %s", [moment])


def test_a_split_after_the_history_came_lists_it_for_fetching_and_is_adjusted_for_meanwhile(
    timescale: Timescale,
    instrument_ids: list[int],
    market: World,
    migrated_url: str,
) -> None:
    """Bars that came before the ex-date are in old shares, those that came since in new ones."""
    share, other = instrument_ids[:2]
    store, ex_date = AdjustedBars(timescale), date(2026, 8, 4)
    market.split("MMM", ex_date, 4, 1)
    evening = datetime(2026, 8, 3, 23, tzinfo=UTC)
    old = market.bars("MMM", date(2026, 1, 2), LAST, evening)
    new = market.bars("MMM", ex_date, LAST, NOW)
    load_bars(timescale, other, market.bars("AAPL", date(2026, 1, 2), LAST, NOW), SPLITS)
    load_bars(timescale, share, old, SPLITS)
    known_since(migrated_url, evening)
    load_bars(timescale, share, new, SPLITS)
    load_actions(timescale, "splits", share, splits_of((ex_date, 4, 1)))
    assert store.rebased(date(2026, 8, 3)) == []
    assert store.derive(share).quarantined == ()
    assert store.rebased(ex_date) == [share]
    truth = market.bars("MMM", date(2026, 1, 2), LAST, NOW)
    np.testing.assert_allclose(
        adjusted(timescale, share, SPLITS)["close"], truth.closes, atol=0.006
    )
    assert load_bars(timescale, share, truth, SPLITS).restated == len(old.dates)
    assert store.rebased(ex_date) == []
    assert store.waiting() == [share, other]
    assert store.derive(share).quarantined == (), "what prices said before is kept"
    np.testing.assert_array_equal(adjusted(timescale, share, SPLITS)["close"], truth.closes)


def test_a_split_that_prices_refute_is_no_reason_to_fetch_again(
    timescale: Timescale, instrument_ids: list[int], market: World, migrated_url: str
) -> None:
    """Otherwise it would be fetched for ever: nothing was re-based."""
    share, store, ex_date = instrument_ids[0], AdjustedBars(timescale), date(2026, 8, 3)
    evening = datetime(2026, 7, 31, 23, tzinfo=UTC)
    load_bars(timescale, share, market.bars("MMM", date(2026, 1, 2), LAST, evening), SPLITS)
    known_since(migrated_url, evening)
    load_bars(timescale, share, market.bars("MMM", ex_date, LAST, NOW), SPLITS)
    load_actions(timescale, "splits", share, splits_of((ex_date, 4, 1)))
    assert store.rebased(ex_date) == [share]
    [finding] = store.derive(share).quarantined
    assert finding.verdict is SplitVerdict.NO_JUMP
    assert store.rebased(ex_date) == []


def test_as_traded_prices_never_wait_to_be_fetched_again(
    timescale: Timescale, instrument_ids: list[int], actions: Actions, migrated_url: str
) -> None:
    """Paid prices never change."""
    share = instrument_ids[0]
    load_bars(timescale, share, actions.as_traded("AAPL", FIRST, LAST, NOW), RAW)
    known_since(migrated_url, datetime(2020, 1, 1, tzinfo=UTC))
    load_actions(timescale, "splits", share, splits_of((SPLIT_ON, 4, 1)))
    assert AdjustedBars(timescale).rebased(LAST) == []


def test_an_action_counts_from_the_bar_of_its_ex_date(
    timescale: Timescale, instrument_ids: list[int], actions: Actions
) -> None:
    """An announced split changes nothing; the bar that it changes makes the factors due."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    before = actions.as_traded("AAPL", date(2020, 1, 2), SPLIT_ON - timedelta(days=1), NOW)
    load_bars(timescale, share, before, RAW)
    load_actions(timescale, "splits", share, splits_of((SPLIT_ON, 4, 1)))
    assert store.derive(share).steps == 1
    assert store.waiting() == []
    load_bars(timescale, share, actions.as_traded("AAPL", SPLIT_ON, SPLIT_ON, NOW), RAW)
    assert store.waiting() == [share]
    assert store.derive(share).steps == 2
    assert jump(timescale, share) == pytest.approx(1.0, rel=0.1)


def test_bars_that_came_adjusted_for_dividends_are_left_out_or_refused(
    timescale: Timescale, instrument_ids: list[int], actions: Actions
) -> None:
    """Nothing is adjusted twice."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    load_bars(timescale, share, actions.total_return("AAPL", FIRST, LAST, NOW), BOTH)
    store.derive(share)
    assert adjusted(timescale, share, BOTH).num_rows == 0
    load_actions(timescale, "dividends", share, actions.dividend_truth(["AAPL"], NOW))
    with pytest.raises(errors.StorageConflictError, match="adjusted for dividends already"):
        store.derive(share)


PAID_ON = date(2024, 6, 20)


def paid(*rows: Mapping[str, object]) -> pa.Table:
    """Return WIRE_DIVIDENDS of a dividend of PAID_ON changed by each of ``rows``."""
    good = {"symbol": "AAA", "ex_date": PAID_ON, "kind": "regular", "amount": Decimal("0.8875")}
    return pa.Table.from_pylist([{**good, **row} for row in rows], schema=WIRE_DIVIDENDS)


def flat(timescale: Timescale, instrument_id: int, *closes: float) -> None:
    """Store days up to PAID_ON, as traded; open, high and low lie near each close."""
    days = [PAID_ON - timedelta(days=len(closes) - 1 - at) for at in range(len(closes))]
    rows = [(instrument_id, day, close) for day, close in zip(days, closes, strict=True)]
    given = batch(rows, adjustment=RAW, fetched_at=datetime.now(UTC))
    BatchStore(timescale).load(given)


def rates(timescale: Timescale, series: str, values: Mapping[date, str]) -> None:
    """Store exchange rates, each published on its day."""
    ids = InstrumentStore(timescale).register("series", {series: series}, date(2020, 1, 2))
    rows = [
        {
            "instrument_id": ids[series],
            "observed_on": day,
            "realtime_start": day,
            "realtime_end": date(9999, 12, 31),
            "value": Decimal(value),
        }
        for day, value in values.items()
    ]
    table = pa.Table.from_pylist(rows, schema=DATASETS["macro_observations"].table_schema)
    given = replace(batch([]), dataset="macro_observations", adjustment=None, provider="fred")
    BatchStore(timescale).load(replace(given, rows=table, fetched_at=datetime.now(UTC)))


def first_factor(timescale: Timescale, instrument_id: int) -> float:
    """Return the factor on prices before PAID_ON."""
    return adjusted(timescale, instrument_id, BOTH)["dividend_factor"][0].as_py()


def test_a_dividend_in_another_currency_is_not_subtracted_as_dollars(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """0.8875 CAD of 34.54 USD: without a rate nothing is adjusted, and it says why."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    flat(timescale, share, 34.54, 34.54, 33.9)
    load_actions(timescale, "dividends", share, paid({"currency": "CAD"}))
    [finding] = store.derive(share).dividends
    assert finding.verdict is DividendVerdict.NO_RATE
    assert "it is in CAD, the prices in USD: no rate of DEXCAUS" in finding.reason
    assert first_factor(timescale, share) == 1.0
    assert [noted.waits for noted in store.dividends()] == [True]
    assert store.waiting() == []

    before = PAID_ON - timedelta(days=1)
    rates(timescale, "DEXCAUS", {before: "1.42", PAID_ON: "1.5", before - timedelta(days=1): "2"})

    assert store.waiting() == [share]
    [finding] = store.derive(share).dividends
    assert (finding.verdict, finding.series) == (DividendVerdict.CONVERTED, "DEXCAUS")
    assert finding.rate == Rate(observed_on=before, value=Decimal("1.42"))
    assert finding.counted == Decimal("0.625")
    assert first_factor(timescale, share) == pytest.approx(1 - 0.625 / 34.54, rel=1e-12)
    [noted] = store.dividends()
    assert (noted.instrument_id, noted.finding.rate) == (share, finding.rate)
    assert store.waiting() == []
    rates(timescale, "DEXCAUS", {before: "1.775"})
    assert store.waiting() == [share]
    store.derive(share)
    assert first_factor(timescale, share) == pytest.approx(1 - 0.5 / 34.54, rel=1e-12)


def test_a_rate_is_taken_the_way_it_is_quoted_and_not_from_long_ago(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """DEXUSEU is dollars for one euro; a rate of a month before is none."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    flat(timescale, share, 50.0, 50.0, 49.0)
    load_actions(timescale, "dividends", share, paid({"currency": "EUR", "amount": Decimal(2)}))
    rates(timescale, "DEXUSEU", {PAID_ON - timedelta(days=30): "1.25"})
    assert [dividend.counted for dividend in store.derive(share).dividends] == [None]
    rates(timescale, "DEXUSEU", {PAID_ON - timedelta(days=3): "1.25"})
    assert [dividend.counted for dividend in store.derive(share).dividends] == [Decimal("2.5")]
    assert first_factor(timescale, share) == pytest.approx(0.95, rel=1e-12)


def test_a_person_may_say_what_a_dividend_is_worth_until_its_terms_change(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A currency without a FRED series; other actions of the day are unaffected."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    flat(timescale, share, 50.0, 50.0, 49.0)
    pesos = paid({"currency": "CLP", "amount": Decimal(900)}, {"currency": "USD"})
    load_actions(timescale, "dividends", share, pesos)
    [finding] = store.derive(share).dividends
    assert finding.reason.endswith("no series of exchange rates of CLP is kept")
    store.confirm_dividend(share, finding.dividend, Decimal(1), by="ada", reason="paying agent")
    assert store.waiting() == [share]
    [confirmed] = store.derive(share).dividends
    assert (confirmed.verdict, confirmed.counted) == (DividendVerdict.CONFIRMED, Decimal(1))
    assert first_factor(timescale, share) == pytest.approx(1 - 1.8875 / 50, rel=1e-12)
    load_actions(timescale, "dividends", share, paid({"currency": "CLP", "amount": Decimal(950)}))
    assert store.derive(share).dividends[0].verdict is DividendVerdict.NO_RATE


def test_dividends_that_are_not_below_their_price_are_listed_for_a_person(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Before, they adjusted nothing either, but silently."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    flat(timescale, share, 10.0, 10.0, 9.0)
    load_actions(timescale, "dividends", share, paid({"amount": Decimal(12)}))
    assert store.derive(share).unusable
    [noted] = store.dividends()
    assert (noted.waits, noted.finding.verdict) == (True, DividendVerdict.ABOVE_PRICE)


def test_all_dividends_of_one_kind_and_day_are_taken_out_of_prices(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Two quarterly ones of 0.50 and 0.83: 1.33 together, and total return is right."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    flat(timescale, share, 50.0, 50.0, 49.0)
    second = [{"amount": Decimal(amount), "frequency": "Quarterly"} for amount in ("0.5", "0.83")]
    judged = validate_dividends(paid(*second))
    assert (judged.accepted.num_rows, judged.rejected) == (2, ())
    assert load_actions(timescale, "dividends", share, paid(*second)).inserted == 2
    store.derive(share)
    assert first_factor(timescale, share) == pytest.approx(1 - 1.33 / 50, rel=1e-12)


def test_a_spin_off_is_an_action_of_its_own(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """A reverse split of 1:3 with spin-offs on its day: 30 becomes 50, not 90."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    flat(timescale, share, 30.0, 30.0, 50.0)
    load_actions(timescale, "splits", share, splits_of((PAID_ON, 1, 3)))
    [finding] = store.derive(share).quarantined
    assert finding.verdict is SplitVerdict.MISMATCH
    assert finding.reason.endswith("was something spun off on that day?")
    for of, value in (("NEWA", "30"), ("NEWB", "10")):
        store.record_spin_off(share, PAID_ON, of, Decimal(value), by="ada", reason="form 8937")
    assert store.waiting() == [share]
    assert store.derive(share).quarantined == ()
    splits = adjusted(timescale, share, SPLITS)["close"].to_pylist()
    assert splits == pytest.approx([90.0, 90.0, 50.0])
    total = adjusted(timescale, share, BOTH)["close"].to_pylist()
    assert total == pytest.approx([50.0, 50.0, 50.0])
    assert store.waiting() == []


def test_a_second_split_that_stored_prices_hide_is_proven_by_those_that_were_paid(
    timescale: Timescale, instrument_ids: list[int]
) -> None:
    """Two of 2:1 within ten days, adjusted by the provider: the later one is no duplicate."""
    share, store = instrument_ids[0], AdjustedBars(timescale)
    days = [PAID_ON + timedelta(days=at) for at in range(-12, 12)]
    rows = [(share, day, 25.0) for day in days]
    BatchStore(timescale).load(batch(rows, adjustment=SPLITS, fetched_at=datetime.now(UTC)))
    first, second = PAID_ON, PAID_ON + timedelta(days=6)
    load_actions(timescale, "splits", share, splits_of((first, 2, 1), (second, 2, 1)))
    assert [finding.verdict for finding in store.derive(share).quarantined] == [
        SplitVerdict.DUPLICATE
    ]
    assert store.unproven(LAST) == [(share, first)], "prices around it tell of both"
    price = {day: 100.0 if day < first else 50.0 if day < second else 25.0 for day in days}
    table = {"symbol": ["AAA"] * len(days), "session_date": days, "volume": [1.0] * len(days)}
    for name in ("open", "high", "low", "close"):
        table[name] = list(price.values())
    evidence = pa.table({name: table[name] for name in WIRE_BARS.names}, schema=WIRE_BARS)
    for as_traded in (evidence, None):
        assert store.derive(share, as_traded=as_traded).quarantined == ()
    assert store.unproven(LAST) == []

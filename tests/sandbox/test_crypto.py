"""The crypto world: deterministic, contiguous, and equal at all venues."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata import minute_bars, trades
from marketdata.crypto_pairs import crypto_pairs, pairs_at
from sandbox.simulators.worlds.crypto.trades import FIRST_DAY, TRADES_A_DAY
from sandbox.simulators.worlds.crypto.world import CryptoWorld

NOW = datetime(2026, 11, 21, 12, 34, 20, tzinfo=UTC)
DAY = datetime(2026, 11, 20, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
WORLD = CryptoWorld()


def test_pairs_are_data() -> None:
    """Binance offers no dollars, and each venue has its own spelling."""
    assert {pair.pair for pair in crypto_pairs()} >= {"BTC-USD", "BTC-USDT", "ETH-USD", "SOL-USDT"}
    assert pairs_at("binance")["BTCUSDT"].pair == "BTC-USDT"
    assert pairs_at("coinbase")["BTC-USD"].base == "BTC"
    assert "BTC-USD" not in {listed.pair for listed in pairs_at("binance").values()}


@pytest.mark.parametrize("pair", ["BTC-USD", "SOL-USDT"])
def test_minutes_are_what_their_trades_make(pair: str) -> None:
    """Summed by hand, exactly."""
    minutes = WORLD.minutes(pair, DAY, DAY + ONE_DAY)
    trades = WORLD.trades(pair, DAY, DAY + ONE_DAY)
    by_minute: dict[np.datetime64, list[tuple[Decimal, Decimal]]] = {}
    for at, price, size in zip(trades.traded_at, trades.price, trades.size, strict=True):
        by_minute.setdefault(at.astype("datetime64[m]"), []).append((Decimal(price), Decimal(size)))
    assert list(by_minute) == list(minutes.opened_at)
    for place, of_minute in enumerate(by_minute.values()):
        prices = [price for price, _ in of_minute]
        volume = sum(size for _, size in of_minute)
        assert minutes.opens[place] == float(prices[0])
        assert minutes.highs[place] == float(max(prices))
        assert minutes.lows[place] == float(min(prices))
        assert minutes.closes[place] == float(prices[-1])
        assert minutes.volumes[place] == float(volume)
        paid = sum(price * size for price, size in of_minute)
        assert minutes.vwaps[place] == pytest.approx(float(paid / volume), rel=1e-15)
        assert minutes.trades[place] == len(of_minute)


def test_some_minutes_are_quiet() -> None:
    """Three in a hundred, and never many at once."""
    minutes = WORLD.minutes("BTC-USD", DAY, DAY + ONE_DAY)
    assert 1350 < len(minutes) < 1440
    assert np.diff(minutes.opened_at).max() < np.timedelta64(8, "m")


def test_numbers_follow_each_other_from_the_first_day_on() -> None:
    """In the order of time, over midnight."""
    trades = WORLD.trades("ETH-USD", DAY, DAY + 2 * ONE_DAY)
    assert np.array_equal(np.diff(trades.trade_id), np.ones(2 * TRADES_A_DAY - 1))
    assert (np.diff(trades.traded_at) >= np.timedelta64(0, "us")).all()
    first = datetime.combine(FIRST_DAY, datetime.min.time(), UTC)
    assert WORLD.trades("ETH-USD", first, first + ONE_DAY).trade_id[0] == 1
    assert len(WORLD.trades("ETH-USD", first - 3 * ONE_DAY, first)) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5 * 86_400), st.integers(1, 90_000), st.sampled_from(["BTC-USDT", "SOL-USD"]))
def test_a_trade_is_the_same_however_it_is_found(begins_s: int, lasts_s: int, pair: str) -> None:
    """By time in any span, by number, and by the last number before a moment."""
    start = DAY - 3 * ONE_DAY + timedelta(seconds=begins_s)
    end = start + timedelta(seconds=lasts_s)
    trades = WORLD.trades(pair, start, end)
    first, last = WORLD.last_id(pair, start) + 1, WORLD.last_id(pair, end)
    assert trades.trade_id.tolist() == list(range(first, last + 1))
    again = CryptoWorld().trades_by_id(pair, first, last)
    assert again.traded_at.tolist() == trades.traded_at.tolist()
    assert again.price == trades.price
    if len(trades):
        trade = WORLD.trade(pair, last)
        assert (trade.price, trade.size, trade.taker_side) == (
            trades.price[-1:], trades.size[-1:], trades.taker_side[-1:],
        )  # fmt: skip


def test_an_outage_moves_trades_and_no_numbers() -> None:
    """The hour is empty at that venue, and the next day is what it is elsewhere."""
    begins, ends = datetime(2025, 11, 30, 6, tzinfo=UTC), datetime(2025, 11, 30, 7, tzinfo=UTC)
    assert (begins, ends) in WORLD.outage("binance")
    assert WORLD.outage("coinbase") == ()
    assert len(WORLD.minutes("BTC-USDT", begins, ends, venue="binance")) == 0
    assert len(WORLD.minutes("BTC-USDT", begins, ends, venue="coinbase")) > 50
    midnight = datetime(2025, 12, 1, tzinfo=UTC)
    there = WORLD.trades("BTC-USDT", midnight - ONE_DAY, midnight, venue="binance")
    here = WORLD.trades("BTC-USDT", midnight - ONE_DAY, midnight)
    assert there.trade_id.tolist() == here.trade_id.tolist()
    after = WORLD.trades("BTC-USDT", midnight, midnight + ONE_DAY, venue="binance")
    assert after.price == WORLD.trades("BTC-USDT", midnight, midnight + ONE_DAY).price


def test_prices_go_on_over_midnight_and_differ_little_between_quotes() -> None:
    """No jump of more than a per cent from one trade to the next."""
    trades = WORLD.trades("BTC-USD", DAY - 20 * ONE_DAY, DAY)
    steps = np.abs(np.diff(np.log(trades.price_units)))
    assert steps.max() < 0.01
    dollars = WORLD.minutes("BTC-USD", DAY, DAY + ONE_DAY)
    tether = WORLD.minutes("BTC-USDT", DAY, DAY + ONE_DAY)
    assert tether.closes[-1] == pytest.approx(dollars.closes[-1], rel=0.002)


@pytest.mark.parametrize(
    ("venue", "pair"), [("binance", "BTC-USDT"), ("coinbase", "BTC-USD"), ("coinbase", "BTC-USDT")]
)
def test_the_truth_is_acceptable_and_ends_with_now(venue: str, pair: str) -> None:
    """Whole minutes, trades before this moment, and no row that validation refuses."""
    bars = WORLD.bar_truth(venue, [pair], date(2026, 11, 20), date(2026, 11, 22), NOW)
    traded = WORLD.trade_truth(venue, [pair], date(2026, 11, 20), date(2026, 11, 22), NOW)
    assert minute_bars.validate(bars).rejected == ()
    assert trades.validate(traded).rejected == ()
    assert bars["opened_at"][-1].as_py() == datetime(2026, 11, 21, 12, 33, tzinfo=UTC)
    last = traded["traded_at"][-1].as_py()
    assert NOW - timedelta(minutes=2) < last < NOW
    assert (bars["vwap"].null_count == bars.num_rows) == (venue == "coinbase")
    cut = [at.microsecond % 1000 for at in traded["traded_at"].to_pylist()]
    assert (set(cut) == {0}) == (venue == "binance")


def test_tomorrow_adds_to_the_truth_and_changes_nothing() -> None:
    """A later clock serves the same rows and more."""
    span = (["SOL-USDT"], date(2026, 11, 21), date(2026, 11, 21))
    today = WORLD.bar_truth("binance", *span, NOW)
    later = CryptoWorld().bar_truth("binance", *span, NOW + ONE_DAY)
    assert later.slice(0, today.num_rows).equals(today)
    assert later.num_rows > today.num_rows


def test_a_pair_that_a_venue_does_not_offer_has_no_truth() -> None:
    """The error names those that it offers."""
    with pytest.raises(ValueError, match=r"binance does not offer BTC-USD; it offers.*BTC-USDT"):
        WORLD.bar_truth("binance", ["BTC-USD"], date(2026, 11, 20), date(2026, 11, 20), NOW)

"""Binance's own client and ccxt read the simulator like Binance."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import ccxt
import pytest
from binance.error import ClientError
from binance.spot import Spot

from sandbox.simulators import serving
from sandbox.simulators.binance import BinanceLimits, BinanceSimulator
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

NOW = datetime(2026, 8, 5, 12, 0, 30, tzinfo=UTC)
START = 1785801600000
"""2026-08-04 in milliseconds."""
CRYPTO = CryptoWorld()


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock."""
    return Clock(NOW)


@pytest.fixture
def origin(tmp_path: Path, clock: Clock) -> Iterator[str]:
    """The simulator's address."""
    front = Front(
        [BinanceSimulator(now=clock, crypto=CRYPTO, limits=BinanceLimits(weight_per_minute=100))],
        world=World(tmp_path),
        journal=Journal(tmp_path / "requests.jsonl"),
        now=clock,
    )
    with serving.serve(front) as served:
        yield f"{served}/binance"


@pytest.fixture
def connector(origin: str) -> Iterator[Spot]:
    """Binance's client, without a key."""
    client = Spot(base_url=origin, timeout=10, show_limit_usage=True)
    client.session.trust_env = False
    yield client
    client.session.close()


@pytest.fixture
def market(origin: str) -> Iterator[ccxt.binance]:
    """The client of ccxt for the spot market, without a key."""
    client = ccxt.binance(
        {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}}
    )
    client.urls["api"]["public"] = f"{origin}/api/v3"
    # The list of currencies needs a key.
    client.has["fetchCurrencies"] = False
    assert client.session is not None
    client.session.trust_env = False
    yield client
    client.session.close()


def _truth() -> list[dict[str, object]]:
    day = datetime(2026, 8, 4, tzinfo=UTC).date()
    return CRYPTO.bar_truth("binance", ["BTC-USDT"], day, day, NOW).to_pylist()


def test_binances_client_reads_bars_and_trades(connector: Spot) -> None:
    """The world's, to the last digit; and the weight they have cost."""
    answer = connector.klines("BTCUSDT", "1m", startTime=START, limit=10)
    read = [row for row in answer["data"] if row[8]]
    for row, bar in zip(read, _truth(), strict=False):
        assert datetime.fromtimestamp(row[0] / 1000, UTC) == bar["opened_at"]
        assert [float(cell) for cell in row[1:6]] == [
            bar[name] for name in ("open", "high", "low", "close", "volume")
        ]
    assert answer["limit_usage"] == {"x-mbx-used-weight": "2", "x-mbx-used-weight-1m": "2"}
    page = connector.agg_trades("BTCUSDT", startTime=START, limit=3)["data"]
    more = connector.agg_trades("BTCUSDT", fromId=page[-1]["a"] + 1, limit=3)["data"]
    assert [row["a"] for row in more] == [page[-1]["a"] + offset for offset in (1, 2, 3)]
    newest = connector.trades("BTCUSDT", limit=1)["data"][0]
    assert Decimal(newest["quoteQty"]) == Decimal(newest["price"]) * Decimal(newest["qty"])
    assert connector.time()["data"] == {"serverTime": round(NOW.timestamp() * 1000)}
    assert connector.ping()["data"] == {}
    symbols = connector.exchange_info(symbols=["BTCUSDT", "ETHUSDT"])["data"]["symbols"]
    assert [symbol["baseAsset"] for symbol in symbols] == ["BTC", "ETH"]


def test_binances_client_reads_microseconds(origin: str) -> None:
    """By its own option."""
    client = Spot(base_url=origin, timeout=10, time_unit="microsecond")
    client.session.trust_env = False
    (row,) = client.klines("BTCUSDT", "1m", startTime=START, limit=1)
    client.session.close()
    assert row[0] == START * 1000


def test_binances_client_reads_errors(connector: Spot) -> None:
    """Code and text of a bad symbol, of the limit, and of the ban."""
    with pytest.raises(ClientError) as unknown:
        connector.klines("NOSUCH", "1m")
    assert (unknown.value.status_code, unknown.value.error_code) == (400, -1121)
    assert unknown.value.error_message == "Invalid symbol."
    seen = []
    for _ in range(15):
        try:
            connector.exchange_info()
        except ClientError as error:
            seen.append((error.status_code, error.error_code))
    assert seen == [(429, -1003)] * 10 + [(418, -1003)]


def test_ccxt_reads_markets_bars_and_trades(market: ccxt.binance) -> None:
    """As numbers, under its own names of the pairs."""
    markets = market.load_markets()
    assert markets["BTC/USDT"]["precision"] == {
        **markets["BTC/USDT"]["precision"],
        "price": 0.01,
        "amount": 0.00001,
    }
    bars = [row for row in market.fetch_ohlcv("BTC/USDT", "1m", START, 20) if row[5]]
    names = ("open", "high", "low", "close", "volume")
    for row, bar in zip(bars, _truth(), strict=False):
        assert row[1:] == [bar[name] for name in names]
    traded = market.fetch_trades("BTC/USDT", START, 5)
    day = datetime(2026, 8, 4, tzinfo=UTC).date()
    truth = CRYPTO.trade_truth("binance", ["BTC-USDT"], day, day, NOW).slice(0, 5).to_pylist()
    assert [(trade["price"], trade["amount"], trade["side"]) for trade in traded] == [
        (float(row["price"]), float(row["size"]), row["taker_side"]) for row in truth
    ]
    assert market.fetch_time() == round(NOW.timestamp() * 1000)


def test_ccxt_tells_errors_apart(market: ccxt.binance, clock: Clock) -> None:
    """A bad symbol, too many requests, and a ban."""
    market.load_markets()
    with pytest.raises(ccxt.BadSymbol):
        market.public_get_klines({"symbol": "NOSUCH", "interval": "1m"})
    for _ in range(3):
        market.public_get_exchangeinfo({})
    for _ in range(10):
        with pytest.raises(ccxt.DDoSProtection, match="429"):
            market.public_get_exchangeinfo({})
    with pytest.raises(ccxt.DDoSProtection, match=r"418.*banned until"):
        market.public_get_exchangeinfo({})
    clock.advance(121)
    assert market.public_get_ping({}) == {}

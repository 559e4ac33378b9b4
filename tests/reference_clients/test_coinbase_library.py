"""Coinbase's own client and ccxt read the simulator like Coinbase."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import ccxt
import pytest
import requests
from coinbase.rest import RESTClient
from requests.adapters import HTTPAdapter
from requests.exceptions import HTTPError

from sandbox.simulators import serving
from sandbox.simulators.coinbase import CoinbaseLimits, CoinbaseSimulator
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.reference_clients.answers import came

NOW = datetime(2026, 8, 5, 12, 0, 30, tzinfo=UTC)
START = 1785801600
"""2026-08-04 in seconds."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The simulator's host and port, its clock standing still."""
    root: Path = tmp_path_factory.mktemp("coinbase")
    front = Front(
        [CoinbaseSimulator(now=lambda: NOW, limits=CoinbaseLimits(burst=10_000))],
        world=World(root),
        journal=Journal(root / "requests.jsonl"),
        now=lambda: NOW,
    )
    with serving.serve(front) as served:
        yield served.removeprefix("http://")


class _Plainly(HTTPAdapter):
    """Sends https requests without TLS: the library knows no other scheme."""

    def send(
        self, request: requests.PreparedRequest, *args: object, **kwargs: object
    ) -> requests.Response:
        request.url = str(request.url).replace("https://", "http://", 1)
        return super().send(request, *args, **kwargs)  # pyright: ignore[reportArgumentType] as they came


@pytest.fixture
def advanced(origin: str) -> Iterator[RESTClient]:
    """Coinbase's client of Advanced Trade, without a key."""
    client = RESTClient(api_key=None, api_secret=None, base_url=f"{origin}/coinbase", timeout=10)
    client.session.trust_env = False
    client.session.mount("https://", _Plainly())
    yield client
    client.session.close()


@pytest.fixture
def exchange(origin: str) -> Iterator[ccxt.coinbaseexchange]:
    """The Exchange API's client in ccxt, without a key."""
    client = ccxt.coinbaseexchange({"enableRateLimit": False})
    assert client.urls is not None
    client.urls["api"] = {"public": f"http://{origin}/coinbase", "private": "http://127.0.0.1:9"}
    # The list of currencies is none of the simulator's endpoints.
    client.has["fetchCurrencies"] = False
    assert client.session is not None
    client.session.trust_env = False
    yield client
    client.session.close()


class _Bar(TypedDict):
    opened_at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


def _day_of_bars() -> list[_Bar]:
    day = NOW.replace(day=4).date()
    return CryptoWorld().bar_truth("coinbase", ["BTC-USD"], day, day, NOW).to_pylist()


def test_coinbases_client_reads_products(advanced: RESTClient) -> None:
    """The list and one product, with every field where the library looks for it."""
    listed = advanced.get_public_products()
    assert listed.num_products == len(came(listed.products)) == 8
    product = advanced.get_public_product("BTC-USDC")
    assert (product.product_id, product.alias, product.status) == ("BTC-USDC", "BTC-USD", "online")
    assert float(product.price) > 0
    assert product.quote_increment == "0.01"
    assert advanced.get_unix_time().epoch_seconds == "1785931230"


def test_coinbases_client_reads_candles(advanced: RESTClient) -> None:
    """The world's minutes, newest first."""
    answer = advanced.get_public_candles(
        "BTC-USD", start=str(START), end=str(START + 299 * 60), granularity="ONE_MINUTE"
    )
    truth = [row for row in _day_of_bars() if row["opened_at"].timestamp() <= START + 299 * 60]
    assert [
        (
            int(came(candle.start)),
            float(came(candle.open)),
            float(came(candle.high)),
            float(came(candle.low)),
            float(came(candle.close)),
        )
        for candle in reversed(came(answer.candles))
    ] == [
        (row["opened_at"].timestamp(), row["open"], row["high"], row["low"], row["close"])
        for row in truth
    ]
    assert [float(came(candle.volume)) for candle in reversed(came(answer.candles))] == [
        row["volume"] for row in truth
    ]


def test_coinbases_client_reads_trades(advanced: RESTClient) -> None:
    """At most a hundred, with the best quotes."""
    answer = advanced.get_public_market_trades("BTC-USD", limit=500)
    newest = CryptoWorld().last_id("BTC-USD", NOW)
    trades = came(answer.trades)
    numbers = [int(came(trade.trade_id)) for trade in trades]
    assert numbers == list(range(newest, newest - 100, -1))
    assert {trade.side for trade in trades} == {"BUY", "SELL"}
    assert float(came(answer.best_bid)) < float(came(answer.best_ask))


@pytest.mark.parametrize(
    ("product", "end", "shown"),
    [("NO-SUCH", START + 60, "NOT_FOUND"), ("BTC-USD", START + 350 * 60, "INVALID_ARGUMENT")],
)
def test_coinbases_client_understands_errors(
    advanced: RESTClient, product: str, end: int, shown: str
) -> None:
    """It raises them with the body in the text."""
    with pytest.raises(HTTPError, match=shown):
        advanced.get_public_candles(
            product, start=str(START), end=str(end), granularity="ONE_MINUTE"
        )


def test_ccxt_reads_products(exchange: ccxt.coinbaseexchange) -> None:
    """Which are traded, which were delisted, and how prices are stepped."""
    markets = exchange.load_markets()
    assert markets["BTC/USD"]["active"]
    assert not markets["BTC/USDC"]["active"]
    assert markets["BTC/USD"]["precision"] == {"amount": 1e-8, "price": 0.01}


def test_ccxt_reads_candles(exchange: ccxt.coinbaseexchange) -> None:
    """It puts them in order of time, and knows that low and high come first."""
    rows = exchange.fetch_ohlcv("BTC/USD", "1m", since=START * 1000, limit=300)
    truth = [row for row in _day_of_bars() if row["opened_at"].timestamp() <= START + 299 * 60]
    assert rows == [
        [
            row["opened_at"].timestamp() * 1000,
            *(row["open"], row["high"], row["low"], row["close"], row["volume"]),
        ]
        for row in truth
    ]


def test_ccxt_reads_trades(exchange: ccxt.coinbaseexchange) -> None:
    """It turns the maker's side into the taker's, and pages back by number."""
    newest = exchange.fetch_trades("BTC/USD", limit=1000)
    first = int(came(newest[0]["id"]))
    older = exchange.fetch_trades("BTC/USD", limit=1000, params={"after": first})
    of_world = CryptoWorld().trades_by_id("BTC-USD", first - 1000, first + 999)
    trades = [*older, *newest]
    assert [int(came(trade["id"])) for trade in trades] == of_world.trade_id.tolist()
    assert [trade["side"] for trade in trades] == of_world.taker_side
    assert [trade["price"] for trade in trades] == [float(price) for price in of_world.price]
    assert [trade["amount"] for trade in trades] == [float(size) for size in of_world.size]


def test_ccxt_understands_errors(exchange: ccxt.coinbaseexchange) -> None:
    """An unknown product, and a window too wide, by their messages."""
    with pytest.raises(ccxt.ExchangeError, match="NotFound"):
        exchange.publicGetProductsIdTicker({"id": "NO-SUCH"})
    wide = {"id": "BTC-USD", "granularity": 60, "start": START, "end": START + 301 * 60}
    with pytest.raises(ccxt.ExchangeError, match="granularity too small"):
        exchange.publicGetProductsIdCandles(wide)


def test_ccxt_reads_the_clock_and_the_last_price(exchange: ccxt.coinbaseexchange) -> None:
    """What a user asks first."""
    assert exchange.fetch_time() == NOW.timestamp() * 1000
    ticker = exchange.fetch_ticker("BTC/USD")
    assert float(came(ticker["bid"])) < float(came(ticker["ask"]))
    assert ticker["last"] == float(
        CryptoWorld()
        .trades_by_id(
            "BTC-USD", CryptoWorld().last_id("BTC-USD", NOW), CryptoWorld().last_id("BTC-USD", NOW)
        )
        .price[0]
    )
